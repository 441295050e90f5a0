import CLinux
import Datasets
import Tracing

/// A recorded trace: a header, then blocks that can each be read by itself, so that a damaged or truncated file yields what
/// is whole. docs/recording.md has the format byte by byte. Numbers in blocks are LEB128, signed ones zigzag.
enum RecordingFormat {
    static let magic = Array("KAIROSTR".utf8)
    static let version: UInt16 = 1
    static let headerBytes = 16
    static let blockMagic: UInt32 = 0x4B42_4C4B
    /// Magic, CRC-32 of all that follows, length, count, records lost since the block before; 32 bits each.
    static let blockHeaderBytes = 20
    /// Where that begins which the CRC-32 is of.
    static let checkedStart = 8
    /// A block is written when it holds so many events or bytes, or when its first is a second old.
    static let blockEvents = 4096
    static let blockBytes = 1 << 18
    /// More than any block that a Kairos writes: a length beyond it is damage.
    static let blockLimit = 1 << 22

    /// Which of the optional fields an event has.
    struct Fields: OptionSet {
        let rawValue: UInt64
        static let inode = Fields(rawValue: 1 << 0)
        static let path = Fields(rawValue: 1 << 1)
        static let oldPath = Fields(rawValue: 1 << 2)
        static let bytes = Fields(rawValue: 1 << 3)
        static let offset = Fields(rawValue: 1 << 4)
        static let epoch = Fields(rawValue: 1 << 5)
        static let dataset = Fields(rawValue: 1 << 6)
    }
}

/// Writes events to a recording.
public struct RecordingWriter: Sendable {
    private var block: [UInt8] = []
    private var count: UInt32 = 0
    private var first: UInt64 = 0
    private var last = (time: UInt64(0), wall: Int64(0))
    private var lost: UInt64 = 0
    private var lostTold: UInt64 = 0
    /// Strings that the block has by now, by their number.
    private var known: [[UInt8]: UInt64] = [:]

    public init() {}

    /// The beginning of the file.
    public static func header() -> [UInt8] {
        var header: [UInt8] = []
        header += RecordingFormat.magic
        header.append(fixed: UInt64(RecordingFormat.version), bytes: 2)
        header.append(fixed: 0, bytes: 6)
        return header
    }

    /// So many records found the ring full since the beginning.
    public mutating func note(lost total: UInt64) { lost = max(lost, total) }

    /// Adds an event. Returns a finished block, to be written, when one is full.
    public mutating func add(_ event: TraceEvent) -> [UInt8]? {
        if count == 0 { first = event.time }
        block.append(signed: Int64(bitPattern: event.time &- last.time))
        block.append(signed: event.wall &- last.wall &- Int64(bitPattern: event.time &- last.time))
        last = (event.time, event.wall)
        var fields: RecordingFormat.Fields = []
        if event.inode != nil { fields.insert(.inode) }
        if event.path != nil { fields.insert(.path) }
        if event.oldPath != nil { fields.insert(.oldPath) }
        if event.bytes != nil { fields.insert(.bytes) }
        if event.offset != nil { fields.insert(.offset) }
        if event.epoch != nil { fields.insert(.epoch) }
        if event.place.isDataset { fields.insert(.dataset) }
        block.append(varint: fields.rawValue)
        block.append(varint: UInt64(event.operation.rawValue.trailingZeroBitCount))
        block.append(varint: UInt64(event.flags.rawValue))
        for number in [event.pid, event.thread, event.parent, event.user, event.device.kernel, event.probe.rawValue] {
            block.append(varint: UInt64(number))
        }
        append(event.command.bytes)
        append(event.place.name)
        if let inode = event.inode {
            block.append(varint: inode)
            block.append(varint: UInt64(event.generation ?? 0))
        }
        if let path = event.path { append(path) }
        if let oldPath = event.oldPath { append(oldPath) }
        if let bytes = event.bytes { block.append(varint: bytes) }
        if let offset = event.offset { block.append(signed: offset) }
        if let epoch = event.epoch { block.append(varint: epoch) }
        block.append(signed: event.result)
        count += 1
        return count >= RecordingFormat.blockEvents || block.count >= RecordingFormat.blockBytes ? flush() : nil
    }

    /// The events so far as a block, nil without any; if `olderThan` is given, only when the first is older.
    public mutating func flush(olderThan time: UInt64? = nil) -> [UInt8]? {
        guard count > 0 || time == nil && lost > lostTold, time.map({ first < $0 }) ?? true else { return nil }
        var checked: [UInt8] = []
        checked.reserveCapacity(block.count + RecordingFormat.blockHeaderBytes - RecordingFormat.checkedStart)
        checked.append(fixed: UInt64(block.count), bytes: 4)
        checked.append(fixed: UInt64(count), bytes: 4)
        checked.append(fixed: UInt64(UInt32(clamping: lost - lostTold)), bytes: 4)
        checked += block
        var out: [UInt8] = []
        out.reserveCapacity(checked.count + RecordingFormat.checkedStart)
        out.append(fixed: UInt64(RecordingFormat.blockMagic), bytes: 4)
        out.append(fixed: UInt64(kairos_crc32(checked, checked.count)), bytes: 4)
        out += checked
        block.removeAll(keepingCapacity: true)
        lostTold = lost
        count = 0
        last = (0, 0)
        known.removeAll(keepingCapacity: true)
        return out
    }

    /// A string: its number in the block when it was there before, else 0, its length and its bytes.
    private mutating func append(_ string: [UInt8]) {
        if let number = known[string] { return block.append(varint: number) }
        known[string] = UInt64(known.count + 1)
        block.append(varint: 0)
        block.append(varint: UInt64(string.count))
        block += string
    }
}

extension [UInt8] {
    /// Little-endian.
    mutating func append(fixed value: UInt64, bytes: Int) {
        for place in 0..<bytes { append(UInt8(truncatingIfNeeded: value >> UInt64(8 * place))) }
    }

    mutating func append(varint value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        append(UInt8(rest))
    }

    mutating func append(signed value: Int64) { append(varint: UInt64(bitPattern: value << 1 ^ value >> 63)) }
}
