import CBPFObjects
import Testing

@testable import Tracing

@Suite("Repeats in a trace")
struct RecordDecoderTests {
    private func full(_ serial: UInt32, cpu: UInt32 = 0, inode: UInt64 = 42) -> [UInt8] {
        var fixed = kairos_record()
        fixed.kind = KAIROS_RECORD_CHANGE.rawValue
        fixed.op = KAIROS_OP_CREATE.rawValue
        fixed.slot = KAIROS_NO_SLOT
        fixed.syscall = 257
        fixed.pid = 7
        fixed.inode = inode
        fixed.result = 3
        fixed.time_ns = 100
        fixed.offset = KAIROS_NO_OFFSET
        fixed.cpu = cpu
        fixed.serial = serial
        fixed.flags = KAIROS_F_BELOW.rawValue
        let path = Array("file\0dir\0".utf8)
        fixed.path_len = UInt16(path.count)
        return withUnsafeBytes(of: fixed) { Array($0) } + path
    }

    private func again(_ serial: UInt32, cpu: UInt32 = 0) -> [UInt8] {
        var fixed = kairos_repeat()
        fixed.kind = KAIROS_RECORD_REPEAT.rawValue
        fixed.op = KAIROS_OP_WRITE.rawValue
        fixed.time_ns = 200
        fixed.result = 512
        fixed.offset = 1024
        fixed.bytes = 512
        fixed.cpu = cpu
        fixed.serial = serial
        fixed.syscall = 1
        fixed.flags = KAIROS_F_UNLINKED.rawValue
        return withUnsafeBytes(of: fixed) { Array($0) }
    }

    @Test("who and where are those of the record before, what is its own")
    func merged() throws {
        var decoder = RecordDecoder()
        let first = decoder.take(full(1))
        let second = decoder.take(again(1))
        let third = decoder.take(again(1))
        let record = try #require(second)
        var wanted = try #require(first)
        wanted.operation = .write
        (wanted.time, wanted.begun) = (200, 200)
        (wanted.result, wanted.offset, wanted.bytes, wanted.systemCall) = (512, 1024, 512, 1)
        wanted.isUnlinked = true
        #expect(record == wanted)
        #expect(record.path == Array("/dir/file".utf8) && record.isBelow && record.kind == .change)
        // And once more: it is told against the full one, not against the last.
        #expect(third == wanted)
        #expect(decoder.orphans == 0)
    }

    @Test("each CPU has its own")
    func processors() throws {
        var decoder = RecordDecoder()
        _ = decoder.take(full(5, cpu: 0, inode: 1))
        _ = decoder.take(full(9, cpu: 3, inode: 2))
        let here = decoder.take(again(5, cpu: 0))
        #expect(here?.inode == 1)
        let there = decoder.take(again(9, cpu: 3))
        #expect(there?.inode == 2)
    }

    @Test("a repeat of what never came is counted, and taken for nothing else")
    func orphans() {
        var decoder = RecordDecoder()
        let none = decoder.take(again(1))
        #expect(none == nil)
        _ = decoder.take(full(2))
        let older = decoder.take(again(1))
        #expect(older == nil)
        let elsewhere = decoder.take(again(2, cpu: 1))
        #expect(elsewhere == nil)
        // One without a serial is never referred to, and replaces nothing.
        _ = decoder.take(full(0, inode: 77))
        let referred = decoder.take(again(2))
        #expect(referred?.inode == 42)
        #expect(decoder.orphans == 3)
    }

    @Test("bytes that end too early are no record")
    func cutShort() {
        for bytes in [full(1), again(1)] {
            var decoder = RecordDecoder()
            for count in 0..<bytes.count {
                let record = decoder.take(Array(bytes[..<count]))
                #expect(record == nil, "\(count)")
            }
        }
    }
}

extension RecordDecoder {
    fileprivate mutating func take(_ bytes: [UInt8]) -> Record? { decode(bytes.span.bytes) }
}
