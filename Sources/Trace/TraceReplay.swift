import CLinux
import Datasets
import SystemPackage
import Tracing

/// Reads a recording, block by block.
public struct RecordingReader: ~Copyable {
    public enum Failure: Error, Hashable, CustomStringConvertible, Sendable {
        case cannotOpen(String, Errno)
        case cannotRead(String, Errno)
        case notARecording(String)
        /// An event at a time that no machine's clock shows, nanoseconds since its start.
        case time(String, UInt64)
        /// Made by a later Kairos.
        case version(String, Int)

        public var description: String {
            switch self {
            case .cannotOpen(let path, let errno): "cannot open the recording \(path): \(errno)"
            case .cannotRead(let path, let errno): "cannot read the recording \(path): \(errno)"
            case .notARecording(let path):
                "\(path) is no recording of 'kairos trace --record': it does not begin with KAIROSTR"
            case .time(let path, let time):
                "the recording \(path) has an event \(time) ns after the machine's start: it was made up, or is damaged"
            case .version(let path, let version):
                "\(path) is a recording of version \(version), and this Kairos reads version "
                    + "\(RecordingFormat.version): replay it with the Kairos that made it"
            }
        }
    }

    /// What was found where no whole block is.
    public struct Damage: Hashable, Sendable, CustomStringConvertible {
        /// Where it begins, in bytes from the file's start.
        public var offset: UInt64
        public var isEnd: Bool

        public var description: String {
            isEnd
                ? "the recording ends in the middle of a block, at byte \(offset)"
                : "the recording is damaged at byte \(offset)"
        }
    }

    private let file: FileDescriptor
    private let name: String
    private var offset: UInt64 = UInt64(RecordingFormat.headerBytes)
    private var waiting: [UInt8] = []
    private var isAtEnd = false

    public init(_ path: String) throws(Failure) {
        name = SafeText.line(path)
        let opened: FileDescriptor
        do { opened = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec) } catch {
            throw .cannotOpen(name, error as? Errno ?? .ioError)
        }
        do throws(Failure) { try Self.check(opened, name) } catch {
            try? opened.close()
            throw error
        }
        file = opened
    }

    private static func check(_ file: FileDescriptor, _ name: String) throws(Failure) {
        var header = [UInt8](repeating: 0, count: RecordingFormat.headerBytes)
        var count = 0
        do {
            while count < header.count {
                let read = try header.withUnsafeMutableBytes {
                    try file.read(into: UnsafeMutableRawBufferPointer(rebasing: $0[count...]))
                }
                if read == 0 { break }
                count += read
            }
        } catch { throw .cannotRead(name, error as? Errno ?? .ioError) }
        guard count == header.count, header.starts(with: RecordingFormat.magic) else { throw .notARecording(name) }
        let version = Int(header[8]) | Int(header[9]) << 8
        guard version == Int(RecordingFormat.version) else { throw .version(name, version) }
    }

    deinit { try? file.close() }

    public enum Step: Sendable {
        /// A block, and how many records were lost since the one before.
        case events([TraceEvent], lost: UInt64)
        /// After this what follows is sought by the next block's mark; at the end of the file nothing does.
        case damage(Damage)
    }

    /// The next block, or what is wrong with it; nil at the end.
    public mutating func next() throws(Failure) -> Step? {
        try fill(RecordingFormat.blockHeaderBytes)
        if waiting.isEmpty { return nil }
        guard waiting.count >= RecordingFormat.blockHeaderBytes else { return end() }
        let (magic, sum, length, count, lost) = (word(0), word(4), Int(word(8)), Int(word(12)), word(16))
        guard magic == RecordingFormat.blockMagic, length <= RecordingFormat.blockLimit,
            count <= RecordingFormat.blockEvents
        else { return try skip() }
        let whole = RecordingFormat.blockHeaderBytes + length
        try fill(whole)
        guard waiting.count >= whole else { return hasMark(from: 4) ? try skip() : end() }
        let checked = Array(waiting[RecordingFormat.checkedStart..<whole])
        let bodyStart = RecordingFormat.blockHeaderBytes - RecordingFormat.checkedStart
        guard kairos_crc32(checked, checked.count) == sum,
            let events = BlockDecoder.events(checked, from: bodyStart, count)
        else { return try skip() }
        advance(whole)
        return .events(events, lost: UInt64(lost))
    }

    private mutating func end() -> Step {
        let damage = Damage(offset: offset, isEnd: true)
        advance(waiting.count)
        return .damage(damage)
    }

    /// Seeks the next block's mark behind this place.
    private mutating func skip() throws(Failure) -> Step {
        let start = offset
        // By one byte, and not by the length of a mark: the next block may begin within it.
        advance(1)
        while true {
            try fill(1 << 16)
            if waiting.isEmpty { break }
            if let found = mark(from: 0) {
                advance(found)
                break
            }
            // The last bytes may be the beginning of a mark.
            advance(isAtEnd ? waiting.count : max(waiting.count - 3, 0))
        }
        return .damage(Damage(offset: start, isEnd: false))
    }

    private func hasMark(from start: Int) -> Bool { mark(from: start) != nil }

    private func mark(from start: Int) -> Int? {
        guard waiting.count >= start + 4 else { return nil }
        return (start...waiting.count - 4).first { word($0) == RecordingFormat.blockMagic }
    }

    private func word(_ at: Int) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(waiting[at + $1]) << UInt32(8 * $1) }
    }

    private mutating func advance(_ count: Int) {
        waiting.removeFirst(count)
        offset += UInt64(count)
    }

    /// Reads until so many bytes wait, or the file ends.
    private mutating func fill(_ count: Int) throws(Failure) {
        while waiting.count < count, !isAtEnd {
            var piece = [UInt8](repeating: 0, count: max(count - waiting.count, 1 << 16))
            do {
                let read = try piece.withUnsafeMutableBytes { try file.read(into: $0) }
                isAtEnd = read == 0
                waiting += piece[..<read]
            } catch {
                throw .cannotRead(name, error as? Errno ?? .ioError)
            }
        }
    }
}

