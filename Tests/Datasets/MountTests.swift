import TestSupport
import Testing

@testable import Datasets

private func table(_ text: String) -> MountTable { MountTable(MountInfo(parsing: Array(text.utf8))) }

private func device(_ major: UInt32, _ minor: UInt32) throws -> DeviceNumber {
    try #require(DeviceNumber(major: major, minor: minor))
}

private func path(_ bytes: [UInt8]?) -> String? { bytes.map { String(decoding: $0, as: UTF8.self) } }

@Suite struct DeviceNumberTests {
    @Test func encodings() throws {
        let small = try device(0, 39)
        #expect(small.kernel == 39)
        #expect(small.stDevice == 39)
        let large = try device(259, 0x12345)
        #expect(large.kernel == 259 << 20 | 0x12345)
        // glibc: makedev(259, 0x12345)
        #expect(large.stDevice == 0x1231_0345)
        #expect(DeviceNumber(stDevice: 0x1231_0345) == large)
        #expect(DeviceNumber(kernel: large.kernel) == large)
        #expect(large.description == "259:74565")
    }

    @Test func outOfRange() {
        #expect(DeviceNumber(major: 4096, minor: 0) == nil)
        #expect(DeviceNumber(major: 0, minor: 1 << 20) == nil)
        #expect(DeviceNumber(stDevice: .max) == nil)
    }

    @Test func roundTrips() throws {
        var random = SplitMix64(seed: 1)
        for _ in 0..<1000 {
            let number = DeviceNumber(kernel: UInt32.random(in: 0 ... .max, using: &random))
            #expect(DeviceNumber(stDevice: number.stDevice) == number)
            #expect(DeviceNumber(kernel: number.kernel) == number)
        }
    }
}

@Suite struct MountInfoTests {
    @Test func lineOfTheManual() throws {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
        let info = MountInfo(parsing: Array(line.utf8))
        #expect(info.malformedLines == 0)
        let entry = try #require(info.entries.first)
        #expect(entry.mountID == 36)
        #expect(entry.parentID == 35)
        #expect(entry.device == (try device(98, 0)))
        #expect(entry.root == Array("/mnt1".utf8))
        #expect(entry.mountPoint == Array("/mnt2".utf8))
        #expect(entry.fsType == "ext3")
        #expect(entry.source == Array("/dev/root".utf8))
    }

    @Test func escapes() throws {
        let line = #"46 43 0:43 /a\011b /x\040y\012z\134q\043\ w rw - fuse.zfs tank/sp\040ace rw"#
        // An unescaped space ends a field: the line has one too many before the dash, which reads as options.
        let entry = try #require(MountInfo(parsing: Array(line.utf8)).entries.first)
        #expect(entry.root == Array("/a\tb".utf8))
        #expect(entry.mountPoint == Array("/x y\nz\\q#\\".utf8))
        #expect(entry.source == Array("tank/sp ace".utf8))
        // No escapes: too short, not octal, too large.
        for text in [#"\04"#, #"\0"#, #"\"#, #"\089"#, #"\777"#, #"\04x"#] {
            #expect(MountInfo.unescape(Array(text.utf8)) == Array(text.utf8))
        }
    }

    @Test func optionalFieldsAndEmptySource() {
        let text = """
            1 0 0:1 / / rw shared:1 master:2 propagate_from:3 unbindable - tmpfs  rw
            2 1 0:2 / /p rw - proc proc rw
            """
        let info = MountInfo(parsing: Array(text.utf8))
        #expect(info.malformedLines == 0)
        #expect(info.entries.map(\.source) == [[], Array("proc".utf8)])
    }

    @Test(arguments: [
        "x", "1 2 0:3 / /p rw", "1 2 0:3 / /p rw - zfs", "a 2 0:3 / /p rw - zfs s rw", "1 2 03 / /p rw - zfs s rw",
        "1 2 0:3:4 / /p rw - zfs s rw", "1 2 4096:0 / /p rw - zfs s rw", "1 2 0:-1 / /p rw - zfs s rw",
        "99999999999 2 0:3 / /p rw - zfs s rw", "1 2 0:3 / p rw - zfs s rw", "1 2 0:3  /p rw - zfs s rw",
        "1 2 0:3 / /p rw -  s rw",
    ])
    func malformed(line: String) {
        let info = MountInfo(parsing: Array(("1 0 0:1 / / rw - zfs ok rw\n" + line + "\n").utf8))
        #expect(info.entries.count == 1)
        #expect(info.malformedLines == 1)
    }

    @Test func invalidUTF8IsKept() throws {
        var line = Array("1 0 0:1 / /".utf8)
        line += [0xFF, 0xC0]
        line += Array(" rw - zfs tank rw".utf8)
        let entry = try #require(MountInfo(parsing: line).entries.first)
        #expect(entry.mountPoint == [0x2F, 0xFF, 0xC0])
        line = Array("1 0 0:1 / / rw - zfs t".utf8) + [0xFF] + Array(" rw".utf8)
        let other = MountTable(MountInfo(parsing: line))
        #expect(other.entries.count == 1)
        #expect(other.datasets.isEmpty)
    }

