import Datasets
import Glibc
import Scratch
import Subprocess
import SystemPackage
import Testing
import Tracing

extension IntegrationTests {
    /// Changes that come neither by a call on a file of the dataset nor by a mapping of one.
    @Suite("Other ways into a dataset")
    struct OtherWaysTests {
        /// Kairos on `dataset`, which is there for as long as `body` runs, and on the sentinel.
        private func withKairos(
            _ set: ProbeSet, on dataset: String, times: [String] = .prompt,
            _ prepare: (Fixture) async throws -> Void,
            _ body: (Fixture, KairosProcess) async throws -> Void
        ) async throws {
            let fixture = try Fixture.current()
            var failure: (any Error)?
            do {
                try await prepare(fixture)
                let names = [fixture.name(dataset), fixture.sentinel]
                let options = ["run", "--json", "--probes", set.rawValue, "--audit", "1s"] + times
                try await KairosProcess.run(options + names) { kairos in
                    try await kairos.ready()
                    try await kairos.rest(in: fixture)
                    try await body(fixture, kairos)
                    kairos.expectNothingUnclaimed()
                    #expect(!kairos.events.contains { $0.event == "missed" }, "\(kairos.transcript)")
                    let (status, summary) = try await kairos.stop()
                    #expect(status.isSuccess, "\(kairos.transcript)")
                    #expect(summary?.failures == 0, "\(kairos.transcript)")
                }
            } catch {
                failure = error
            }
            for name in [dataset, "origin"] {
                let names = try await fixture.pool.command.run(["list", "-H", "-o", "name"])
                guard String(decoding: names, as: UTF8.self).split(separator: "\n").contains("\(fixture.name(name))")
                else { continue }
                try await fixture.patiently("destroy", "-r", fixture.name(name))
            }
            if let failure { throw failure }
        }

        // MARK: zfs receive

        /// `zfs send ARGUMENTS | zfs receive ARGUMENTS`
        private func send(
            _ sent: [String], to receiver: [String], _ fixture: Fixture
        ) async throws {
            let zfs = fixture.pool.command.zfs
            let words = [zfs, "send"] + sent + ["|", zfs, "receive"] + receiver
            let line = words.map { $0 == "|" ? $0 : "'\($0)'" }.joined(separator: " ")
            let result = try await Subprocess.run(
                .path("/bin/sh"), arguments: ["-c", line], output: .string(limit: 4096), error: .string(limit: 4096))
            #expect(result.terminationStatus.isSuccess, "\(line): \(result.standardError)")
        }

        @Test("what is received is its own snapshot: none of ours breaks the next receive", arguments: OpenZFS.chosen)
        func receive(set: ProbeSet) async throws {
            func prepare(_ fixture: Fixture) async throws {
                try await fixture.zfs("create", fixture.name("origin"))
                try write("one", to: fixture.path("origin") + "/file")
                try await fixture.zfs("snapshot", fixture.name("origin@one"))
                try await send([fixture.name("origin@one")], to: [fixture.name("replica")], fixture)
            }
            try await withKairos(set, on: "replica", prepare) { fixture, kairos in
                let file = fixture.path("replica") + "/file"
                #expect(try await fixture.snapshots(of: "replica") == ["one"], "\(kairos.transcript)")
                // Incremental, and without -F: ZFS refuses it where the replica is not as it was received.
                try write("two", to: fixture.path("origin") + "/file")
                try await fixture.zfs("snapshot", fixture.name("origin@two"))
                try await kairos.expectNoSnapshot(in: fixture) {
                    try await send(
                        ["-i", "@one", fixture.name("origin@two")], to: [fixture.name("replica")], fixture)
                }
                #expect(try contents(of: file) == Array("two".utf8))
                #expect(try await fixture.snapshots(of: "replica") == ["one", "two"])

                // What was at risk is gone with -F.
                try write("three", to: fixture.path("origin") + "/file")
                try await fixture.zfs("snapshot", fixture.name("origin@three"))
                try kairos.signal(.suspend)
                try write("in the way", to: file)
                try await send(
                    ["-i", "@two", fixture.name("origin@three")], to: ["-F", fixture.name("replica")], fixture)
                try await kairos.expectNoSnapshot(in: fixture) { try kairos.signal(.resume) }
                #expect(try contents(of: file) == Array("three".utf8))
                #expect(try await fixture.snapshots(of: "replica") == ["one", "two", "three"])

                // And it is still watched.
                let snapshot = try await kairos.onlySnapshot(of: "replica", in: fixture) {
                    try write("by hand", to: file)
                }
                let tree = try await SnapshotReader(fixture: fixture).tree(of: snapshot.fullName)
                #expect(tree["file"] == .file("by hand"))
            }
            CoverageReport.add(set, "zfs receive", "no snapshot, rightly", "")
        }

