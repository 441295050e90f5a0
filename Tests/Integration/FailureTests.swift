import CTestSupport
import Glibc
import Scratch
import Subprocess
import TestSupport
import Testing

extension IntegrationTests {
    @Suite("When things go wrong")
    struct FailureTests {
        @Test("a snapshot that fails is told once, tried again with growing pauses, and made in the end")
        func failingSnapshot() async throws {
            let fixture = try Fixture.current()
            let zfs = try FakeZFS(for: fixture, in: fixture.pool.directory, called: "failing-zfs")
            let name = fixture.name("a")
            try await KairosProcess.run(["run", "--json", "--zfs-command", zfs.path] + .prompt + [name]) { kairos in
                try await kairos.ready()
                try zfs.set(.fail)
                let earlier = zfs.calls.count
                let start = kairos.events.count
                try write("precious", to: fixture.path("a") + "/precious")
                let failure = try await kairos.event("a failure", from: start) { $0.event == "failure" }
                #expect(failure.dataset == name)
                #expect(failure.operation == "snapshot")
                #expect(failure.error?.contains("out of space") == true)
                #expect(failure.retries == true)
                #expect(await wait(for: KairosProcess.patience) { zfs.calls.count >= earlier + 3 })
                try zfs.clear(.fail)
                let snapshot = try await kairos.event("a snapshot", from: start) { $0.event == "snapshot" }
                // Not before a second has passed, then two. The third is under way when the failure is healed, and may succeed.
                let tries = Array(zfs.calls.dropFirst(earlier))
                try #require(tries.count >= 3)
                #expect(tries[1] - tries[0] > 0.9)
                #expect(tries[2] - tries[1] > 1.8)
                #expect(snapshot.dataset == name)
                #expect((snapshot.failuresBefore ?? 0) == tries.count - 1)
                #expect(snapshot.changes?["create"] == 1)
                let tree = try await SnapshotReader(fixture: fixture).tree(of: snapshot.fullName)
                #expect(tree["precious"] == .file("precious"))
                let (status, summary) = try await kairos.stop()
                #expect(status.isSuccess)
                #expect(kairos.events.filter { $0.event == "failure" }.count == 1, "\(kairos.transcript)")
                #expect(summary?.failures == UInt64(tries.count - 1))
            }
        }

        @Test("a snapshot that was given up and taken all the same is found, and not taken again")
        func lateAnswer() async throws {
            let fixture = try Fixture.current()
            let zfs = try FakeZFS(for: fixture, in: fixture.pool.directory, called: "late-zfs")
            let name = fixture.name("a")
            let options = ["--zfs-command", zfs.path, "--zfs-time-limit", "5s"] + .prompt
            try await KairosProcess.run(["run", "--json"] + options + [name]) { kairos in
                try await kairos.ready()
                let before = try await fixture.snapshots(of: "a")
                let start = kairos.events.count
                try zfs.set(.late)
                try write("once", to: fixture.path("a") + "/late")
                let failure = try await kairos.event("a failure", from: start) { $0.event == "failure" }
                #expect(failure.operation == "snapshot")
                try await kairos.event("a check", from: start) { $0.event == "unchanged" && $0.dataset == name }
                try zfs.clear(.late)
                let after = try await fixture.snapshots(of: "a")
                #expect(after.count == before.count + 1, "\(after)\n\(kairos.transcript)")
                let tree = try await SnapshotReader(fixture: fixture).tree(of: "\(name)@\(after.last ?? "")")
                #expect(tree["late"] == .file("once"))

                let next = kairos.events.count
                try write("twice", to: fixture.path("a") + "/late")
                let snapshot = try await kairos.event("a snapshot", from: next) { $0.event == "snapshot" }
                #expect(snapshot.failuresBefore == 0, "\(kairos.transcript)")
                #expect(!kairos.events.dropFirst(start).prefix(next - start).contains { $0.event == "snapshot" })
                let (status, summary) = try await kairos.stop()
                #expect(status.isSuccess)
                #expect(summary?.failures == 1, "\(kairos.transcript)")
            }
        }

        @Test("a snapshot that fails while stopping leaves its dataset at risk, and says so")
        func failingStop() async throws {
            let fixture = try Fixture.current()
            let zfs = try FakeZFS(for: fixture, in: fixture.pool.directory, called: "stopping-zfs")
            let name = fixture.name("a")
            try await KairosProcess.run(["run", "--json", "--zfs-command", zfs.path] + .prompt + [name]) { kairos in
                try await kairos.ready()
                try zfs.set(.fail)
                try write("text", to: fixture.path("a") + "/at-risk")
                try await kairos.event("a failure") { $0.event == "failure" }
                let (status, summary) = try await kairos.stop()
                #expect(status == .exited(1))
                #expect(summary?.leftAtRisk == [name])
                #expect(kairos.events.last { $0.event == "failure" }?.retries == false, "\(kairos.transcript)")
            }
        }

