import Datasets
import Trace
import Tracing

/// The tables of `--summary`: in place on a terminal, once a second; in a pipe once, at the end.
struct SummaryScreen {
    private let isTerminal: Bool
    private let columns: Int
    private var lines = 0
    private var next: UInt64 = 0

    init(isTerminal: Bool, columns: Int?) {
        self.isTerminal = isTerminal
        self.columns = columns ?? 0
    }

    /// What to print now, if anything.
    mutating func refresh(_ summary: TraceSummary, seconds: Double) -> String? {
        let now = SystemClock.monotonic()
        guard isTerminal, now >= next else { return nil }
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
        table("PROCESS", summary.topProcesses(5))
        table("DIRECTORY", summary.topDirectories(8))
        table("OPERATION", summary.topOperations(6))
        if summary.isApproximate { drawn.append("Rare names were left out: counts may be too low.") }
        // A line that wraps would take two.
        if isTerminal, columns > 0 { drawn = drawn.map { String($0.prefix(columns)) } }
        lines = drawn.count
        text += drawn.joined(separator: "\n") + "\n"
        return text
    }

    private func right(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }
}
