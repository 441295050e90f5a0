import Glibc
import Subprocess
import Testing
import Tracing

extension IntegrationTests {
    /// What a sync writes to the intent log is no change, however late it comes.
    @Suite("A sync that a snapshot overtakes", .enabled(if: OpenZFS.isInKernel, "zfs-fuse tells of no groups"))
    struct SyncTests {
        /// Pauses between a write and its sync, in milliseconds: with a quiet time of 100 ms the snapshot begins, is under way or is
        /// done by then, on a machine of any speed.
        private static let pauses = [0, 60, 100, 120, 140, 160, 200, 240, 280, 320, 400, 500, 700, 900]

        /// Something that can be written and synced on its own, in a dataset.
        private struct Target {
            var dataset: String
            var write: (Int) throws -> Void
            var sync: () throws -> Void
        }

        /// Each write is one snapshot, whenever its file is synced.
        private func expectOneSnapshotEach(_ target: Target, by kairos: KairosProcess, in fixture: Fixture) async throws
        {
            for (round, pause) in Self.pauses.enumerated() {
                let found = try await kairos.snapshots(of: [target.dataset], in: fixture) {
                    try target.write(round)
                    try await Task.sleep(for: .milliseconds(pause))
                    try target.sync()
                }
                #expect(
                    found.map(\.dataset) == [fixture.name(target.dataset)],
                    "synced \(pause) ms after the write: \(found.map(\.fullName))")
            }
            kairos.expectNothingUnclaimed()
        }

        @Test("is no change: of a file and of a volume", arguments: OpenZFS.chosen)
        func synced(set: ProbeSet) async throws {
            let fixture = try Fixture.current()
            // A dataset that nobody synced before has no intent log: the first sync waits for a transaction group with one.
            try await fixture.zfs("create", fixture.name("synced"))
            var failure: (any Error)?
            do {
                try await synced(set, fixture)
            } catch {
                failure = error
            }
            try await fixture.patiently("destroy", "-r", fixture.name("synced"))
            if let failure { throw failure }
        }

        private func synced(_ set: ProbeSet, _ fixture: Fixture) async throws {
            let descriptor = open(fixture.path("synced") + "/file", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
            try #require(descriptor >= 0)
            defer { close(descriptor) }
            var targets = [
                Target(dataset: "synced") { round in
                    try call("pwrite64", .descriptor(descriptor), .text("round \(round)"), 8, 0)
                } sync: {
                    try call("fsync", .descriptor(descriptor))
                }
            ]
            if set == .zfs {
                try await fixture.zfs("create", "-s", "-V", "8M", fixture.name("synced/volume"))
                let device = open(try await OpenZFS.device(of: fixture.name("synced/volume")), O_RDWR | O_CLOEXEC)
                try #require(device >= 0)
                // Also before the volume is destroyed.
                defer { close(device) }
                targets.append(
                    Target(dataset: "synced/volume") { round in
                        let block = Array("round \(round)".utf8) + [UInt8](repeating: 0, count: 4096)
                        try call("pwrite64", .descriptor(device), .bytes(block), 4096, 0)
                        // Written, and waited for: from the kernel's cache into ZFS, but not into its log.
                        try call("sync_file_range", .descriptor(device), 0, 0, 7)
                    } sync: {
                        try call("fsync", .descriptor(device))
                    })
                try await run(targets, set, fixture)
            } else {
                try await run(targets, set, fixture)
            }
        }

        private func run(_ targets: [Target], _ set: ProbeSet, _ fixture: Fixture) async throws {
            let names = targets.map { fixture.name($0.dataset) } + [fixture.sentinel]
            try await KairosProcess.run(["run", "--json", "--probes", set.rawValue] + .prompt + names) { kairos in
                try await kairos.ready()
                try await kairos.rest(in: fixture)
                for target in targets { try await expectOneSnapshotEach(target, by: kairos, in: fixture) }
                let (status, summary) = try await kairos.stop()
                #expect(status.isSuccess, "\(kairos.transcript)")
                #expect(summary?.failures == 0, "\(kairos.transcript)")
            }
        }
    }
}
