import CBPFObjects
import Datasets
import Testing

@testable import Trace
@testable import Tracing

/// The bytes of a record as the programs send them, on the mounts below.
private struct RecordBytes {
    var fixed = kairos_record()
    var name: String?
    /// As the programs walk it: `b\0a\0` for /a/b.
    var path = ""
    var newName: String?
    var newPath = ""

    init(_ op: kairos_op, _ kind: kairos_record_kind = KAIROS_RECORD_CHANGE, mount: UInt32 = 20, device: UInt32 = root)
    {
        fixed.kind = kind.rawValue
        fixed.op = op.rawValue
        fixed.slot = KAIROS_NO_SLOT
        fixed.syscall = KAIROS_NO_SYSCALL
        fixed.offset = Int64(KAIROS_NO_OFFSET)
        (fixed.mount, fixed.device, fixed.inode) = (mount, device, 42)
        (fixed.mount2, fixed.device2) = (mount, device)
    }

    func record() throws -> Record {
        var fixed = fixed
        let parts = [
            name.map { ascii($0 + "\0") } ?? [], ascii(path), newName.map { ascii($0 + "\0") } ?? [], ascii(newPath),
        ]
        let lengths = parts.map { UInt16($0.count) }
        (fixed.name_len, fixed.path_len, fixed.name2_len, fixed.path2_len) = (
            lengths[0], lengths[1], lengths[2], lengths[3]
        )
        let bytes = withUnsafeBytes(of: fixed) { Array($0) } + parts.joined()
        let record = Record(bytes.span.bytes)
        return try #require(record)
    }
}

private let root: UInt32 = 8 << 20 | 1
private let home: UInt32 = 50
private let fuse: UInt32 = 51
private let shared: UInt32 = 52

/// / of ext4 (20); /home (30) and /home/sub (33) of datasets; /mnt/bind (31) shows /data/dir of the root; /tmp (32) is tmpfs.
private let mounts: MountTable = {
    func entry(_ id: Int32, _ device: UInt32, _ root: String, _ point: String, _ type: String, _ source: String)
        -> MountEntry
    {
        MountEntry(
            mountID: id, parentID: id == 20 ? 1 : 20, device: DeviceNumber(kernel: device), root: ascii(root),
            mountPoint: ascii(point), fsType: type, source: ascii(source), fuseUser: 0)
    }
    return MountTable(entries: [
        entry(20, root, "/", "/", "ext4", "/dev/sda1"), entry(30, home, "/", "/home", "zfs", "tank/home"),
        entry(31, root, "/data/dir", "/mnt/bind", "ext4", "/dev/sda1"),
        entry(32, shared, "/", "/tmp", "tmpfs", "tmpfs"),
        entry(33, fuse, "/", "/home/sub", "fuse.zfs", "tank/home/sub"),
        entry(34, root, "/file", "/etc/file", "ext4", "/dev/sda1"),
    ])
}()

@Suite("An event of a record")
struct PlacesTests {
    private func event(_ bytes: RecordBytes) throws -> TraceEvent { try events([bytes])[0] }

    private func events(_ all: [RecordBytes]) throws -> [TraceEvent] {
        var places = TracePlaces(mounts)
        return try all.map { TraceEvent(try $0.record(), &places, clock: 1000) }
    }

    private func path(_ event: TraceEvent) -> String? { event.path.map(text) }