/// Decodes the inside of a block. Nil where it does not fit its own lengths: its checksum was right by chance, or its writer
/// was wrong.
private struct BlockDecoder {
    private let bytes: [UInt8]
    private var at: Int
    private var strings: [[UInt8]] = []

    static func events(_ bytes: [UInt8], from start: Int, _ count: Int) -> [TraceEvent]? {
        var decoder = BlockDecoder(bytes: bytes, at: start)
        var events: [TraceEvent] = []
        events.reserveCapacity(count)
        var last = (time: UInt64(0), wall: Int64(0))
        for _ in 0..<count {
            guard let event = decoder.event(after: last) else { return nil }
            last = (event.time, event.wall)
            events.append(event)
        }
        return decoder.at == bytes.count ? events : nil
    }

    private init(bytes: [UInt8], at start: Int) {
        self.bytes = bytes
        at = start
    }

    private mutating func event(after last: (time: UInt64, wall: Int64)) -> TraceEvent? {
        guard let step = signed(), let drift = signed(), let has = varint(), let operation = varint(),
            let flags = varint(), let pid = number(), let thread = number(), let parent = number(), let user = number(),
            let device = number(), let probe = number(), let command = string(), let place = string(),
            // A version has these operations; names of datasets and of file systems' types are text.
            operation < Operations.named.count, !place.isEmpty, String(validating: place, as: UTF8.self) != nil
        else { return nil }
        let fields = RecordingFormat.Fields(rawValue: has)
        let kind = Operations(rawValue: 1 << UInt32(operation))
        guard kind == .rename || !fields.contains(.oldPath) else { return nil }
        var (inode, generation): (UInt64?, UInt32?)
        if fields.contains(.inode) {
            guard let value = varint(), let second = number() else { return nil }
            (inode, generation) = (value, second)
        }
        guard let path = optional(fields.contains(.path), { $0.string() }),
            let oldPath = optional(fields.contains(.oldPath), { $0.string() }),
            let count = optional(fields.contains(.bytes), { $0.varint() }),
            let offset = optional(fields.contains(.offset), { $0.signed() }),
            let epoch = optional(fields.contains(.epoch), { $0.varint() }), let result = signed(),
            path?.isEmpty != true, oldPath?.isEmpty != true
        else { return nil }
        return TraceEvent(
            time: last.time &+ UInt64(bitPattern: step), wall: last.wall &+ step &+ drift,
            operation: kind,
            flags: TraceFlags(rawValue: UInt8(truncatingIfNeeded: flags)), pid: pid, thread: thread, parent: parent,
            user: user, command: CommandName(command), device: DeviceNumber(kernel: device), inode: inode,
            generation: generation, place: TracePlace(name: place, isDataset: fields.contains(.dataset)), path: path,
            oldPath: oldPath, bytes: count, offset: offset, result: result, epoch: epoch, probe: Probe(rawValue: probe))
    }

    /// `.some(nil)` where the field is not there, nil where it cannot be read.
    private mutating func optional<Value>(_ isThere: Bool, _ read: (inout Self) -> Value?) -> Value?? {
        guard isThere else { return .some(nil) }
        return read(&self).map { .some($0) }
    }

    private mutating func varint() -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 70, by: 7) {
            guard at < bytes.count else { return nil }
            let byte = bytes[at]
            at += 1
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
        }
        return nil
    }

    private mutating func signed() -> Int64? {
        varint().map { Int64(bitPattern: $0 >> 1) ^ -Int64(bitPattern: $0 & 1) }
    }

    private mutating func number() -> UInt32? { varint().flatMap(UInt32.init(exactly:)) }

    private mutating func string() -> [UInt8]? {
        guard let number = varint() else { return nil }
        if number > 0 { return number <= strings.count ? strings[Int(number) - 1] : nil }
        guard let length = varint(), length <= bytes.count - at else { return nil }
        let string = Array(bytes[at..<at + Int(length)])
        at += Int(length)
        strings.append(string)
        return string
    }
}
