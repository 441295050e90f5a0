import FoundationEssentials
import Glibc
import Scratch
import Subprocess
import TestSupport
import Testing
import Trace
import Tracing

extension IntegrationTests {
    /// That each contender was really there: the commands themselves say when the programs saw nothing. Times are nobody's to
    /// judge here.
    @Suite("kairos bench")
    struct BenchTests {
        struct Cost: Decodable {
            var probes: String
            var measured: String
            var place: String?
            var beside: String
            var nanoseconds: [Double]
            var slowdown: Double?
            var problem: String?
        }

        struct Replay: Decodable {
            var contender: String
            var setting: String?
            var snapshots: Int
            var empty: Int?
            var windowMedianMs: Double?
        }

        struct Live: Decodable {
            var workload: String
            var contender: String
            var snapshots: Int
            var empty: Int
            var versionsAtRest: Int
            var versionsAtRestCaptured: Int
            var windowMedianMs: Double?
            var slowdown: Double
            var skipped: Int
            var lateMs: Double
            var problems: [String]
        }

        struct Recovery: Decodable {
            var what: String
            var milliseconds: Double
            var toLoop: Double?
            var looked: Int?
            var found: Int
        }

        private func rows<Row: Decodable>(_ arguments: [String]) async throws -> [Row] {
            let (status, output, messages) = try await KairosProcess.output(
                ["bench"] + arguments + ["--json"], timeout: .seconds(600))
            #expect(status.isSuccess, "\(messages)")
            let decoder = JSONDecoder()
            decoder.keyDecodingStrategy = .convertFromSnakeCase
            return try decoder.decode([Row].self, from: Data(output.utf8))
        }

        @Test("recovery: with the journal and without the same is found, and the loops look at all")
        func recovery() async throws {
            let rows: [Recovery] = try await rows([
                "recovery", "--snapshots", "40", "--changes", "400", "--rounds", "1",
            ])
            #expect(rows.map(\.found) == [20, 20, 20, 190, 190, 1000], "\(rows)")
            #expect(rows[1].looked == 40 && rows[4].looked == 40 && rows.count { $0.toLoop != nil } == 4)
            #expect(try #require(rows[0].looked) <= 40)
        }

        @Test(
            "recovery on a pool: each command runs, the loops find all versions, and nothing stays",
            .enabled(if: OpenZFS.isInKernel && !OpenZFS.isBrief, "zfs-fuse has no .zfs/snapshot"))
        func recoveryOnPool() async throws {
            let fixture = try Fixture.current()
            let before = try await fixture.zfs("list", "-H", "-o", "name", "-r", fixture.pool.name)
            let rows: [Recovery] = try await rows([
                "recovery", "--pool", fixture.pool.name, "--snapshots", "40", "--changes", "400", "--rounds", "1",
            ])
            #expect(rows.count == 8 && rows.allSatisfy { $0.milliseconds > 0 && $0.found > 0 }, "\(rows)")
            #expect(rows.suffix(2).allSatisfy { $0.looked == 40 && $0.found == 20 }, "\(rows)")
            #expect(try await fixture.zfs("list", "-H", "-o", "name", "-r", fixture.pool.name) == before)
        }