    @Test("each field of a write")
    func write() throws {
        var bytes = RecordBytes(KAIROS_OP_WRITE)
        bytes.path = "c\0b\0a\0"
        (bytes.fixed.time_ns, bytes.fixed.pid, bytes.fixed.tid, bytes.fixed.ppid, bytes.fixed.uid) = (
            99, 12, 13, 14, 15
        )
        (bytes.fixed.result, bytes.fixed.offset, bytes.fixed.bytes, bytes.fixed.generation) = (512, 1024, 512, 7)
        (bytes.fixed.probe, bytes.fixed.syscall) = (KAIROS_PROBE_WRITE.rawValue, 1)
        withUnsafeMutableBytes(of: &bytes.fixed.comm) { $0.copyBytes(from: ascii("vim")) }
        let event = try event(bytes)
        #expect((event.time, event.wall) == (99, 1099))
        #expect((event.pid, event.thread, event.parent, event.user) == (12, 13, 14, 15))
        #expect(event.operation == .write)
        #expect(event.flags == .call)
        #expect(event.command.bytes == ascii("vim"))
        #expect("\(event.device)" == "8:1")
        #expect((event.inode, event.generation) == (42, 7))
        #expect(event.place == TracePlace(name: ascii("ext4"), isDataset: false))
        #expect(path(event) == "/a/b/c")
        #expect(event.oldPath == nil)
        #expect((event.bytes, event.offset, event.result) == (512, 1024, 512))
        #expect(event.epoch == nil)
        #expect("\(Probe.names[Int(event.probe.rawValue)])" == "vfs_write")
    }

    @Test(
        "flags",
        arguments: [
            (KAIROS_F_TRUNCATED, .truncated), (KAIROS_F_FAULT, .unreadable), (KAIROS_F_DIRECTORY, .directory),
            (KAIROS_F_UNLINKED, .unlinked), (KAIROS_F_EARLY, .early), (KAIROS_F_BELOW, TraceFlags()),
            (KAIROS_F_WHOLE, TraceFlags()),
        ] as [(kairos_record_flag, TraceFlags)])
    func flags(flag: kairos_record_flag, wanted: TraceFlags) throws {
        var bytes = RecordBytes(KAIROS_OP_ATTR)
        bytes.fixed.flags = flag.rawValue
        #expect(try event(bytes).flags == wanted)
    }

    @Test("bytes and offsets only where they mean something, and nothing where they are not known")
    func sizes() throws {
        for (operation, hasBytes, hasOffset) in [
            (KAIROS_OP_WRITE, true, true), (KAIROS_OP_MAP, true, true), (KAIROS_OP_TRUNCATE, false, true),
            (KAIROS_OP_CREATE, false, false), (KAIROS_OP_SYNC, false, false),
        ] {
            var bytes = RecordBytes(operation)
            (bytes.fixed.bytes, bytes.fixed.offset) = (512, 0)
            let known = try event(bytes)
            #expect((known.bytes != nil) == hasBytes && (known.offset != nil) == hasOffset, "\(operation)")
            (bytes.fixed.bytes, bytes.fixed.offset) = (0, Int64(KAIROS_NO_OFFSET))
            let unknown = try event(bytes)
            #expect(unknown.bytes == nil && unknown.offset == nil, "\(operation)")
        }
        var failed = RecordBytes(KAIROS_OP_WRITE)
        failed.fixed.result = -28
        #expect(try event(failed).bytes == 0)
        #expect(try event(failed).errno == 28)
    }

    /// Mount, device, path as walked, path and place as shown.
    @Test(
        "a file's path by the mount that it was reached by, else by one of its device",
        arguments: [
            (20, root, "b\0a\0", "/a/b", "ext4"), (20, root, "", "/", "ext4"),
            (30, home, "b\0a\0", "/home/a/b", "tank/home"),
            (30, home, "", "/home", "tank/home"), (33, fuse, "x\0", "/home/sub/x", "tank/home/sub"),
            (31, root, "x\0dir\0data\0", "/mnt/bind/x", "ext4"), (31, root, "dir\0data\0", "/mnt/bind", "ext4"),
            (31, root, "x\0dirt\0data\0", "/data/dirt/x", "ext4"), (34, root, "file\0", "/etc/file", "ext4"),
            (0, home, "x\0", "/home/x", "tank/home"), (99, shared, "x\0", "/tmp/x", "tmpfs"),
        ] as [(UInt32, UInt32, String, String, String)])
    func files(mount: UInt32, device: UInt32, walked: String, wanted: String, place: String) throws {
        var bytes = RecordBytes(KAIROS_OP_ATTR, mount: mount, device: device)
        bytes.path = walked
        let event = try event(bytes)
        #expect(path(event) == wanted)
        #expect(text(event.place.name) == place)
        #expect(event.place.isDataset == (device == home || device == fuse))
    }

