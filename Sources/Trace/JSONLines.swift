import Datasets
import Tracing

/// Writes events as JSON lines, docs/trace-schema.json. By hand: an encoder takes some 20 µs an event, this less than one.
public struct JSONLines: Sendable {
    /// The schema's version. It is raised when a field goes or changes its meaning, not when one is added.
    public static let version = 1

    private var clock = RFC3339()

    public init() {}

    /// Appends the event's line.
    public mutating func append(_ event: TraceEvent, to out: inout ByteBuffer) {
        out.append("{\"v\":1,\"time\":\"" as StaticString)
        clock.append(event.wall, to: &out)
        out.append("\",\"ts_ns\":" as StaticString)
        out.append(event.time)
        out.append(",\"op\":\"" as StaticString)
        out.append(Words.of(event.operation))
        out.append("\",\"flags\":[" as StaticString)
        appendFlags(event.flags, to: &out)
        out.append("],\"pid\":" as StaticString)
        out.append(UInt64(event.pid))
        out.append(",\"tid\":" as StaticString)
        out.append(UInt64(event.thread))
        out.append(",\"ppid\":" as StaticString)
        out.append(UInt64(event.parent))
        out.append(",\"uid\":" as StaticString)
        out.append(UInt64(event.user))
        event.command.withBytes { Self.appendName($0, "comm", to: &out) }
        out.append(",\"dev\":\"" as StaticString)
        out.append(UInt64(event.device.major))
        out.append(UInt8(ascii: ":"))
        out.append(UInt64(event.device.minor))
        out.append("\",\"inode\":" as StaticString)
        out.append(event.inode)
        out.append(",\"generation\":" as StaticString)
        out.append(event.generation.map(UInt64.init))
        if event.place.isDataset {
            Self.appendName(event.place.name, "dataset", to: &out)
            out.append(",\"fs\":\"zfs\"" as StaticString)
        } else {
            out.append(",\"dataset\":null" as StaticString)
            Self.appendName(event.place.name, "fs", to: &out)
        }
        Self.appendName(event.path, "path", to: &out)
        Self.appendName(event.oldPath, "old_path", to: &out)
        out.append(",\"bytes\":" as StaticString)
        out.append(event.bytes)
        out.append(",\"offset\":" as StaticString)
        out.append(event.offset)
        out.append(",\"ret\":" as StaticString)
        out.append(event.flags.contains(.call) ? event.result : nil)
        out.append(",\"errno\":" as StaticString)
        if let errno = event.errno {
            out.append(UInt8(ascii: "\""))
            out.append(ErrorName.of(errno))
            out.append(UInt8(ascii: "\""))
        } else {
            out.append("null" as StaticString)
        }
        out.append(",\"epoch\":" as StaticString)
        out.append(event.epoch)
        let probe = Words.of(event.probe)
        if probe.utf8CodeUnitCount > 0 {
            out.append(",\"probe\":\"" as StaticString)
            out.append(probe)
            out.append("\"}\n" as StaticString)
        } else {
            out.append(",\"probe\":null}\n" as StaticString)
        }
    }

    private func appendFlags(_ flags: TraceFlags, to out: inout ByteBuffer) {
        guard !flags.isEmpty else { return }
        var isFirst = true
        for (flag, name) in TraceFlags.named where flags.contains(flag) {
            if !isFirst { out.append(UInt8(ascii: ",")) }
            isFirst = false
            out.append(UInt8(ascii: "\""))
            out.append(name)
            out.append(UInt8(ascii: "\""))
        }
    }

    /// `,"path":"..."`; of bytes that are not UTF-8 `,"path":null,"path_raw":"BASE64"`; without any `,"path":null`.
    private static func appendName(_ name: [UInt8]?, _ key: StaticString, to out: inout ByteBuffer) {
        guard let name else {
            out.append(",\"" as StaticString)
            out.append(key)
            return out.append("\":null" as StaticString)
        }
        name.withUnsafeBufferPointer { appendName($0, key, to: &out) }
    }

    private static func appendName(_ name: UnsafeBufferPointer<UInt8>, _ key: StaticString, to out: inout ByteBuffer) {
        out.append(",\"" as StaticString)
        out.append(key)
        out.append("\":" as StaticString)
        let start = out.count
        out.append(UInt8(ascii: "\""))
        // Mostly names are plain, and are copied as they are looked at.
        if out.appendPlain(name) {
            out.append(UInt8(ascii: "\""))
        } else if let text = String(validating: name, as: UTF8.self) {
            appendEscaped(text, to: &out)
            out.append(UInt8(ascii: "\""))
        } else {
            out.truncate(to: start)
            out.append("null,\"" as StaticString)
            out.append(key)
            out.append("_raw\":\"" as StaticString)
            out.appendBase64(Array(name))
            out.append(UInt8(ascii: "\""))
        }
    }

    /// What could move a terminal's cursor, turn its writing round or not be seen is escaped, though JSON would allow it.
    private static func appendEscaped(_ text: String, to out: inout ByteBuffer) {
        for scalar in text.unicodeScalars {
            if scalar == "\"" || scalar == "\\" {
                out.append(UInt8(ascii: "\\"))
                out.append(UInt8(truncatingIfNeeded: scalar.value))
            } else if SafeText.isPrintable(scalar) {
                for byte in UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter { out.append(byte) }
            } else {
                for unit in UTF16.encode(scalar) ?? UTF16.encodedReplacementCharacter {
                    out.append("\\u" as StaticString)
                    for shift: UInt16 in [12, 8, 4, 0] { out.append(hexDigit(UInt8(unit >> shift & 15))) }
                }
            }
        }
    }

    private static func hexDigit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }
}

/// The words of operations and programs, without the work that a `String` makes.
enum Words {
    static func of(_ operation: Operations) -> StaticString {
        let place = operation.rawValue.trailingZeroBitCount
        return place < operations.count ? operations[place] : ""
    }

    static func of(_ probe: Probe) -> StaticString {
        let place = Int(probe.rawValue)
        return place < Probe.names.count ? Probe.names[place] : ""
    }

    /// In the order of bpf/kairos.h; `Operations.named` has the same.
    private static let operations: [StaticString] = [
        "create", "write", "truncate", "store", "mkdir", "unlink", "rmdir", "rename", "link", "attr", "map", "close",
        "sync",
    ]
}

/// `2026-11-22T09:05:00.123456789Z`, with the calendar worked out once a second.
struct RFC3339: Sendable {
    private var second: Int64 = -1
    private var text: [UInt8] = []

    mutating func append(_ wall: Int64, to out: inout ByteBuffer) {
        // No clock shows a moment before 1970, but a recording can hold any number.
        let wall = max(wall, 0)
        let whole = wall / 1_000_000_000
        if whole != second {
            second = whole
            // Up to the dot of the milliseconds.
            text = Array(Timestamp(seconds: whole, nanoseconds: 0).rfc3339.utf8.prefix(20))
        }
        out.append(text)
        out.append(UInt64(wall % 1_000_000_000), digits: 9)
        out.append(UInt8(ascii: "Z"))
    }
}