    @Test func fuzz() {
        var random = SplitMix64(seed: 2)
        let valid = Array("36 35 98:0 /m\\040x /mnt2 rw,noatime master:1 - fuse.zfs tank/a rw\n".utf8)
        for _ in 0..<3000 {
            let bytes = (0..<Int.random(in: 0..<60, using: &random)).map { _ in
                UInt8.random(in: 0 ... .max, using: &random)
            }
            #expect(MountInfo.unescape(MountInfo.escape(bytes)) == bytes)
            _ = MountTable(MountInfo(parsing: bytes))
            var damaged = valid + valid
            for _ in 0..<4 {
                damaged[Int.random(in: 0..<damaged.count, using: &random)] = bytes.first ?? 0x20
            }
            let info = MountInfo(parsing: damaged)
            #expect(info.entries.count + info.malformedLines <= 6)
            let table = MountTable(info)
            for entry in info.entries { _ = table.path(device: entry.device, path: bytes) }
        }
    }
}

@Suite struct MountTableTests {
    let text = #"""
        27 1 8:1 / / rw - ext4 /dev/sda1 rw
        42 27 0:39 / /tank rw - fuse.zfs tank rw,user_id=0,group_id=0,allow_other
        43 42 0:40 / /tank/a rw - zfs tank/a rw
        44 27 0:40 /sub /bind rw - zfs tank/a rw
        45 42 0:41 / /tank/sp\040ace rw - zfs tank/sp\040ace rw
        46 43 0:42 / /tank/a/.zfs/snapshot/x ro - zfs tank/a@x rw
        47 27 0:43 / /mnt rw - zfsish tank/b rw
        """#

    @Test func datasets() throws {
        let table = table(text)
        #expect(table.datasets.values.map(\.name).sorted() == ["tank", "tank/a", "tank/sp ace"])
        #expect(table.dataset(on: try device(0, 39))?.flavour == .fuse)
        #expect(table.dataset(on: try device(0, 40))?.flavour == .kernel)
        #expect(table.dataset(named: "tank/sp ace")?.device == (try device(0, 41)))
        #expect(table.mountPoints(of: "tank/a").map { path($0) } == ["/tank/a", "/bind"])
        #expect(table.mountPoints(of: "tank/b").isEmpty)
        #expect(table.entry(mountID: 44)?.root == Array("/sub".utf8))
        #expect(table.entry(mountID: 4) == nil)
    }

    @Test func paths() throws {
        let table = table(text)
        let a = try device(0, 40)
        #expect(path(table.path(device: a, path: "/sub/file".utf8)) == "/tank/a/sub/file")
        #expect(path(table.path(device: a, path: "/".utf8)) == "/tank/a")
        #expect(path(table.path(mountID: 44, path: "/sub/file".utf8)) == "/bind/file")
        #expect(path(table.path(mountID: 44, path: "/sub".utf8)) == "/bind")
        #expect(table.path(mountID: 44, path: "/subway".utf8) == nil)
        #expect(table.path(mountID: 44, path: "/other".utf8) == nil)
        #expect(table.path(device: a, path: "relative".utf8) == nil)
        #expect(table.path(device: try device(9, 9), path: "/x".utf8) == nil)
        #expect(path(table.path(device: try device(8, 1), path: "/etc".utf8)) == "/etc")
    }

    @Test func onlyABindMount() throws {
        let table = table("1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 /sub /bind rw - zfs tank/a rw\n")
        let device = try device(0, 2)
        #expect(path(table.path(device: device, path: "/sub/f".utf8)) == "/bind/f")
        #expect(table.path(device: device, path: "/f".utf8) == nil)
        #expect(table.datasets[device]?.name == "tank/a")
    }

    @Test func coveredMountsComeLast() {
        // /one is covered by a mount on itself, /two by one on a directory above it, /three by its parent's cover.
        let table = table(
            """
            1 0 0:1 / / rw - ext4 x rw
            2 1 0:2 / /one rw - zfs tank rw
            3 2 0:3 / /one rw - tmpfs t rw
            4 1 0:2 / /dir/two rw - zfs tank rw
            5 1 0:4 / /dir rw - tmpfs t rw
            6 2 0:2 / /one/three rw - zfs tank rw
            7 5 0:2 /sub /dir/seen rw - zfs tank rw
            8 3 0:2 / /one/seen rw - zfs tank rw
            """
        )
        #expect(
            table.mountPoints(of: "tank").map { path($0) } == [
                "/one/seen", "/dir/seen", "/one", "/dir/two", "/one/three",
            ])
    }

    @Test func changes() throws {
        let before = table(text)
        #expect(before.changes(from: before).isEmpty)
        let after = table(
            #"""
            27 1 8:1 / / rw - ext4 /dev/sda1 rw
            42 27 0:39 / /pool rw - fuse.zfs tank rw,user_id=0,group_id=0
            43 42 0:40 / /tank/a rw - zfs tank/renamed rw
            48 42 0:50 / /tank/c rw - zfs tank/c rw
            """#
        )
        let changes = after.changes(from: before)
        #expect(changes.appeared.map(\.name) == ["tank/renamed", "tank/c"])
        #expect(changes.vanished.map(\.name) == ["tank/a", "tank/sp ace"])
        #expect(changes.moved.map { path($0.new.mountPoints.first) } == ["/pool"])
        #expect(changes.moved.map { path($0.old.mountPoints.first) } == ["/tank"])
    }

    @Test func readsTheRealOne() throws {
        let table = try MountTable.read()
        #expect(!table.entries.isEmpty)
        #expect(table.malformedLines == 0)
        #expect(throws: MountTableError.self) { try MountTable.read(from: "/nonexistent/mountinfo") }
        do {
            _ = try MountTable.read(from: "/non\u{1B}existent")
        } catch {
            #expect(error.operation == "open")
            #expect(error.description.contains(#"/non\u{1B}existent"#))
        }
    }
}
