import Datasets
import Glibc
import Tracing

/// Lines for people: time, pid, comm, op, bytes, dataset or file system, path.
public struct TraceTable: Sendable {
    public enum Times: Sendable {
        /// Local time of day, milliseconds.
        case local
        /// UTC with its date, RFC 3339.
        case absolute
        /// Seconds since the beginning.
        case relative
    }

    public struct Style: Sendable {
        public var times: Times = .local
        /// The terminal's width; nil: no terminal, nothing is shortened.
        public var columns: Int?
        public var hasColours = false

        public init() {}
    }

    private let style: Style
    /// CLOCK_MONOTONIC of the beginning; nil: that of the first event.
    private var start: UInt64?
    private var clock = RFC3339()
    private var localClock = LocalClock()
    private let timeWidth: Int
    /// Columns between OP and the path, narrower on a narrow terminal: the path is what one looks for.
    private let widths: (command: Int, bytes: Int, place: Int)
    private let isNarrow: Bool

    public init(_ style: Style, start: UInt64?) {
        self.style = style
        self.start = start
        timeWidth =
            switch style.times {
            case .local: 12
            case .absolute: 30
            case .relative: 13
            }
        isNarrow = style.columns.map { $0 < 110 } ?? false
        widths = isNarrow ? (10, 7, 6) : (15, 10, 16)
    }

    /// A letter for what was done; `d` behind it: to a directory.
    public static let letters: [(operation: Operations, letters: StaticString, meaning: String)] = [
        (.create, "C", "create"), (.write, "W", "write"), (.truncate, "T", "truncate"),
        (.store, "S", "store to memory"),
        (.mkdir, "Cd", "mkdir"), (.unlink, "D", "delete"), (.rmdir, "Dd", "rmdir"), (.rename, "R", "rename"),
        (.link, "L", "link"), (.attr, "A", "attributes"), (.map, "M", "mmap"), (.close, "c", "close"),
        (.sync, "s", "fsync"),
    ]

    public func appendHeader(to out: inout ByteBuffer) {
        out.append("TIME" as StaticString)
        out.append(repeating: Self.space, count: timeWidth - 4)
        out.append("     PID COMM" as StaticString)
        out.append(repeating: Self.space, count: widths.command - 3)
        out.append("OP " as StaticString)
        out.append(repeating: Self.space, count: widths.bytes - 5)
        out.append("BYTES FS" as StaticString)
        out.append(repeating: Self.space, count: widths.place - 1)
        out.append("PATH\n" as StaticString)
    }

    public mutating func append(_ event: TraceEvent, to out: inout ByteBuffer) {
        appendTime(event, to: &out)
        Self.right(UInt64(event.pid), 8, &out)
        out.append(UInt8(ascii: " "))
        event.command.withBytes { text($0, widths.command, &out) }
        colour(event.errno != nil ? .red : Self.colour(of: event.operation), &out)
        let place = event.operation.rawValue.trailingZeroBitCount
        let letters = place < Self.letters.count ? Self.letters[place].letters : "?"
        out.append(letters)
        var width = letters.utf8CodeUnitCount
        if event.flags.contains(.directory), width == 1 {
            out.append(UInt8(ascii: "d"))
            width += 1
        }
        if event.errno != nil {
            out.append(UInt8(ascii: "!"))
            width += 1
        }
        colour(.none, &out)
        out.append(repeating: Self.space, count: 3 - width)
        if let bytes = event.bytes {
            Self.right(bytes, widths.bytes, &out)
        } else {
            out.append(repeating: Self.space, count: widths.bytes - 1)
            out.append(UInt8(ascii: "-"))
        }
        out.append(UInt8(ascii: " "))
        event.place.name.withUnsafeBufferPointer { text($0, widths.place, &out) }
        let used = timeWidth + widths.command + widths.bytes + widths.place + 16
        appendPaths(event, room: style.columns.map { max($0 - used, 16) }, to: &out)
        if let errno = event.errno {
            out.append(UInt8(ascii: " "))
            colour(.red, &out)
            out.append(ErrorName.of(errno))
            colour(.none, &out)
        }
        out.append(UInt8(ascii: "\n"))
    }

    private mutating func appendTime(_ event: TraceEvent, to out: inout ByteBuffer) {
        switch style.times {
        case .local: localClock.append(event.wall, to: &out)
        case .absolute: clock.append(event.wall, to: &out)
        case .relative:
            if start == nil { start = event.time }
            let nanoseconds = event.time &- (start ?? 0)
            let microseconds = Int64(bitPattern: nanoseconds) / 1000
            Self.right(UInt64(max(microseconds, 0) / 1_000_000), 6, &out)
            out.append(UInt8(ascii: "."))
            out.append(UInt64(max(microseconds, 0) % 1_000_000), digits: 6)
        }
    }

