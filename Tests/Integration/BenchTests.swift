import FoundationEssentials
import Glibc
import Scratch
import Subprocess
import TestSupport
import Testing
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
            var problems: [String]
        }

        private func rows<Row: Decodable>(_ arguments: [String]) async throws -> [Row] {
            let (status, output, messages) = try await KairosProcess.output(
                ["bench"] + arguments + ["--json"], timeout: .seconds(600))
            #expect(status.isSuccess, "\(messages)")
            let decoder = JSONDecoder()
            decoder.keyDecodingStrategy = .convertFromSnakeCase
            return try decoder.decode([Row].self, from: Data(output.utf8))
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
                // One each minute, the last at the end; one is left out where the one before takes longer than its interval.
                let cron = try #require(found.dropFirst(2).first)
                #expect((4...5).contains(cron.snapshots), "\(found)")
                #expect((1...cron.snapshots).contains(found[3].snapshots) && found[3].empty == 0, "\(found)")
                #expect(found.dropFirst().allSatisfy { $0.versionsAtRest == kairos.versionsAtRest }, "\(found)")
            }
            let left = try await fixture.zfs("list", "-H", "-o", "name", "-r", fixture.pool.name)
            #expect(!String(decoding: left, as: UTF8.self).contains("kairos-bench"))
        }
    }
}
