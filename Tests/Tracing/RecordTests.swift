import CBPFObjects
import Datasets
import TestSupport
import Testing

@testable import Tracing

/// The bytes of a record as the programs send them.
private struct RecordBytes {
    var fixed = kairos_record()
    var name: [UInt8] = []
    var path: [UInt8] = []
    var newName: [UInt8] = []
    var newPath: [UInt8] = []

    init(_ kind: kairos_record_kind, _ op: kairos_op) {
        fixed.kind = kind.rawValue
        fixed.op = op.rawValue
        fixed.slot = KAIROS_NO_SLOT
        fixed.syscall = KAIROS_NO_SYSCALL
    }

    /// With the lengths of its parts, unless others are claimed.
    func bytes(claiming claim: (inout kairos_record) -> Void = { _ in }) -> [UInt8] {
        var fixed = fixed
        fixed.name_len = UInt16(name.count)
        fixed.path_len = UInt16(path.count)
        fixed.name2_len = UInt16(newName.count)
        fixed.path2_len = UInt16(newPath.count)
        claim(&fixed)
        return withUnsafeBytes(of: fixed) { Array($0) } + name + path + newName + newPath
    }
}

private func decode(_ bytes: [UInt8]) -> Record? { Record(bytes.span.bytes) }

private func ascii(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite("A record of the ring is decoded")
struct RecordTests {
    private var rename: RecordBytes {
        var bytes = RecordBytes(KAIROS_RECORD_CHANGE, KAIROS_OP_RENAME)
        bytes.name = ascii("old\0")
        bytes.path = ascii("b\0a\0")
        bytes.newName = ascii("/x/new\0")
        bytes.newPath = ascii("top\0")
        return bytes
    }

    @Test("a write to a file")
    func write() throws {
        var bytes = RecordBytes(KAIROS_RECORD_CHANGE, KAIROS_OP_WRITE)
        bytes.fixed.slot = 7
        bytes.fixed.epoch = 3
        bytes.fixed.time_ns = 99
        bytes.fixed.pid = 12
        bytes.fixed.tid = 13
        bytes.fixed.uid = 1000
        bytes.fixed.result = 4096
        bytes.fixed.syscall = 1
        bytes.fixed.device = 8 << 20 | 1
        bytes.fixed.inode = 42
        bytes.fixed.flags = KAIROS_F_DIRTIED.rawValue
        withUnsafeMutableBytes(of: &bytes.fixed.comm) { $0.copyBytes(from: ascii("vim")) }
        bytes.path = ascii("c\0b\0a\0")
        let record = try #require(decode(bytes.bytes()))
        #expect(record.kind == .change)
        #expect(record.operation == .write)
        #expect(record.slot == 7)
        #expect(record.epoch == 3)
        #expect(record.time == 99)
        #expect(record.process.pid == 12)
        #expect(record.process.thread == 13)
        #expect(record.process.user == 1000)
        #expect(record.process.command == ascii("vim"))
        #expect(record.result == 4096)
        #expect(record.systemCall == 1)
        #expect(record.device.description == "8:1")
        #expect(record.inode == 42)
        #expect(record.path == ascii("/a/b/c"))
        #expect(record.name == nil)
        #expect(record.newName == nil)
        #expect(record.dirtied)
        #expect(!record.isTruncated)
        #expect(!record.hasFault)
    }

    @Test("both names of a rename, each with where it starts")
    func twoNames() throws {
        var bytes = rename
        bytes.fixed.flags = KAIROS_F_ABSOLUTE2.rawValue
        bytes.fixed.inode = 2
        bytes.fixed.inode2 = 3
        bytes.fixed.device2 = 9
        bytes.fixed.mount2 = 31
        let record = try #require(decode(bytes.bytes()))
        #expect(record.path == nil)
        #expect(record.name?.text == ascii("old"))
        #expect(record.name?.start == ascii("/a/b"))
        #expect(record.name?.startInode == 2)
        #expect(record.name?.isAbsolute == false)
        #expect(record.name?.pathInSuperblock == ascii("/a/b/old"))
        #expect(record.newName?.text == ascii("/x/new"))
        #expect(record.newName?.start == ascii("/top"))
        #expect(record.newName?.startInode == 3)
        #expect(record.newName?.startDevice.kernel == 9)
        #expect(record.newName?.startMount == 31)
        #expect(record.newName?.isAbsolute == true)
        #expect(record.newName?.pathInSuperblock == nil)
    }

    @Test("no slot, no system call, no path")
    func absences() throws {
        let record = try #require(decode(RecordBytes(KAIROS_RECORD_ZFS_COMMAND, KAIROS_OP_CREATE).bytes()))
        #expect(record.kind == .zfsCommand)
        #expect(record.slot == nil)
        #expect(record.systemCall == nil)
        #expect(record.path == nil)
        #expect(record.process.command == [])
    }

    @Test("a comm that fills its field, and one of hostile bytes")
    func commands() throws {
        for command in [Array(repeating: UInt8(ascii: "x"), count: 16), [0x1B, 0xFF, 0x0A]] {
            var bytes = RecordBytes(KAIROS_RECORD_CHANGE, KAIROS_OP_WRITE)
            withUnsafeMutableBytes(of: &bytes.fixed.comm) { $0.copyBytes(from: command) }
            #expect(decode(bytes.bytes())?.process.command == command)
        }
    }

    @Test("an empty name differs from none")
    func emptyName() throws {
        var bytes = RecordBytes(KAIROS_RECORD_CHANGE, KAIROS_OP_ATTR)
        bytes.name = [0]
        bytes.path = ascii("file\0dir\0")
        let record = try #require(decode(bytes.bytes()))
        #expect(record.name?.text == [])
        #expect(record.name?.pathInSuperblock == ascii("/dir/file"))
    }

    @Test(
        "names that are one component, and others",
        arguments: [
            ("one", "/d/one"), ("one/", "/d/one"), ("one//", "/d/one"), ("a/b", nil), ("./a", nil), ("/", nil),
        ] as [(String, String?)])
    func component(name: String, path: String?) throws {
        var bytes = RecordBytes(KAIROS_RECORD_CANDIDATE, KAIROS_OP_MKDIR)
        bytes.name = ascii(name + "\0")
        bytes.path = ascii("d\0")
        #expect(decode(bytes.bytes())?.name?.pathInSuperblock == path.map(ascii))
    }

    @Test("bytes that end too early are no record, wherever they end")
    func cutShort() {
        let bytes = rename.bytes()
        for count in 0..<bytes.count { #expect(decode(Array(bytes[..<count])) == nil, "\(count) bytes") }
        #expect(decode(bytes) != nil)
        // The ring rounds up to eight bytes: what follows means nothing.
        #expect(decode(bytes + [1, 2, 3]) == decode(bytes))
    }

    @Test("lengths that promise more than there is are no record")
    func hostileLengths() {
        let largest = UInt16.max
        #expect(decode(rename.bytes { $0.name_len = largest }) == nil)
        #expect(decode(rename.bytes { $0.path_len = largest }) == nil)
        #expect(decode(rename.bytes { $0.name2_len = largest }) == nil)
        #expect(decode(rename.bytes { $0.path2_len += 1 }) == nil)
        let all = rename.bytes {
            $0.name_len = largest
            $0.path_len = largest
            $0.name2_len = largest
            $0.path2_len = largest
        }
        #expect(decode(all) == nil)
        // Of all lengths the most: what the sum promises is there.
        #expect(decode(all + Array(repeating: 0, count: 4 * Int(largest))) != nil)
    }

    @Test("lengths that cut strings at other places than their NULs do no harm")
    func shiftedLengths() throws {
        let bytes = rename.bytes {
            $0.name_len = 1
            $0.path_len += 3
        }
        let record = try #require(decode(bytes))
        #expect(record.name?.text == [])
        #expect(record.name?.start == ascii("/a/b/ld"))
    }

    @Test("a walked path without its last NUL is whole all the same")
    func unterminated() throws {
        var bytes = RecordBytes(KAIROS_RECORD_CHANGE, KAIROS_OP_WRITE)
        bytes.path = ascii("c\0b\0a")
        #expect(decode(bytes.bytes())?.path == ascii("/a/b/c"))
    }

    @Test("a kind that is none is no record")
    func unknownKind() {
        for kind: UInt32 in [0, 5, .max] { #expect(decode(rename.bytes { $0.kind = kind }) == nil) }
    }

    @Test("random bytes never trap", arguments: TestSeeds.of(1, 2, 3))
    func randomBytes(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        for _ in 0..<4_000 {
            var bytes = (0..<Int.random(in: 0...512, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            // Most lengths small, or next to none would fit.
            if bytes.count >= 4, Bool.random(using: &generator) {
                bytes[0...3] = [UInt8.random(in: 1...3, using: &generator), 0, 0, 0]
            }
            for field in 0..<4
            where bytes.count >= MemoryLayout<kairos_record>.size && Bool.random(using: &generator) {
                let offset = (MemoryLayout<kairos_record>.offset(of: \.name_len) ?? 0) + 2 * field
                bytes[offset + 1] = 0
            }
            _ = decode(bytes)?.name?.pathInSuperblock
        }
    }
}