        @Test("cost: each set, each call and the files, with nothing and with Kairos")
        func cost() async throws {
            let rows: [Cost] = try await rows(["cost", "--rounds", "1", "--calls", "2100", "--files", "20", "--alone"])
            let sets = Set(rows.filter { $0.measured == "pwrite" }.map(\.probes))
            #expect(sets == Set(TraceTests.sets.map(\.rawValue)))
            for set in sets {
                for call in ["pwrite", "getppid"] {
                    let measured = rows.filter { $0.probes == set && $0.measured == call }
                    #expect(measured.count == 4 && measured.allSatisfy { $0.nanoseconds.count == 1 }, "\(measured)")
                    #expect(measured.allSatisfy { $0.nanoseconds.allSatisfy { $0 > 0 } })
                }
                let files = rows.filter { $0.probes == set && $0.measured == "files" && $0.place == "/dev/shm" }
                #expect(
                    files.filter { $0.beside.hasPrefix("the programs") && $0.slowdown != nil }.count == 2, "\(files)")
                #expect(
                    files.count == 3 && files.allSatisfy { $0.problem == nil && $0.nanoseconds.count == 1 }, "\(files)")
            }
            let dataset = rows.filter { $0.measured == "files" && $0.place != "/dev/shm" }
            #expect(dataset.map(\.beside) == ["nothing", "kairos run"], "\(dataset)")
            #expect(dataset.allSatisfy { $0.problem == nil && $0.nanoseconds.count == 1 }, "\(dataset)")
            let snapshots = rows.filter { $0.measured == "change-to-snapshot" }
            #expect(snapshots.count >= 2 && snapshots.allSatisfy { $0.nanoseconds.count == 3 }, "\(snapshots)")
        }

        @Test("replay: of a trace that was just recorded, with the trade-off")
        func replay() async throws {
            let fixture = try Fixture.current()
            let recording = fixture.path("b") + "/bench.trace"
            defer { unlink(recording) }
            _ = try await TraceRun.lines(["--record", recording, fixture.path("a")]) { _ in
                for number in 0..<20 { try write("version \(number)", to: fixture.path("a") + "/bench") }
            }
            let rows: [Replay] = try await rows([
                "replay", recording, "--sweep", "--policy", "quiet=10ms,max-delay=1s", "--cron", "1s",
            ])
            let first = try #require(rows.first)
            #expect(first.contender == "kairos quiet=10ms,max-delay=1s")
            #expect(first.snapshots >= 1 && first.empty == 0 && (first.windowMedianMs ?? 0) >= 10)
            #expect(rows.filter { $0.setting != nil }.count == 14 + 17 + 17)
        }

        @Test("replay: of a recording that lost records it says so, and ends with 1")
        func lost() async throws {
            let fixture = try Fixture.current()
            let recording = fixture.path("b") + "/bench.trace"
            defer { unlink(recording) }
            _ = try await TraceRun.lines(["--record", recording, fixture.path("a")]) { _ in
                try write("version", to: fixture.path("a") + "/bench")
            }
            var writer = RecordingWriter()
            writer.note(lost: 3)
            let flushed = writer.flush()
            let block = try #require(flushed)
            let file = open(recording, O_WRONLY | O_APPEND | O_CLOEXEC)
            #expect(file >= 0 && Glibc.write(file, block, block.count) == block.count && close(file) == 0)
            for option in [[], ["--json"]] {
                let (status, output, messages) = try await KairosProcess.output(
                    ["bench", "replay", recording] + option)
                #expect(status == .exited(1), "\(messages)")
                #expect(
                    (option.isEmpty ? output : messages).contains("INVALID: the recording lost 3 records"), "\(output)")
            }
            let asked = try await KairosProcess.output(["bench", "replay", recording, "--policy", "commit-quiet=10ms"])
            #expect(asked.stdout.contains("--op all"), "\(asked)")
        }

        @Test("cron: of one that is killed nobody lives on, and the next removes what it made, and nothing else")
        func killed() async throws {
            let fixture = try Fixture.current()
            let pool = fixture.pool.name
            let arguments = ["bench", "cron", "--pool", pool, "--workload", "night", "--cron", "1m", "--seed", "4"]
            var (bench, daemon) = (pid_t(0), pid_t(0))
            try await KairosProcess.run(arguments + ["--length", "2h"]) { kairos in
                let isThere = await wait(for: KairosProcess.patience) {
                    // The process that waits, the one that works, and what that one started.
                    guard let waiter = kairos.pid, let pid = Self.children(of: waiter, named: "bench").first,
                        let child = Self.children(of: pid, named: "run").first
                    else { return false }
                    (bench, daemon) = (pid, child)
                    return true
                }
                #expect(isThere, "\(kairos.transcript)")
                guard isThere else { return }
                kill(bench, SIGKILL)
                _ = try await kairos.exit()
            }
            guard bench > 0 else { return }
            #expect(
                await wait(for: KairosProcess.patience) { kill(daemon, 0) != 0 && errno == ESRCH }, "\(daemon) lives")
            // By its name alone it is nobody's to destroy.
            try await fixture.zfs("create", "\(pool)/kairos-bench-\(daemon)")
            let (status, _, messages) = try await KairosProcess.output(
                arguments + ["--length", "1m", "--time-scale", "30"], timeout: .seconds(300))
            #expect(status.isSuccess, "\(messages)")
            let left = try await fixture.zfs("list", "-H", "-o", "name", "-r", pool)
            // zfs-fuse calls a dataset busy for a moment after it was made.
            let isGone = await wait(for: KairosProcess.patience) {
                (try? await fixture.zfs("destroy", "\(pool)/kairos-bench-\(daemon)")) != nil
            }
            #expect(isGone)
            let names = String(decoding: left, as: UTF8.self).split(separator: "\n").filter {
                $0.contains("kairos-bench")
            }
            #expect(names == ["\(pool)/kairos-bench-\(daemon)"])
        }

        /// Processes that this one started, and whose first argument is that.
        private static func children(of parent: pid_t, named word: String) -> [pid_t] {
            guard let stream = opendir("/proc") else { return [] }
            defer { closedir(stream) }
            var found: [pid_t] = []
            while let entry = readdir(stream) {
                let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                    String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                }
                guard let pid = pid_t(name) else { continue }
                let stat = text("/proc/\(pid)/stat").split(separator: ")").last?.split(separator: " ") ?? []
                let words = text("/proc/\(pid)/cmdline").split(separator: "\0")
                if stat.count > 1, stat[1] == "\(parent)", words.count > 1, words[1] == word { found.append(pid) }
            }
            return found
        }

        private static func text(_ path: String) -> String {
            let file = open(path, O_RDONLY | O_CLOEXEC)
            guard file >= 0 else { return "" }
            defer { close(file) }
            var bytes = [UInt8](repeating: 0, count: 4096)
            return String(decoding: bytes[..<max(read(file, &bytes, bytes.count), 0)], as: UTF8.self)
        }

        @Test("cron: every change comes into a snapshot of each, as their contents say; nothing is left behind")
        func cron() async throws {
            let fixture = try Fixture.current()
            let rows: [Live] = try await rows([
                "cron", "--pool", fixture.pool.name, "--workload", "documents", "--workload", "mistake", "--length",
                "5m",
                "--time-scale", "30", "--cron", "1m", "--seed", "4",
            ])
            for workload in ["documents", "mistake"] {
                let found = rows.filter { $0.workload == workload }
                #expect(found.map(\.contender) == ["nobody", "kairos", "cron 1m", "cron 1m if written"], "\(found)")
                #expect(found.allSatisfy { $0.problems.isEmpty && $0.slowdown > 0 }, "\(found)")
                #expect(found.first?.snapshots == 0)
                let kairos = try #require(found.dropFirst().first)
                #expect(kairos.snapshots > 0 && kairos.empty == 0 && (kairos.windowMedianMs ?? 0) >= 2_000, "\(kairos)")
                #expect(kairos.versionsAtRest > 0 && kairos.versionsAtRestCaptured > 0, "\(kairos)")
                // One each minute, the last at the end; one is left out where the one before takes longer than its interval. Nothing
                // is planned for the last five seconds, so that only a change that was later than that needs another one.
                let cron = try #require(found.dropFirst(2).first)
                let after = Int(max(cron.lateMs - 5_000, 0) / 60_000 + (cron.lateMs > 5_000 ? 1 : 0))
                #expect((5...5 + after).contains(cron.snapshots + cron.skipped), "\(found)")
                #expect((1...cron.snapshots).contains(found[3].snapshots) && found[3].empty == 0, "\(found)")
                #expect(found.dropFirst().allSatisfy { $0.versionsAtRest == kairos.versionsAtRest }, "\(found)")
            }
            let left = try await fixture.zfs("list", "-H", "-o", "name", "-r", fixture.pool.name)
            #expect(!String(decoding: left, as: UTF8.self).contains("kairos-bench"))
        }
    }
}
