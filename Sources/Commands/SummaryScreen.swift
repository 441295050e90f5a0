import Datasets
import Glibc
import Trace
import Tracing

/// The tables of `--summary`: in place on a terminal, once a second; in a pipe once, at the end.
struct SummaryScreen {
    private let isTerminal: Bool
    /// A terminal that can go back up, and a form that is drawn more than once.
    private let isLive: Bool
    private var lines = 0
    private var next: UInt64 = 0

    init(isTerminal: Bool, isLive: Bool) {
        self.isTerminal = isTerminal
        self.isLive = isLive
    }

    /// What to print now, if anything.
    mutating func refresh(_ summary: TraceSummary, seconds: Double) -> String? {
        let now = SystemClock.monotonic()
        guard isTerminal, isLive, now >= next else { return nil }
        next = now + 1_000_000_000
        return draw(summary)
    }

    mutating func last(_ summary: TraceSummary, isJSON: Bool) -> String {
        guard isJSON else { return draw(summary) }
        struct Row: Encodable {
            var name: String
            var events: Int
            var bytes: UInt64
        }
        struct Tables: Encodable {
            var events: Int
            var approximate: Bool
            var processes: [Row]
            var directories: [Row]
            var operations: [Row]
        }
        func rows(_ rows: [TraceSummary.Row]) -> [Row] {
            rows.map { Row(name: $0.name, events: $0.events, bytes: $0.bytes) }
        }
        return Output.json(
            Tables(
                events: summary.events, approximate: summary.isApproximate,
                processes: rows(summary.topProcesses(10)), directories: rows(summary.topDirectories(10)),
                operations: rows(summary.topOperations(20)))) + "\n"
    }

    private mutating func draw(_ summary: TraceSummary) -> String {
        // Up to the beginning of what was drawn before, and clear from there (ECMA-48: CPL, ED).
        var text = isTerminal && lines > 0 ? "\u{1B}[\(lines)F\u{1B}[J" : ""
        var drawn: [String] = []
        func table(_ title: String, _ rows: [TraceSummary.Row]) {
            drawn.append("    EVENTS     WRITTEN  " + title)
            for row in rows {
                drawn.append(right("\(row.events)", 10) + right(Human.bytes(row.bytes), 12) + "  " + row.name)
            }
            drawn.append("")
        }
        // Titles, empty lines and what follows at the end take eight.
        let (columns, rows) = isTerminal && isLive ? Self.size() : (0, 0)
        let room = rows > 0 ? max(rows - 9, 3) : 19
        table("PROCESS", summary.topProcesses(min(5, max(room / 4, 1))))
        table("DIRECTORY", summary.topDirectories(min(8, max(room / 2, 1))))
        table("OPERATION", summary.topOperations(min(6, max(room / 4, 1))))
        if summary.isApproximate { drawn.append("Rare names were left out: counts may be too low.") }
        // A line that wraps would take two. Characters of other scripts may take two columns.
        if columns > 0 { drawn = drawn.map { Self.cut($0, columns) } }
        lines = drawn.count
        text += drawn.joined(separator: "\n") + "\n"
        return text
    }

    private static func size() -> (columns: Int, rows: Int) {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 else { return (0, 0) }
        return (Int(size.ws_col), Int(size.ws_row))
    }

    private static func cut(_ line: String, _ columns: Int) -> String {
        var left = columns
        var short = String.UnicodeScalarView()
        for scalar in line.unicodeScalars {
            left -= scalar.isASCII ? 1 : 2
            guard left >= 0 else { break }
            short.append(scalar)
        }
        return String(short)
    }

    private func right(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }
}
