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

        /// Kairos on `dataset` and the sentinel; each write is one snapshot, whenever its file is synced.
        private func expectOneSnapshotEach(
            of dataset: String, in fixture: Fixture, set: ProbeSet, write: (Int) throws -> Void, sync: () throws -> Void
        ) async throws {
            let names = [fixture.name(dataset), fixture.sentinel]
            try await KairosProcess.run(["run", "--json", "--probes", set.rawValue] + .prompt + names) { kairos in
                try await kairos.ready()
                try await kairos.rest(in: fixture)
                for (round, pause) in Self.pauses.enumerated() {
                    let found = try await kairos.snapshots(of: [dataset], in: fixture) {
                        try write(round)
                        try await Task.sleep(for: .milliseconds(pause))
                        try sync()
                    }
                    #expect(
                        found.map(\.dataset) == [fixture.name(dataset)],
                        "synced \(pause) ms after the write: \(found.map(\.fullName))")
                }
                kairos.expectNothingUnclaimed()
                let (status, summary) = try await kairos.stop()
                #expect(status.isSuccess, "\(kairos.transcript)")
                #expect(summary?.failures == 0, "\(kairos.transcript)")
            }
        }

        @Test("of a file", arguments: OpenZFS.chosen)
        func file(set: ProbeSet) async throws {
            let fixture = try Fixture.current()
            // A dataset that nobody synced before has no intent log: the first sync waits for a transaction group with one.
            try await fixture.zfs("create", fixture.name("synced"))
            var failure: (any Error)?
            do {
                let file = try OpenFile(fixture.path("synced") + "/file", O_RDWR | O_CREAT)
                try await expectOneSnapshotEach(of: "synced", in: fixture, set: set) { round in
                    try call("pwrite64", .descriptor(file.raw), .text("round \(round)"), 8, 0)
                } sync: {
                    try call("fsync", .descriptor(file.raw))
                }
            } catch {
                failure = error
            }
            try await fixture.patiently("destroy", "-r", fixture.name("synced"))
            if let failure { throw failure }
        }

        @Test("of a volume", .enabled(if: OpenZFS.sets.contains(.zfs)))
        func volume() async throws {
            let fixture = try Fixture.current()
            try await fixture.zfs("create", "-s", "-V", "8M", fixture.name("synced"))
            var failure: (any Error)?
            do {
                let device = try OpenFile(try await OpenZFS.device(of: fixture.name("synced")), O_RDWR)
                try await expectOneSnapshotEach(of: "synced", in: fixture, set: .zfs) { round in
                    let block = Array("round \(round)".utf8) + [UInt8](repeating: 0, count: 4096)
                    try call("pwrite64", .descriptor(device.raw), .bytes(block), 4096, 0)
                    // Written, and waited for: from the kernel's cache into ZFS, but not into its log.
                    try call("sync_file_range", .descriptor(device.raw), 0, 0, 7)
                } sync: {
                    try call("fsync", .descriptor(device.raw))
                }
            } catch {
                failure = error
            }
            try await fixture.patiently("destroy", "-r", fixture.name("synced"))
            if let failure { throw failure }
        }
    }
}