        // MARK: zfs rollback

        @Test("a rollback takes back what was at risk: no snapshot", arguments: OpenZFS.chosen)
        func rollback(set: ProbeSet) async throws {
            try await withKairos(set, on: "back", { try await $0.zfs("create", $0.name("back")) }) { fixture, kairos in
                let file = fixture.path("back") + "/file"
                let snapshot = try await kairos.onlySnapshot(of: "back", in: fixture) { try write("kept", to: file) }
                // Kairos stands still meanwhile, or it might be faster than the command.
                try kairos.signal(.suspend)
                try write("discarded", to: file)
                try await fixture.zfs("rollback", snapshot.fullName)
                try await kairos.expectNoSnapshot(in: fixture) { try kairos.signal(.resume) }
                #expect(try contents(of: file) == Array("kept".utf8))
                #expect(try await fixture.snapshots(of: "back").last == snapshot.snapshot)

                let after = try await kairos.onlySnapshot(of: "back", in: fixture) { try write("anew", to: file) }
                let tree = try await SnapshotReader(fixture: fixture).tree(of: after.fullName)
                #expect(tree["file"] == .file("anew"))
            }
            CoverageReport.add(set, "zfs rollback", "no snapshot, rightly", "")
        }

        // MARK: zfs destroy

        @Test("where our newest snapshot is destroyed, another is taken, and none is missed", arguments: OpenZFS.chosen)
        func destroyed(set: ProbeSet) async throws {
            func prepare(_ fixture: Fixture) async throws {
                try await fixture.zfs("create", fixture.name("back"))
            }
            try await withKairos(set, on: "back", prepare) { fixture, kairos in
                let snapshot = try await kairos.onlySnapshot(of: "back", in: fixture) {
                    try write("kept", to: fixture.path("back") + "/file")
                }
                let start = kairos.claim().start
                try await fixture.patiently("destroy", snapshot.fullName)
                try await kairos.event("word of it", from: start) {
                    $0.event == "notice" && $0.text?.contains("@\(snapshot.snapshot ?? "") is gone") == true
                }
                let another = try await kairos.event("another snapshot", from: start) {
                    $0.event == "snapshot" && $0.dataset == fixture.name("back")
                }
                _ = kairos.claim()
                #expect(another.trigger == "check")
                let tree = try await SnapshotReader(fixture: fixture).tree(of: another.fullName)
                #expect(tree["file"] == .file("kept"))
                #expect(try await fixture.snapshots(of: "back").last == another.snapshot)
            }
        }

        // MARK: Commit points

        @Test("a close completes a version, also where rules ignore names", arguments: OpenZFS.chosen)
        func closes(set: ProbeSet) async throws {
            let times = [
                "--quiet", "20s", "--commit-quiet", "10ms", "--min-interval", "50ms", "--max-delay", "60s",
                "--ignore", "*.tmp",
            ]
            try await withKairos(set, on: "closed", times: times, { try await $0.zfs("create", $0.name("closed")) }) {
                fixture, kairos in
                let snapshot = try await kairos.onlySnapshot(of: "closed", in: fixture) {
                    try write("whole", to: fixture.path("closed") + "/file")
                }
                #expect(snapshot.trigger == "commit", "\(kairos.transcript)")
            }
        }

        // MARK: Loop devices

        /// The sets that see what other parts of the kernel do to files; `syscalls` names them as what it does not see.
        private static let deep = OpenZFS.chosen.filter { $0 != .syscalls }

