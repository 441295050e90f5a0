import Datasets
import TestSupport
import Tracing

@testable import Trace

func ascii(_ text: String) -> [UInt8] { Array(text.utf8) }

func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

func hex(_ seed: UInt64) -> String { "0x" + String(seed, radix: 16) }

let seeds = TestSeeds.of(1, 0xdead_beef, 20_260_101)

extension TraceEvent {
    /// A write of 512 bytes to /srv/notes.txt by vim, at 2026-11-22T09:05:00.123456789Z.
    static func sample(_ change: (inout TraceEvent) -> Void = { _ in }) -> TraceEvent {
        var event = TraceEvent(
            time: 5_000_000_000, wall: 1_795_338_300_123_456_789, operation: .write, flags: .call, pid: 4711,
            thread: 4712, parent: 1, user: 1000, command: CommandName(ascii("vim")),
            device: DeviceNumber(kernel: 8 << 20 | 1), inode: 42, generation: 7,
            place: TracePlace(name: ascii("ext4"), isDataset: false), path: ascii("/srv/notes.txt"), oldPath: nil,
            bytes: 512, offset: 1024, result: 512, epoch: nil, probe: probe("vfs_write"))
        change(&event)
        return event
    }

    static func probe(_ name: String) -> Probe {
        Probe(rawValue: UInt32(Probe.names.firstIndex { "\($0)" == name } ?? Probe.names.count))
    }

    /// A change of a kind, as sample but without bytes and offset.
    static func plain(_ operation: Operations, _ change: (inout TraceEvent) -> Void = { _ in }) -> TraceEvent {
        sample {
            $0.operation = operation
            ($0.bytes, $0.offset, $0.result) = (nil, nil, 0)
            change(&$0)
        }
    }

    func with(_ change: (inout TraceEvent) -> Void) -> TraceEvent {
        var event = self
        change(&event)
        return event
    }

    /// A rename of /srv/a to /srv/b.
    static var renamed: TraceEvent {
        plain(.rename) {
            $0.path = ascii("/srv/b")
            $0.oldPath = ascii("/srv/a")
        }
    }

    static func failed(_ operation: Operations, _ errno: Int32) -> TraceEvent {
        plain(operation) { $0.result = -Int64(errno) }
    }
}

/// Names that harm what shows or parses them carelessly.
let hostileNames: [(what: String, bytes: [UInt8])] = [
    ("a newline", ascii("a\nb")),
    ("a forged line", ascii("x\n{\"v\":1}\r\n12:00:00.000")),
    ("a carriage return", ascii("good\rbad")),
    ("a tab and a bell", ascii("\ta\u{7}")),
    ("every C0 control", (1...0x1F).map { UInt8($0) }),
    ("a colour", ascii("\u{1B}[31mred\u{1B}[0m")),
    ("a title", ascii("\u{1B}]0;owned\u{7}")),
    ("a cleared screen", ascii("\u{1B}[2J\u{1B}[H\u{1B}c")),
    ("DEL", ascii("a\u{7F}b")),
    ("C1 as UTF-8", ascii("\u{80}\u{85}\u{9B}31m\u{9D}0;x\u{9C}")),
    ("C1 as bytes", [0x9B, 0x33, 0x31, 0x6D, 0x90, 0x9C]),
    ("bidi overrides", ascii("\u{202E}gpj.exe\u{202C}\u{2066}a\u{2069}\u{200F}")),
    ("invisible marks", ascii("a\u{200B}b\u{FEFF}c\u{AD}d\u{2060}")),
    ("line separators", ascii("a\u{2028}b\u{2029}c")),
    ("tags beyond 16 bits", ascii("a\u{E0001}\u{E0041}b")),
    ("private and unassigned", ascii("\u{E000}\u{F8FF}\u{10FFFF}\u{378}")),
    ("quotes and backslashes", ascii("\"\\\\u001b\\n'`$(x)")),
    ("accents both ways", ascii("e\u{301} \u{E9}")),
    ("emoji", ascii("🧨👩‍👩‍👧‍👧")),
    ("a byte that is none", [0xFF]),
    ("a lone continuation", [0x61, 0x80, 0x62]),
    ("an overlong slash", [0xC0, 0xAF]),
    ("an overlong NUL", [0xC0, 0x80]),
    ("half a surrogate pair", [0xED, 0xA0, 0x80]),
    ("beyond Unicode", [0xF4, 0x90, 0x80, 0x80]),
    ("a cut sequence", [0x61, 0xE2, 0x82]),
    ("escape in Latin-1", [0xE9, 0x1B, 0x5B, 0x32, 0x4A]),
    ("U+FFFD itself", ascii("\u{FFFD}")),
    ("blanks at its ends", ascii("  a  ")),
    ("an arrow", ascii("a -> b")),
]