    /// Mount, device, start as walked, the name given, the path shown.
    @Test(
        "a given name from where it starts",
        arguments: [
            (20, root, "a\0", "x", "/a/x"), (20, root, "", "x", "/x"), (30, home, "", "x", "/home/x"),
            (30, home, "a\0", "./x", "/home/a/x"), (30, home, "a\0", "../x", "/home/x"),
            (30, home, "a\0", "../../x", "/x"), (30, home, "a\0", "../../../../x", "/x"), (20, root, "a\0", "..", "/"),
            (20, root, "a\0", ".", "/a"), (20, root, "a\0", "b//c/", "/a/b/c"), (20, root, "a\0", "b/./../c", "/a/c"),
            (20, root, "a\0", ".hidden", "/a/.hidden"), (20, root, "a\0", "...", "/a/..."),
            (20, root, "a\0", "..b/.c.", "/a/..b/.c."), (20, root, "a\0", "", "/a"), (30, home, "", "", "/home"),
            (20, root, "", "", "/"), (31, root, "dir\0data\0", "x", "/mnt/bind/x"),
            (31, root, "sub\0dir\0data\0", "../x", "/mnt/bind/x"), (31, root, "else\0", "x", "/else/x"),
            (99, shared, "d\0", "x", "/tmp/d/x"),
        ] as [(UInt32, UInt32, String, String, String)])
    func given(mount: UInt32, device: UInt32, start: String, name: String, wanted: String) throws {
        var bytes = RecordBytes(KAIROS_OP_MKDIR, mount: mount, device: device)
        (bytes.name, bytes.path) = (name, start)
        let event = try event(bytes)
        #expect(path(event) == wanted)
        #expect(event.flags == .given)
        // The inode is the start's, which was not changed.
        #expect((event.inode, event.generation) == (nil, nil))
    }

    @Test("of what is not mounted here no path is told: one of the same letters is another file")
    func elsewhere() throws {
        var walked = RecordBytes(KAIROS_OP_WRITE, mount: 99, device: 77)
        walked.path = "passwd\0etc\0"
        #expect(try event(walked).path == nil)
        #expect(text(try event(walked).place.name) == "0:77")
        var given = RecordBytes(KAIROS_OP_MKDIR, mount: 99, device: 77)
        (given.name, given.path) = ("x", "d\0")
        #expect(try event(given).path == nil)
    }

    @Test("no name leads above the root of a process in a chroot")
    func otherRoot() throws {
        var bytes = RecordBytes(KAIROS_OP_UNLINK, KAIROS_RECORD_CANDIDATE)
        (bytes.name, bytes.path) = ("/../../etc/shadow", "jail\0")
        bytes.fixed.flags = KAIROS_F_ABSOLUTE.rawValue | KAIROS_F_OTHER_ROOT.rawValue
        #expect(path(try event(bytes)) == "/jail/etc/shadow")
        // Where it is, a relative one does not tell.
        (bytes.name, bytes.fixed.flags) = ("../x", KAIROS_F_OTHER_ROOT.rawValue)
        #expect(try event(bytes).path == nil)
        bytes.name = "./x"
        #expect(path(try event(bytes)) == "/jail/x")
    }

    @Test(
        "an absolute name starts at the process's root",
        arguments: [
            ("", "/etc/x", "/etc/x"), ("", "//etc//x/", "/etc/x"), ("jail\0", "/etc/../x", "/jail/x"), ("", "/", "/"),
        ])
    func absolute(start: String, name: String, wanted: String) throws {
        var bytes = RecordBytes(KAIROS_OP_UNLINK, KAIROS_RECORD_CANDIDATE)
        (bytes.name, bytes.path) = (name, start)
        bytes.fixed.flags = KAIROS_F_ABSOLUTE.rawValue
        #expect(path(try event(bytes)) == wanted)
    }

