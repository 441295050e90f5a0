import CLinux
import Glibc
import SystemPackage
import TestSupport
import Testing
import Tracing

@testable import Trace

/// A file of these bytes that goes away with its last reference.
final class TemporaryFile: Sendable {
    let path: String

    init(_ bytes: [UInt8]) throws {
        var template = Array("/tmp/kairos-recording-XXXXXX\0".utf8CString)
        let file = mkstemp(&template)
        try #require(file >= 0)
        path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { close(file) }
        try #require(bytes.isEmpty || Glibc.write(file, bytes, bytes.count) == bytes.count)
    }

    deinit { unlink(path) }
}

/// What a reader makes of a recording.
struct Reading: Equatable {
    var blocks: [[TraceEvent]] = []
    var lost: [UInt64] = []
    var damages: [RecordingReader.Damage] = []

    init(_ bytes: [UInt8]) throws {
        let file = try TemporaryFile(bytes)
        var reader = try RecordingReader(file.path)
        while let step = try reader.next() {
            switch step {
            case .events(let events, let lost):
                blocks.append(events)
                self.lost.append(lost)
            case .damage(let damage): damages.append(damage)
            }
        }
    }
}

/// A recording of random events, block by block.
struct SampleRecording {
    var events: [[TraceEvent]] = []
    var blocks: [[UInt8]] = []
    var bytes: [UInt8] { RecordingWriter.header() + blocks.joined() }

    init(_ sizes: [Int], seed: UInt64 = 7) throws {
        var (random, writer) = (SplitMix64(seed: seed), RecordingWriter())
        for (index, size) in sizes.enumerated() {
            var some: [TraceEvent] = []
            for _ in 0..<size {
                some.append(random.event())
                let block = writer.add(some[some.count - 1])
                try #require(block == nil)
            }
            writer.note(lost: UInt64(10 * (index + 1)))
            events.append(some)
            let block = writer.flush()
            blocks.append(try #require(block))
        }
    }

    /// Where a block begins.
    func start(of block: Int) -> Int { RecordingFormat.headerBytes + blocks[..<block].joined().count }
}

@Suite("Recordings")
struct RecordingTests {
    @Test("the header, byte by byte")
    func header() {
        #expect(RecordingWriter.header() == ascii("KAIROSTR") + [1, 0, 0, 0, 0, 0, 0, 0])
    }

    /// docs/recording.md shows this block.
    @Test("a block, byte by byte")
    func block() throws {
        var writer = RecordingWriter()
        let event = TraceEvent.sample {
            ($0.time, $0.wall) = (1000, 3000)
            ($0.path, $0.place.name, $0.command) = (ascii("/a"), ascii("ext4"), CommandName(ascii("sh")))
        }
        #expect(writer.add(event) == nil)
        #expect(writer.add(event) == nil)
        writer.note(lost: 3)
        let first: [UInt8] = [
            0xD0, 0x0F, 0xA0, 0x1F,  // 1000 ns on, the wall clock 2000 ns more: zigzag
            0x1B, 1, 0x40,  // inode, path, bytes and offset; write; by a call
            0xE7, 0x24, 0xE8, 0x24, 1, 0xE8, 0x07,  // pid 4711, thread 4712, parent 1, user 1000
            0x81, 0x80, 0x80, 0x04, 5,  // 8:1, vfs_write
            0, 2, 0x73, 0x68, 0, 4, 0x65, 0x78, 0x74, 0x34,  // sh, ext4
            42, 7, 0, 2, 0x2F, 0x61,  // inode, generation, /a
            0x80, 0x04, 0x80, 0x10, 0x80, 0x08,  // 512 bytes at 1024, which came back as 512
        ]
        let second: [UInt8] =
            [0, 0] + first[4..<19] + [1, 2, 42, 7, 3] + first[35...]
        let body = first + second
        let checked: [UInt8] = [UInt8(body.count), 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0] + body
        let sum = kairos_crc32(checked, checked.count)
        #expect(sum == 0x1A0E_F0D7)
        let wanted = ascii("KLBK") + (0..<4).map { UInt8(truncatingIfNeeded: sum >> (8 * $0)) } + checked
        #expect(writer.flush() == wanted)
        #expect(writer.flush() == nil)
    }