    private func appendPaths(_ event: TraceEvent, room: Int?, to out: inout ByteBuffer) {
        let both = event.oldPath != nil
        var room = room
        if let whole = room, let errno = event.errno { room = max(whole - 1 - ErrorName.of(errno).utf8.count, 16) }
        if let whole = room, both { room = max((whole - 4) / 2, 8) }
        if let whole = room, event.flags.contains(.truncated) { room = max(whole - 2, 8) }
        if let oldPath = event.oldPath {
            appendPath(oldPath, event, room, &out)
            out.append(" -> " as StaticString)
        }
        if let path = event.path {
            appendPath(path, event, room, &out)
        } else {
            out.append("?" as StaticString)
        }
    }

    private func appendPath(_ path: [UInt8], _ event: TraceEvent, _ room: Int?, _ out: inout ByteBuffer) {
        if event.flags.contains(.truncated) { out.append("…/" as StaticString) }
        let isPlain = path.withUnsafeBufferPointer(Self.isPlain)
        if isPlain, room.map({ path.count <= $0 }) ?? true { return out.append(path) }
        let text = isPlain ? String(decoding: path, as: UTF8.self) : SafeText.line(path, limit: .max)
        guard let room, text.unicodeScalars.count > room else { return out.append(text) }
        // The middle goes: the beginning tells where, the end tells what.
        let scalars = Array(text.unicodeScalars)
        let tail = (room - 1) * 2 / 3
        var short = String.UnicodeScalarView()
        short.append(contentsOf: scalars.prefix(room - 1 - tail))
        short.append("…")
        short.append(contentsOf: scalars.suffix(tail))
        out.append(String(short))
    }

    private static let space = UInt8(ascii: " ")

    /// Padded to a width; what does not fit is cut on a narrow terminal, and takes its room elsewhere.
    private func text(_ bytes: UnsafeBufferPointer<UInt8>, _ width: Int, _ out: inout ByteBuffer) {
        let (start, space) = (out.count, Self.space)
        if Self.isPlain(bytes) {
            if isNarrow, bytes.count > width {
                out.append(UnsafeBufferPointer(rebasing: bytes[..<(width - 1)]))
                out.append("…" as StaticString)
                return out.append(space)
            }
            out.append(bytes)
        } else {
            let text = SafeText.line(bytes, limit: isNarrow ? max(width - 1, 1) : 255)
            out.append(text)
            // Padding goes by what is seen, not by bytes.
            out.append(repeating: space, count: width - text.unicodeScalars.count)
            return out.append(space)
        }
        out.append(repeating: space, count: max(0, width - (out.count - start)) + 1)
    }

    private static func isPlain(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        for byte in bytes where byte < 0x20 || byte >= 0x7F { return false }
        return true
    }

    private static func right(_ value: UInt64, _ width: Int, _ out: inout ByteBuffer) {
        var digits = 1
        var rest = value / 10
        while rest > 0 {
            digits += 1
            rest /= 10
        }
        out.append(repeating: space, count: width - digits)
        out.append(value)
    }

    /// SGR, ECMA-48.
    private enum Colour: UInt64 {
        case none = 0
        case dim = 2
        case red = 31
        case green = 32
        case yellow = 33
        case blue = 34
    }

    private func colour(_ colour: Colour, _ out: inout ByteBuffer) {
        guard style.hasColours else { return }
        out.append("\u{1B}[" as StaticString)
        out.append(colour.rawValue)
        out.append(UInt8(ascii: "m"))
    }

    private static func colour(of operation: Operations) -> Colour {
        switch operation {
        case .create, .mkdir, .link: .green
        case .unlink, .rmdir: .red
        case .rename: .blue
        case .write, .truncate, .store: .yellow
        case .attr: .none
        default: .dim
        }
    }
}

/// Local time of day with milliseconds: `09:05:00.123`. The calendar is asked once a second.
struct LocalClock: Sendable {
    private var second: Int64 = -1
    private var text: [UInt8] = []

    mutating func append(_ wall: Int64, to out: inout ByteBuffer) {
        let wall = max(wall, 0)
        let whole = wall / 1_000_000_000
        if whole != second {
            second = whole
            var seconds = time_t(whole)
            var parts = tm()
            localtime_r(&seconds, &parts)
            var line = ByteBuffer(capacity: 16)
            for (index, part) in [parts.tm_hour, parts.tm_min, parts.tm_sec].enumerated() {
                if index > 0 { line.append(UInt8(ascii: ":")) }
                line.append(UInt64(part), digits: 2)
            }
            line.append(UInt8(ascii: "."))
            text = line.bytes
        }
        out.append(text)
        out.append(UInt64(wall % 1_000_000_000 / 1_000_000), digits: 3)
    }
}