        @Test("lost records cost detail, and no change")
        func lostRecords() async throws {
            let fixture = try Fixture.current()
            // With the other sets no record is needed to find the dataset, so there is nothing to look at.
            let options =
                ["--probes", "syscalls", "--ring-bytes", "4096", "--quiet", "100ms", "--min-interval", "50ms"]
                + ["--max-delay", "1s"]
            let names = ["a", "b", "c", Fixture.sentinel].map(fixture.name)
            try await KairosProcess.run(["run", "--json"] + options + names) { kairos in
                try await kairos.ready()
                let start = kairos.events.count
                // The ring holds some thirty records, and while it stands still nobody takes them out.
                try kairos.signal(.suspend)
                for dataset in ["a", "b"] {
                    let directory = fixture.path(dataset) + "/burst"
                    try makeDirectory(directory)
                    for number in 0..<1000 {
                        let file = try OpenFile("\(directory)/\(number)", O_WRONLY | O_CREAT | O_EXCL)
                        let text = Array("file \(number)".utf8)
                        try call("write", .descriptor(file.raw), .bytes(text), .number(text.count))
                        if number % 3 == 0 {
                            try call(
                                "renameat2", .here, .text("\(directory)/\(number)"), .here,
                                .text("\(directory)/\(number).renamed"), 0)
                        }
                    }
                }
                try kairos.signal(.resume)
                for dataset in ["a", "b"] {
                    try await kairos.event("a snapshot of \(dataset)", from: start) {
                        $0.event == "snapshot" && $0.dataset == fixture.name(dataset) && ($0.recordsLost ?? 0) > 0
                    }
                }
                // All datasets are looked at, since lost records of unresolved paths may have been of any.
                try await kairos.event("a look at c", from: start) {
                    $0.event == "unchanged" && $0.dataset == fixture.name("c")
                }
                try await kairos.rest(in: fixture)
                try await expectCaptured(["a", "b"], in: fixture)
                let of = { (dataset: String) in
                    kairos.events.dropFirst(start).filter {
                        $0.event == "snapshot" && $0.dataset == fixture.name(dataset)
                    }
                }
                #expect(of("c").isEmpty)
                let (status, summary) = try await kairos.stop()
                #expect(status.isSuccess)
                #expect((summary?.recordsLost ?? 0) > 1000, "\(kairos.transcript)")
                #expect((summary?.events ?? 0) >= 4000)
            }
        }

        @Test("whatever changes while snapshots are made is in a later one", arguments: TestSeeds.of(1))
        func changesDuringSnapshots(seed: UInt64) async throws {
            let fixture = try Fixture.current()
            let options = ["--quiet", "20ms", "--min-interval", "20ms", "--max-delay", "60ms"]
            let names = ["a", "b", Fixture.sentinel].map(fixture.name)
            var random = SplitMix64(seed: seed)
            try await KairosProcess.run(["run", "--json"] + options + names) { kairos in
                try await kairos.ready()
                for round in 0..<4 {
                    for dataset in ["a", "b"] {
                        let directory = fixture.path(dataset) + "/race"
                        try makeDirectory(directory + "/\(round)")
                        try await changeAtRandom(directory, round, &random)
                    }
                    try await kairos.rest(in: fixture)
                    try await expectCaptured(["a", "b"], in: fixture)
                }
                let (status, summary) = try await kairos.stop()
                #expect(status.isSuccess)
                #expect((summary?.snapshots ?? 0) > 8)
            }
        }

        /// Two tenths of a second of changes of every sort, faster than snapshots are made.
        private func changeAtRandom(
            _ directory: String, _ round: Int, _ random: inout SplitMix64
        ) async throws {
            let end = ContinuousClock.now + .milliseconds(200)
            let shared = directory + "/shared"
            let file = try OpenFile(shared, O_RDWR | O_CREAT)
            try call("ftruncate", .descriptor(file.raw), 4096)
            let address = try call(
                "mmap", 0, 4096, .flags(PROT_READ | PROT_WRITE), .flags(MAP_SHARED), .descriptor(file.raw), 0)
            defer { _ = try? call("munmap", .number(address), 4096) }
            var step = 0
            while ContinuousClock.now < end {
                let path = "\(directory)/\(round)/\(step % 7)"
                switch Int.random(in: 0..<6, using: &random) {
                case 0: try write("step \(step)", to: path)
                case 1: support_store(address + step % 4096, UInt8(truncatingIfNeeded: step))
                case 2: try? rename(path, to: "\(directory)/\(round)/\((step + 3) % 7)")
                case 3: _ = try? call("unlinkat", .here, .text(path), 0)
                case 4: _ = try? call("truncate", .text(path), .number(step % 9))
                default: _ = try? call("mkdirat", .here, .text("\(directory)/\(round)/dir\(step)"), 0o755)
                }
                step += 1
                if step % 5 == 0 {
                    try await Task.sleep(for: .milliseconds(Int.random(in: 0..<8, using: &random)))
                }
            }
        }

        private func rename(_ old: String, to new: String) throws {
            try call("renameat2", .here, .text(old), .here, .text(new), 0)
        }

        /// Waits until the newest snapshot equals the live files: what was changed during a snapshot is checked a little
        /// later, and captured then.
        private func expectCaptured(
            _ datasets: [String], in fixture: Fixture, sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            for dataset in datasets {
                var different = ["everything"]
                var newest = ""
                _ = try await wait(for: KairosProcess.patience) {
                    newest = try #require(try await fixture.snapshots(of: dataset).last)
                    let tree = try await SnapshotReader(fixture: fixture).tree(of: "\(fixture.name(dataset))@\(newest)")
                    let live = try Tree.read(fixture.path(dataset))
                    different = Set(tree.entries.keys).union(live.entries.keys).filter { tree[$0] != live[$0] }.sorted()
                    return different.isEmpty
                }
                #expect(different.isEmpty, "\(dataset)@\(newest)", sourceLocation: sourceLocation)
            }
        }
    }
}