    private func absolute(_ name: String) -> RecordBytes {
        var bytes = RecordBytes(KAIROS_OP_ATTR, KAIROS_RECORD_CANDIDATE)
        bytes.name = name
        bytes.fixed.flags = KAIROS_F_ABSOLUTE.rawValue
        return bytes
    }

    @Test("which file system a longer name leads to, by the mounts; whichever was asked for before")
    func devices() throws {
        let names = [
            "/x": "ext4", "/home": "tank/home", "/home/x": "tank/home", "/home/sub": "tank/home/sub",
            "/home/sub/x": "tank/home/sub", "/homely": "ext4", "/tmp/x": "tmpfs", "/mnt/bind": "ext4", "/": "ext4",
        ]
        // Each after each: what is remembered of one must not serve another.
        for first in names.keys {
            for second in names.keys {
                let events = try events([absolute(first), absolute(second), absolute(first)])
                #expect(
                    events.map { text($0.place.name) } == [first, second, first].map { names[$0] },
                    "\(first) and \(second)")
            }
        }
    }

    @Test("a rename of a known file: where it was, and where it is")
    func rename() throws {
        var bytes = RecordBytes(KAIROS_OP_RENAME, mount: 30, device: home)
        (bytes.path, bytes.newPath) = ("old\0d\0", "new\0")
        let event = try event(bytes)
        #expect(path(event) == "/home/new")
        #expect(event.oldPath.map(text) == "/home/d/old")
        #expect(event.inode == 42)
        #expect(event.flags == [])
    }

    @Test("a rename by names, each from its own start")
    func renameByNames() throws {
        var bytes = RecordBytes(KAIROS_OP_RENAME, KAIROS_RECORD_CANDIDATE)
        (bytes.name, bytes.path, bytes.newName, bytes.newPath) = ("../a/old", "d\0", "/home/./new", "")
        bytes.fixed.flags = KAIROS_F_ABSOLUTE2.rawValue
        let event = try event(bytes)
        #expect(path(event) == "/home/new")
        #expect(event.oldPath.map(text) == "/a/old")
        #expect(event.place == TracePlace(name: ascii("tank/home"), isDataset: true))
        #expect("\(event.device)" == "0:50")
        #expect(event.flags == .given)
        (bytes.fixed.mount2, bytes.fixed.device2, bytes.fixed.flags, bytes.newName) = (32, shared, 0, "new")
        #expect(path(try self.event(bytes)) == "/tmp/new")
    }

    @Test("a path that lost its beginning is what is left of it, and joined to nothing")
    func truncated() throws {
        var bytes = RecordBytes(KAIROS_OP_RENAME, mount: 30, device: home)
        bytes.fixed.flags = KAIROS_F_TRUNCATED.rawValue
        (bytes.path, bytes.newPath) = ("c\0b\0", "d\0b\0")
        var event = try event(bytes)
        #expect(path(event) == "b/d")
        #expect(event.oldPath.map(text) == "b/c")
        #expect(event.flags == .truncated)
        (bytes.name, bytes.newName) = ("../x", "./y")
        event = try self.event(bytes)
        #expect(path(event) == "b/d/y")
        #expect(event.oldPath.map(text) == "b/x")
        #expect(event.flags == [.truncated, .given])
        // An absolute name needs nothing of its start.
        (bytes.newName, bytes.newPath) = ("/y", "")
        bytes.fixed.flags |= KAIROS_F_ABSOLUTE2.rawValue
        (bytes.fixed.mount2, bytes.fixed.device2) = (20, root)
        #expect(path(try self.event(bytes)) == "/y")
    }

    @Test("nothing of a path is no path")
    func noPath() throws {
        var bytes = RecordBytes(KAIROS_OP_ATTR)
        bytes.fixed.flags = KAIROS_F_TRUNCATED.rawValue
        #expect(path(try event(bytes)) == nil)
        bytes.fixed.flags = KAIROS_F_FAULT.rawValue
        bytes.fixed.inode = 0
        let event = try event(bytes)
        #expect(path(event) == nil)
        #expect((event.inode, event.generation) == (nil, nil))
        #expect(event.flags == .unreadable)
    }
}
