import Datasets
import Glibc
import Scratch
import Subprocess
import Testing

extension IntegrationTests {
    @Suite("Looking back beside a running daemon")
    struct LookBesideTests {
        @Test("log, deleted and cat lead to no snapshot, and to no check: at once, at the stop, at the next start")
        func noSnapshot() async throws {
            let fixture = try Fixture.current()
            let dataset = fixture.name("beside")
            try await fixture.zfs("create", dataset)
            do { try await look(fixture, dataset) } catch {
                try? await fixture.patiently("destroy", "-r", dataset)
                throw error
            }
            try await fixture.patiently("destroy", "-r", dataset)
        }

        private func look(_ fixture: Fixture, _ dataset: String) async throws {
            // Where a read changes what ZFS knows of the dataset.
            try await fixture.zfs("set", "atime=on", dataset)
            let live = fixture.path("beside")
            try makeDirectory(live + "/sub")
            // Long enough for whole seconds to tell a change from the snapshot after it.
            let command = ["run", "--verbose", "--quiet", "2s", "--min-interval", "50ms", "--audit", "off", dataset]
            try await KairosProcess.run(command) { kairos in
                try await kairos.message(containing: "watching")
                // That of the start, which is not to be taken for the first of these.
                #expect(
                    try await wait(for: KairosProcess.patience) { try await !fixture.snapshots(of: "beside").isEmpty })
                for number in 1...3 {
                    let before = try await fixture.snapshots(of: "beside").count
                    try write("content \(number)", to: live + "/file")
                    try write("content", to: live + "/sub/\(number)")
                    if number == 3 { try call("unlinkat", .here, .text(live + "/sub/1"), 0) }
                    let isTaken = try await wait(for: KairosProcess.patience) {
                        try await fixture.snapshots(of: "beside").count > before
                    }
                    try #require(isTaken, "\(kairos.transcript)")
                }
                let taken = try await fixture.snapshots(of: "beside")
                let common = ["--journal", "none", "--zfs-command", fixture.pool.command.zfs]
                for arguments in [
                    ["log", live + "/file"], ["deleted", live], ["deleted", live + "/sub"], ["cat", live + "/file"],
                    ["diff", live + "/sub/2"],
                ] {
                    let result = try await KairosProcess.output([arguments[0]] + common + [arguments[1]])
                    #expect(result.status.isSuccess, "\(arguments): \(result.stderr)")
                    if arguments[0] == "deleted" { #expect(result.stdout.contains("sub/1")) }
                }
                #expect(try await kairos.stop().status.isSuccess, "\(kairos.transcript)")
                #expect(try await fixture.snapshots(of: "beside") == taken, "\(kairos.transcript)")
                let own = kairos.messages.split(separator: "\n").filter {
                    $0.contains("unresolved") && ($0.contains("kairos-view") || $0.contains("/run/kairos"))
                }
                #expect(own.isEmpty, "\(own)")
            }
            try await KairosProcess.run(["run", "--json"] + .prompt + [dataset]) { kairos in
                let first = try await kairos.event("the first look") {
                    $0.dataset == dataset && ($0.event == "unchanged" || $0.event == "snapshot")
                }
                #expect(first.event == "unchanged", "\(kairos.transcript)")
            }
            let reader = SnapshotReader(fixture: fixture)
            var trees: [Tree] = []
            for name in try await fixture.snapshots(of: "beside") {
                trees.append(try await reader.tree(of: "\(dataset)@\(name)"))
            }
            for (older, newer) in zip(trees, trees.dropFirst()) { #expect(older != newer) }
        }
    }
}