    /// Another order would give old recordings another meaning.
    @Test("the numbers of operations and probes stay")
    func numbers() {
        #expect(
            Operations.named.map(\.name) == [
                "create", "write", "truncate", "store", "mkdir", "unlink", "rmdir", "rename", "link", "attr", "map",
                "close", "sync",
            ])
        #expect(Operations.named.enumerated().allSatisfy { $0.element.operation.rawValue == 1 << UInt32($0.offset) })
        #expect(
            Probe.names.map { "\($0)" } == [
                "sys_exit", "writeback_dirty_folio", "sched_process_exit", "io_uring_complete", "sys_enter",
                "vfs_write",
                "vfs_writev", "vfs_iter_write", "vfs_iocb_iter_write", "__kernel_write_iter", "generic_write_checks",
                "iter_file_splice_write", "io_write", "aio_complete_rw", "vfs_copy_file_range", "vfs_clone_file_range",
                "vfs_fallocate", "notify_change", "do_filp_open", "vfs_create", "vfs_mkdir", "vfs_mknod", "vfs_symlink",
                "vfs_link", "vfs_unlink", "vfs_rmdir", "vfs_rename", "vfs_setxattr", "vfs_set_acl", "vfs_fileattr_set",
                "sys_ioctl", "__fput", "vfs_fsync_range", "vm_mmap_pgoff", "", "", "io_uring_submit_req",
            ])
    }

    @Test("the checksum is that of zlib")
    func checksum() { #expect(kairos_crc32(ascii("123456789"), 9) == 0xCBF4_3926) }

    @Test("random events come back exactly", arguments: seeds)
    func roundTrip(seed: UInt64) throws {
        var (random, writer) = (SplitMix64(seed: seed), RecordingWriter())
        var (bytes, events) = (RecordingWriter.header(), [TraceEvent]())
        // More than a block takes by its number of events, and by its bytes.
        for _ in 0..<6_000 {
            let event = random.event()
            events.append(event)
            if let block = writer.add(event) { bytes += block }
        }
        writer.note(lost: 5)
        bytes += writer.flush() ?? []
        let reading = try Reading(bytes)
        #expect(reading.blocks.joined().elementsEqual(events), "seed \(hex(seed))")
        #expect(reading.blocks.count > 1)
        #expect(reading.blocks.allSatisfy { $0.count <= RecordingFormat.blockEvents })
        #expect(reading.lost.reduce(0, +) == 5)
        #expect(reading.damages == [])
    }

    @Test("a block is given out when it is full, or old; one with lost records alone at the end")
    func flushing() {
        var writer = RecordingWriter()
        for index in 1..<RecordingFormat.blockEvents { #expect(writer.add(.sample()) == nil, "\(index)") }
        #expect(writer.add(.sample()) != nil)
        #expect(writer.add(.sample { $0.time = 1000 }) == nil)
        #expect(writer.flush(olderThan: 1000) == nil)
        #expect(writer.flush(olderThan: 1001) != nil)
        #expect(writer.flush(olderThan: 2000) == nil)
        writer.note(lost: 1)
        #expect(writer.flush(olderThan: 2000) == nil)
        #expect(writer.flush() != nil)
        #expect(writer.flush() == nil)
    }

    @Test("what was lost is told by block, and once")
    func lost() throws {
        let reading = try Reading(try SampleRecording([1, 2, 3]).bytes)
        #expect(reading.blocks.map(\.count) == [1, 2, 3])
        #expect(reading.lost == [10, 10, 10])
    }
}

@Suite("Recordings that are damaged, or are none")
struct DamagedRecordingTests {
    private let sample: SampleRecording

    init() throws { sample = try SampleRecording([2, 1, 3, 1]) }

    private func failure(_ path: String) -> RecordingReader.Failure? {
        do throws(RecordingReader.Failure) { _ = try RecordingReader(path) } catch { return error }
        return nil
    }

    private func failure(_ bytes: [UInt8]) throws -> RecordingReader.Failure? {
        let file = try TemporaryFile(bytes)
        return failure(file.path)
    }

    private func isNoRecording(_ bytes: [UInt8]) throws -> Bool {
        if case .notARecording = try failure(bytes) { true } else { false }
    }

    @Test("cut anywhere, what is whole is read, and where it ends is said")
    func cut() throws {
        let (bytes, starts) = (sample.bytes, (0...sample.blocks.count).map(sample.start(of:)))
        for count in 0..<bytes.count {
            let part = Array(bytes[..<count])
            guard count >= RecordingFormat.headerBytes else {
                #expect(try isNoRecording(part), "\(count) bytes")
                continue
            }
            let whole = starts.lastIndex { $0 <= count } ?? 0
            let reading = try Reading(part)
            #expect(reading.blocks == Array(sample.events[..<whole]), "\(count) bytes")
            // Between two blocks nothing is missing that could be known.
            let wanted =
                starts[whole] == count ? [] : [RecordingReader.Damage(offset: UInt64(starts[whole]), isEnd: true)]
            #expect(reading.damages == wanted, "\(count) bytes")
        }
    }

    @Test("every changed byte is found, and costs its block alone", arguments: [0xFF, 0x01, 0x80, 0x10] as [UInt8])
    func flipped(mask: UInt8) throws {
        let bytes = sample.bytes
        for place in bytes.indices {
            var other = bytes
            other[place] ^= mask
            switch place {
            case ..<8: #expect(try isNoRecording(other), "byte \(place)")
            case 8..<10:
                guard case .version = try failure(other) else {
                    Issue.record("byte \(place)")
                    continue
                }
            // These are of no meaning in version 1.
            case 10..<16: #expect(try Reading(other) == Reading(bytes), "byte \(place)")
            default:
                let block = sample.blocks.indices.last { sample.start(of: $0) <= place } ?? 0
                var wanted = sample.events
                wanted.remove(at: block)
                let reading = try Reading(other)
                #expect(reading.blocks == wanted, "byte \(place)")
                #expect(reading.lost == [10, 10, 10], "byte \(place)")
                #expect(reading.damages.first?.offset == UInt64(sample.start(of: block)), "byte \(place)")
            }
        }
    }

    @Test("of a recording without a byte, or with one too many, the other blocks are read")
    func shifted() throws {
        let bytes = sample.bytes
        for place in RecordingFormat.headerBytes..<bytes.count {
            let block = sample.blocks.indices.last { sample.start(of: $0) <= place } ?? 0
            var (fewer, more) = (bytes, bytes)
            fewer.remove(at: place)
            more.insert(0x55, at: place)
            for (what, other) in [("without", fewer), ("before", more)] {
                let reading = try Reading(other)
                let others = sample.events.indices.filter { $0 != block }.map { sample.events[$0] }
                // A byte between two blocks belongs to neither.
                let isBetween = what == "before" && sample.start(of: block) == place
                #expect(reading.blocks == (isBetween ? sample.events : others), "\(what) byte \(place)")
                #expect(!reading.damages.isEmpty, "\(what) byte \(place)")
            }
        }
    }

    @Test("the next block is found behind any number of foreign bytes")
    func foreignBytes() throws {
        // Also where its mark lies across the end of what is read at once, twice 65,536 bytes.
        let far = (1 << 17) + RecordingFormat.headerBytes - sample.start(of: 1)
        for count in Array(1...40) + Array(far - 5...far + 2) {
            let between = [UInt8](repeating: 0x4B, count: count)
            let reading = try Reading(RecordingWriter.header() + sample.blocks[0] + between + sample.blocks[1])
            #expect(reading.blocks == Array(sample.events[..<2]), "\(count) bytes")
            #expect(reading.damages == [.init(offset: UInt64(sample.start(of: 1)), isEnd: false)], "\(count) bytes")
        }
    }

    @Test("random damage never makes an event that was not recorded", arguments: seeds)
    func random(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let known = Set(sample.events.joined())
        for _ in 0..<150 {
            var bytes = sample.bytes
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                let place = Int.random(in: RecordingFormat.headerBytes..<bytes.count, using: &random)
                if random.chance(50) { bytes[place] = .random(in: 0...255, using: &random) }
                if random.chance(20) { bytes.removeLast(min(random.chance(50) ? 1 : 40, bytes.count - 17)) }
                if random.chance(20) {
                    bytes.insert(contentsOf: sample.blocks[0].prefix(30), at: min(max(place, 16), bytes.count))
                }
            }
            #expect(try Reading(bytes).blocks.joined().allSatisfy(known.contains), "seed \(hex(seed))")
        }
    }

    /// With a right checksum: what no Kairos writes, and somebody else might.
    @Test("a body that does not fit itself is damage, and its numbers do no harm", arguments: seeds)
    func forged(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let (schema, block) = (try JSONSchema.ofTrace(), sample.blocks[0])
        for _ in 0..<150 {
            var checked = Array(block[8...])
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                checked[Int.random(in: 12..<checked.count, using: &random)] = .random(in: 0...255, using: &random)
            }
            let reading = try Reading(RecordingWriter.header() + forge(checked) + sample.blocks[1])
            #expect(reading.blocks.last == sample.events[1])
            let events = Array(reading.blocks.joined())
            #expect(tableLines(events).count == events.count)
            for line in jsonLines(events) {
                #expect(schema.problems(line: line) == [], "seed \(hex(seed)): \(text(line))")
            }
        }
    }

    private func forge(_ checked: [UInt8]) -> [UInt8] {
        let sum = kairos_crc32(checked, checked.count)
        return ascii("KLBK") + (0..<4).map { UInt8(truncatingIfNeeded: sum >> (8 * $0)) } + checked
    }

    @Test("lengths and counts beyond all bounds")
    func bounds() throws {
        for (length, count) in [(UInt32.max, UInt32(1)), (1 << 22 + 1, 1), (1 << 20, 1), (0, 4097), (0, .max), (0, 1)] {
            let numbers = [length, count, 0].flatMap { n in (0..<4).map { UInt8(truncatingIfNeeded: n >> (8 * $0)) } }
            let reading = try Reading(RecordingWriter.header() + forge(numbers) + sample.blocks[0])
            #expect(reading.blocks == [sample.events[0]], "\(length) \(count)")
            #expect(reading.damages.count == 1, "\(length) \(count)")
        }
    }

    @Test("an empty file, other files, a directory, none")
    func others() throws {
        #expect(try isNoRecording([]))
        #expect(try isNoRecording(ascii("KAIROSTR")))
        #expect(try isNoRecording(ascii("#!/bin/sh\necho hello, world\n")))
        #expect(try isNoRecording([UInt8](repeating: 0, count: 4096)))
        #expect(failure("/nowhere/a\nb") == .cannotOpen("/nowhere/a\\u{A}b", .noSuchFileOrDirectory))
        #expect(failure("/tmp") == .cannotRead("/tmp", .isDirectory))
    }

    @Test("a later version is refused by its number", arguments: [0, 2, 258, 65_535])
    func version(number: Int) throws {
        var bytes = sample.bytes
        (bytes[8], bytes[9]) = (UInt8(number & 255), UInt8(number >> 8))
        let failure = try #require(try failure(bytes))
        guard case .version(_, number) = failure else {
            Issue.record("\(failure)")
            return
        }
        #expect(failure.description.contains("version \(number)"))
    }
}