        @Test("a write to a loop device is one to the file behind it", arguments: deep)
        func loop(set: ProbeSet) async throws {
            let size = 4 << 20
            func prepare(_ fixture: Fixture) async throws {
                try await fixture.zfs("create", fixture.name("images"))
                let image = try OpenFile(fixture.path("images") + "/image", O_RDWR | O_CREAT)
                try call("ftruncate", .descriptor(image.raw), .number(size))
            }
            try await withKairos(set, on: "images", prepare) { fixture, kairos in
                let image = try OpenFile(fixture.path("images") + "/image", O_RDWR)
                let control = try OpenFile("/dev/loop-control", O_RDWR)
                // LOOP_CTL_GET_FREE, LOOP_SET_FD, LOOP_CLR_FD
                let number = try call("ioctl", .descriptor(control.raw), 0x4C82, 0)
                let device = try OpenFile("/dev/loop\(number)", O_RDWR)
                try call("ioctl", .descriptor(device.raw), 0x4C00, .descriptor(image.raw))
                defer { _ = try? call("ioctl", .descriptor(device.raw), 0x4C01, 0) }
                try await kairos.rest(in: fixture)

                let found = try await kairos.snapshots(of: ["images"], in: fixture) {
                    let block = [UInt8](repeating: UInt8(ascii: "x"), count: 4096)
                    let count = try call("pwrite64", .descriptor(device.raw), .bytes(block), 4096, 8192)
                    #expect(count == 4096)
                    try call("fsync", .descriptor(device.raw))
                }
                // A kernel thread's write is marked before it is done, so where the mark counts it may take a check, or two
                // looks: with vfs, and where zfs without BTF has not reported it yet.
                let marks = set == .vfs || !exists(KernelSupport.moduleBTFPath)
                let right = marks ? [["quiet"], ["check"], ["quiet", "check"]] : [["quiet"]]
                #expect(right.contains(found.compactMap(\.trigger)), "\(kairos.transcript)")
                #expect(Set(found.map(\.dataset)) == [fixture.name("images")])
                var before: [UInt8]?
                for snapshot in found {
                    let bytes = try await SnapshotReader(fixture: fixture).open(snapshot.fullName) {
                        try contents(of: $0 + "/image")
                    }
                    #expect(bytes != before, "an empty snapshot: \(snapshot.fullName)")
                    before = bytes
                }
                let bytes = try #require(before)
                #expect(bytes.count == size && bytes[8192..<12288].allSatisfy { $0 == UInt8(ascii: "x") })
                #expect(bytes[..<8192].allSatisfy { $0 == 0 })
            }
            CoverageReport.add(set, "a write to a loop device", "seen", "")
        }

        // MARK: The NFS server

        /// In the virtual machines alone: the host's server may have clients.
        private static let served = exists("/kairos/command") ? deep : []

        @Test("what a client of the kernel's NFS server does is a change of the exported dataset", arguments: served)
        func nfs(set: ProbeSet) async throws {
            // The client sends a change in several requests, and takes its time.
            let times = ["--quiet", "5s", "--min-interval", "50ms", "--max-delay", "40s"]
            try await withKairos(set, on: "shared", times: times, { try await $0.zfs("create", $0.name("shared")) }) {
                fixture, kairos in
                let server = try NFSServer(exporting: fixture.path("shared"))
                let there = server.mountPoint
                // The server keeps a note of the mount in the dataset's own time.
                try await kairos.rest(in: fixture)
                var steps: [(change: () throws -> Void, holds: [String: Entry])] = [
                    ({ try write("one", to: there + "/file") }, ["file": .file("one")]),
                    ({ try write("another", to: there + "/file") }, ["file": .file("another")]),
                    (
                        { try call("renameat", .here, .text(there + "/file"), .here, .text(there + "/renamed")) },
                        ["renamed": .file("another")]
                    ),
                    (
                        { try makeDirectory(there + "/directory") },
                        ["renamed": .file("another"), "directory": .directory]
                    ),
                    ({ try call("unlinkat", .here, .text(there + "/renamed"), 0) }, ["directory": .directory]),
                    ({ try write("last", to: there + "/last") }, ["directory": .directory, "last": .file("last")]),
                ]
                // Linux 6.1 takes no program on the function that the server calls.
                if set == .zfs || KernelSupport.isAtLeast(6, 6) {
                    let holds = ["directory": .directory, "last": Entry.file("last")]
                    steps.append(
                        (
                            {
                                try call(
                                    "setxattr", .text(there + "/last"), .text("user.kairos"), .text("value"), 5, 0)
                            }, holds
                        ))
                }
                for step in steps {
                    let snapshot = try await kairos.onlySnapshot(of: "shared", in: fixture, after: step.change)
                    let tree = try await SnapshotReader(fixture: fixture).tree(of: snapshot.fullName)
                    #expect(tree.entries == step.holds, "\(tree)\n\(kairos.transcript)")
                }
                try await kairos.expectNoSnapshot(in: fixture) {
                    let bytes = try contents(of: there + "/last")
                    #expect(bytes == Array("last".utf8))
                }
            }
            CoverageReport.add(set, "changes over the kernel's NFS server", "seen", "")
        }