extension SplitMix64 {
    mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }

    mutating func pick<Element>(_ choices: [Element]) -> Element {
        choices[Int.random(in: 0..<choices.count, using: &self)]
    }

    /// Mostly small, sometimes at the ends.
    mutating func number<Number: FixedWidthInteger & UnsignedInteger>(_: Number.Type = Number.self) -> Number {
        let shift = Int.random(in: 0..<Number.bitWidth, using: &self)
        return chance(5) ? .max : chance(5) ? 0 : Number(truncatingIfNeeded: next()) >> Number(shift)
    }

    /// One component, without a slash or NUL.
    mutating func component() -> [UInt8] {
        if chance(20) { return pick(hostileNames).bytes.filter { $0 != UInt8(ascii: "/") } }
        if chance(5) { return [UInt8](repeating: UInt8(ascii: "n"), count: 255) }
        let count = Int.random(in: 1...12, using: &self)
        return (0..<count).map { _ in chance(3) ? UInt8.random(in: 0x80...0xFF, using: &self) : pick(Self.letters) }
    }

    private static let letters = Array("abcdefghijklmnopqrstuvwxyz0123456789._-".utf8)

    mutating func path() -> [UInt8] {
        let depth = chance(3) ? 64 : Int.random(in: 1...6, using: &self)
        return (0..<depth).reduce(into: []) { path, _ in path += [UInt8(ascii: "/")] + component() }
    }

    /// An event as a trace could have it. What belongs together is there together.
    mutating func event() -> TraceEvent {
        var event = TraceEvent.sample()
        event.time = number()
        event.wall = Int64(number(UInt32.self)) * 1_000_000_000 + Int64(number(UInt32.self) % 1_000_000_000)
        event.operation = pick(Operations.named).operation
        event.flags = TraceFlags(
            rawValue: UInt8.random(in: 0..<128, using: &self) & UInt8.random(in: 0..<128, using: &self))
        (event.pid, event.thread, event.parent, event.user) = (number(), number(), number(), number())
        event.command = CommandName(chance(5) ? [] : component())
        event.device = DeviceNumber(kernel: number())
        (event.inode, event.generation) = chance(20) ? (nil, nil) : (number(), number())
        event.place =
            chance(30)
            ? TracePlace(name: ascii("tank/home"), isDataset: true)
            : TracePlace(name: ascii(pick(["ext4", "tmpfs", "fuse.sshfs", "0:45"])), isDataset: false)
        event.path = chance(5) ? nil : path()
        event.oldPath = event.operation == .rename && chance(95) ? path() : nil
        event.bytes = TraceEvent.sized.contains(event.operation) && chance(90) ? number() : nil
        event.offset =
            TraceEvent.placed.contains(event.operation) && chance(90) ? Int64(bitPattern: number(UInt64.self)) : nil
        event.result = chance(20) ? -Int64.random(in: 1...140, using: &self) : Int64(number(UInt32.self))
        event.epoch = chance(20) ? number() : nil
        event.probe = pick(
            Probe.names.indices.filter { "\(Probe.names[$0])" != "" }.map { Probe(rawValue: UInt32($0)) })
        return event
    }
}

/// The events as JSON lines, without their newlines.
func jsonLines(_ events: [TraceEvent]) -> [[UInt8]] {
    var writer = JSONLines()
    var out = ByteBuffer()
    for event in events { writer.append(event, to: &out) }
    return lines(out.bytes)
}

func jsonLine(_ event: TraceEvent) -> [UInt8] { jsonLines([event]).joined().map(\.self) }

/// The events as a table without headings.
func tableLines(_ events: [TraceEvent], start: UInt64? = nil, _ change: (inout TraceTable.Style) -> Void = { _ in })
    -> [[UInt8]]
{
    var style = TraceTable.Style()
    style.times = .absolute
    change(&style)
    var table = TraceTable(style, start: start)
    var out = ByteBuffer()
    for event in events { table.append(event, to: &out) }
    return lines(out.bytes)
}

func tableLine(_ event: TraceEvent, _ change: (inout TraceTable.Style) -> Void = { _ in }) -> String {
    tableLines([event], change).map(text).joined(separator: "\n")
}

/// Every line ends with a newline, the last one too.
private func lines(_ bytes: [UInt8]) -> [[UInt8]] {
    precondition(bytes.isEmpty || bytes.last == UInt8(ascii: "\n"))
    return bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast().map { Array($0) }
}
