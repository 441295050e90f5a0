import Datasets
import Glibc
import Subprocess
import Testing
import Tracing

extension IntegrationTests {
    /// Volumes are block devices: no mount, no inode, no path.
    @Suite("Volumes", .enabled(if: OpenZFS.isInKernel, "zfs-fuse has no volumes"))
    struct VolumeTests {
        private static let watched = OpenZFS.sets.contains(.zfs)

        /// A volume for as long as `body` runs, below a file system of its own.
        private func withVolume(_ body: (Fixture, _ device: String) async throws -> Void) async throws {
            let fixture = try Fixture.current()
            try await fixture.zfs("create", fixture.name("disks"))
            var failure: (any Error)?
            do {
                try await fixture.zfs("create", "-s", "-V", "32M", fixture.name("disks/disk"))
                try await body(fixture, try await OpenZFS.device(of: fixture.name("disks/disk")))
            } catch {
                failure = error
            }
            try await fixture.patiently("destroy", "-r", fixture.name("disks"))
            if let failure { throw failure }
        }

        /// Kairos on the volume and the sentinel.
        private func withKairos(
            _ body: (Fixture, KairosProcess, _ device: String) async throws -> Void
        ) async throws {
            try await withVolume { fixture, device in
                let names = [fixture.name("disks/disk"), fixture.sentinel]
                try await KairosProcess.run(["run", "--json", "--probes", "zfs"] + .prompt + names) { kairos in
                    try await kairos.ready()
                    // The pool was written when the volume was made, and this is not about that.
                    try await kairos.rest(in: fixture)
                    try await body(fixture, kairos, device)
                    kairos.expectNothingUnclaimed()
                    let (status, summary) = try await kairos.stop()
                    #expect(status.isSuccess, "\(kairos.transcript)")
                    #expect(summary?.leftAtRisk == [])
                    #expect(summary?.failures == 0, "\(kairos.transcript)")
                }
            }
        }

        private func put(_ text: String, at block: Int, of file: borrowing OpenFile) throws {
            let bytes = Array(text.utf8) + [UInt8](repeating: 0, count: 4096 - text.utf8.count)
            let count = try call(
                "pwrite64", .descriptor(file.raw), .bytes(bytes), .number(bytes.count), .number(block * 4096))
            #expect(count == bytes.count)
        }

        private func text(at block: Int, of device: String) throws -> String {
            let file = try OpenFile(device, O_RDONLY)
            var bytes = [UInt8](repeating: 0, count: 4096)
            let count = pread(file.raw, &bytes, bytes.count, off_t(block * 4096))
            #expect(count == bytes.count)
            return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }

        /// Makes a change of several steps while Kairos stands still. The first sync of a volume waits for a transaction group to have
        /// its intent log, so in an emulated machine the steps take longer than the quiet time.
        private func atOnce(_ kairos: KairosProcess, _ change: () throws -> Void) throws {
            try kairos.signal(.suspend)
            defer { try? kairos.signal(.resume) }
            try change()
        }

        /// Reads blocks of a snapshot, by a clone of it.
        private func texts(
            at blocks: [Int], in snapshot: KairosEvent, _ fixture: Fixture
        ) async throws -> [String] {
            try await fixture.zfs("clone", snapshot.fullName, fixture.name("disks/copy"))
            let texts: [String]
            do {
                let device = try await OpenZFS.device(of: fixture.name("disks/copy"))
                texts = try blocks.map { try text(at: $0, of: device) }
            } catch {
                try? await fixture.patiently("destroy", fixture.name("disks/copy"))
                throw error
            }
            try await fixture.patiently("destroy", fixture.name("disks/copy"))
            return texts
        }

        @Test("a write makes one snapshot, which holds it and tells of a volume", .enabled(if: watched))
        func write() async throws {
            try await withKairos { fixture, kairos, device in
                let snapshot = try await kairos.onlySnapshot(of: "disks/disk", in: fixture) {
                    try atOnce(kairos) {
                        let file = try OpenFile(device, O_RDWR)
                        try put("first", at: 3, of: file)
                        try put("second", at: 700, of: file)
                        try call("fsync", .descriptor(file.raw))
                    }
                }
                #expect(snapshot.volume == true)
                #expect(snapshot.trigger == "quiet")
                #expect((snapshot.calls ?? 0) >= 2, "\(kairos.transcript)")
                #expect(snapshot.changes == [:])
                #expect(try await texts(at: [3, 700, 4], in: snapshot, fixture) == ["first", "second", ""])
            }
            CoverageReport.add(.zfs, "a write to a volume", "seen", "")
        }