        // MARK: Overlays

        @Test("a change in an overlay is one of the dataset that its upper directory lies on", arguments: deep)
        func overlay(set: ProbeSet) async throws {
            let lower = "/run/kairos-lower-\(getpid())"
            let merged = "/run/kairos-merged-\(getpid())"
            func prepare(_ fixture: Fixture) async throws {
                try makeDirectory(merged)
                try makeDirectory(lower)
                try write("from below", to: lower + "/changed")
                try write("from below", to: lower + "/deleted")
                try await fixture.zfs("create", fixture.name("layers"))
                try makeDirectory(fixture.path("layers") + "/upper")
                try makeDirectory(fixture.path("layers") + "/work")
            }
            defer {
                for name in ["changed", "deleted"] { unlink(lower + "/" + name) }
                rmdir(lower)
                rmdir(merged)
            }
            // To copy a file up takes several steps and an fsync.
            let times = ["--quiet", "5s", "--min-interval", "50ms", "--max-delay", "40s"]
            try await withKairos(set, on: "layers", times: times, prepare) { fixture, kairos in
                let layers = fixture.path("layers")
                let layout = "lowerdir=\(lower),upperdir=\(layers)/upper,workdir=\(layers)/work"
                let mounted = mount("overlay", merged, "overlay", 0, layout)
                try #require(mounted == 0, "mount: \(Errno(rawValue: errno))")
                defer { umount2(merged, 0) }
                try await kairos.rest(in: fixture)
                let steps: [(change: () throws -> Void, name: String, holds: Entry)] = [
                    ({ try write("new", to: merged + "/created") }, "created", .file("new")),
                    // Copied up first.
                    ({ try write("changed", to: merged + "/changed") }, "changed", .file("changed")),
                    // A whiteout: a device 0:0.
                    (
                        { try call("unlinkat", .here, .text(merged + "/deleted"), 0) }, "deleted",
                        .other(S_IFCHR)
                    ),
                ]
                for step in steps {
                    // Or several: on an emulated machine the fsync in the middle of it takes longer than any quiet time.
                    let found = try await kairos.snapshots(of: ["layers"], in: fixture, after: step.change)
                    #expect(Set(found.map(\.dataset)) == [fixture.name("layers")], "\(found.map(\.fullName))")
                    let last = try #require(found.last)
                    let tree = try await SnapshotReader(fixture: fixture).tree(of: last.fullName, below: "upper")
                    #expect(tree[step.name] == step.holds, "\(tree)\n\(kairos.transcript)")
                }
            }
            CoverageReport.add(set, "changes in an overlay", "seen", "")
        }
    }
}

extension KernelSupport {
    static func isAtLeast(_ major: Int, _ minor: Int) -> Bool {
        let numbers = release.split(whereSeparator: { !$0.isNumber }).prefix(2).compactMap { Int($0) }
        return numbers.count == 2 && (numbers[0], numbers[1]) >= (major, minor)
    }
}