        @Test("what lies in the cache of the device is in the snapshot too, and makes no other", .enabled(if: watched))
        func cached() async throws {
            try await withKairos { fixture, kairos, device in
                // Held open: the last close of a block device would write the cache back.
                let held = try OpenFile(device, O_RDWR)
                let snapshot = try await kairos.onlySnapshot(of: "disks/disk", in: fixture) {
                    try atOnce(kairos) {
                        try put("noticed", at: 1, of: held)
                        try call("fsync", .descriptor(held.raw))
                        try put("in the cache", at: 5, of: held)
                    }
                }
                #expect(try await texts(at: [1, 5], in: snapshot, fixture) == ["noticed", "in the cache"])
            }
        }

        @Test("a discard makes one snapshot", .enabled(if: watched))
        func discard() async throws {
            try await withKairos { fixture, kairos, device in
                _ = try await kairos.onlySnapshot(of: "disks/disk", in: fixture) {
                    try atOnce(kairos) {
                        let file = try OpenFile(device, O_RDWR)
                        for block in 0..<64 { try put("soon gone", at: block, of: file) }
                        try call("fsync", .descriptor(file.raw))
                    }
                }
                let snapshot = try await kairos.onlySnapshot(of: "disks/disk", in: fixture) {
                    let file = try OpenFile(device, O_RDWR)
                    // BLKDISCARD: from, length.
                    try call("ioctl", .descriptor(file.raw), 0x1277, .words([0, 32 * 4096]))
                }
                #expect(try await texts(at: [0, 40], in: snapshot, fixture) == ["", "soon gone"])
            }
            CoverageReport.add(.zfs, "a discard of a volume", "seen", "")
        }

        @Test("reading it, opening it and syncing it make none", .enabled(if: watched))
        func still() async throws {
            try await withKairos { fixture, kairos, device in
                try await kairos.expectNoSnapshot(in: fixture) {
                    _ = try text(at: 9, of: device)
                    let file = try OpenFile(device, O_RDWR)
                    try call("fsync", .descriptor(file.raw))
                }
            }
        }

        @Test("a rollback takes back what was at risk: no snapshot", .enabled(if: watched))
        func rollback() async throws {
            try await withKairos { fixture, kairos, device in
                let snapshot = try await kairos.onlySnapshot(of: "disks/disk", in: fixture) {
                    let file = try OpenFile(device, O_RDWR)
                    try put("kept", at: 2, of: file)
                    try call("fsync", .descriptor(file.raw))
                }
                // Kairos stands still meanwhile, or it might be faster than the command.
                try kairos.signal(.suspend)
                do {
                    let file = try OpenFile(device, O_RDWR)
                    try put("discarded", at: 2, of: file)
                    try call("fsync", .descriptor(file.raw))
                }
                try await fixture.zfs("rollback", snapshot.fullName)
                try await kairos.expectNoSnapshot(in: fixture) { try kairos.signal(.resume) }
                #expect(try await fixture.snapshots(of: "disks/disk").last == snapshot.snapshot)
                #expect(try text(at: 2, of: device) == "kept")
            }
        }

        @Test("with -r it is watched like the file systems", .enabled(if: watched))
        func recursive() async throws {
            try await withVolume { fixture, device in
                let names = [fixture.name("disks"), fixture.name("disks/disk")]
                try await KairosProcess.run(["run", "--json", "-r"] + .prompt + [names[0], fixture.sentinel]) {
                    kairos in
                    try await kairos.ready()
                    #expect(kairos.events.first { $0.event == "ready" }?.datasets == names + [fixture.sentinel])
                    try await kairos.rest(in: fixture)
                    let snapshot = try await kairos.onlySnapshot(of: "disks/disk", in: fixture) {
                        let file = try OpenFile(device, O_RDWR)
                        try put("found", at: 0, of: file)
                    }
                    #expect(try await texts(at: [0], in: snapshot, fixture) == ["found"])
                }
            }
        }

        @Test("where no probe sees it a volume that is named is refused, with the reason; one below is told of")
        func refused() async throws {
            try await withVolume { fixture, _ in
                let name = fixture.name("disks/disk")
                let (status, _, messages) = try await KairosProcess.output(["run", "--probes", "vfs", name])
                #expect(status == .exited(1))
                let line = messages.split(separator: "\n")
                #expect(line.count == 1, "\(messages)")
                for words in [name, "is a volume", "probe set zfs", "name file systems"] {
                    #expect(messages.contains(words), "\(messages)")
                }
                let arguments = ["run", "--json", "--probes", "vfs", "-r"] + .prompt + [fixture.name("disks")]
                try await KairosProcess.run(arguments) { kairos in
                    let told = try await kairos.event("word of the volume") {
                        $0.event == "notice" && $0.text?.contains(name + " is a volume") == true
                    }
                    #expect(told.text?.hasPrefix("not watched: ") == true)
                    let ready = try await kairos.event("ready") { $0.event == "ready" }
                    #expect(ready.datasets == [fixture.name("disks")])
                }
            }
            for operation in ["a write to a volume", "a discard of a volume"] {
                CoverageReport.add(.vfs, operation, "not watched, and told so", "")
            }
        }
    }
}
