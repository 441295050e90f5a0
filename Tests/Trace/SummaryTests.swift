import Datasets
import Testing
import Tracing

@testable import Trace

@Suite("Who and what was busiest")
struct SummaryTests {
    private typealias Row = TraceSummary.Row

    private func summary(_ events: [TraceEvent]) -> TraceSummary {
        var summary = TraceSummary()
        for event in events { summary.add(event) }
        return summary
    }

    @Test("nothing of nothing")
    func empty() {
        let summary = summary([])
        #expect(summary.events == 0)
        #expect(summary.topProcesses(5) == [])
        #expect(summary.topDirectories(5) == [])
        #expect(summary.topOperations(5) == [])
        #expect(!summary.isApproximate)
    }

    @Test("events and written bytes by process, directory and operation, the busiest first")
    func counts() {
        let events = [
            TraceEvent.sample(), .sample { $0.bytes = 1000 }, .sample { $0.bytes = nil }, .renamed,
            .plain(.unlink) {
                $0.path = ascii("/etc/x")
                ($0.pid, $0.command) = (9, CommandName(ascii("rm")))
            },
        ]
        let summary = summary(events)
        #expect(summary.events == 5)
        #expect(
            summary.topProcesses(5) == [
                Row(name: "vim[4711]", events: 4, bytes: 1512), Row(name: "rm[9]", events: 1, bytes: 0),
            ])
        #expect(
            summary.topDirectories(5) == [
                Row(name: "/srv", events: 4, bytes: 1512), Row(name: "/etc", events: 1, bytes: 0),
            ])
        #expect(
            summary.topOperations(5) == [
                Row(name: "write", events: 3, bytes: 1512), Row(name: "rename", events: 1, bytes: 0),
                Row(name: "unlink", events: 1, bytes: 0),
            ])
        #expect(summary.topProcesses(1).count == 1)
        #expect(summary.topProcesses(0) == [])
    }

    @Test("one name of two processes, one process with two names")
    func processes() {
        let events: [TraceEvent] = [
            .sample { $0.pid = 1 }, .sample { $0.pid = 2 },
            .sample { ($0.pid, $0.command) = (1, CommandName(ascii("sh"))) },
        ]
        #expect(summary(events).topProcesses(5).map(\.name) == ["sh[1]", "vim[1]", "vim[2]"])
    }

    @Test(
        "the directory of a path",
        arguments: [
            ("/a", "/"), ("/a/b", "/a"), ("/", "/"), ("/a/b/c", "/a/b"), ("left/of/it", "left/of"), ("alone", "alone"),
            (nil, "?"),
        ] as [(String?, String)])
    func directory(path: String?, directory: String) {
        #expect(summary([.sample { $0.path = path.map(ascii) }]).topDirectories(1).map(\.name) == [directory])
    }

    @Test("only what was written counts: not what is mapped, and not what failed")
    func bytes() {
        let failed = TraceEvent.sample { ($0.bytes, $0.result) = (1 << 40, -28) }
        let mapped = TraceEvent.plain(.map) { $0.bytes = 4096 }
        #expect(summary([failed, mapped]).topProcesses(1) == [Row(name: "vim[4711]", events: 2, bytes: 0)])
    }

    @Test("equal ones by bytes, then by name")
    func order() {
        func write(_ path: String, _ bytes: UInt64) -> TraceEvent {
            .sample { ($0.path, $0.bytes) = (ascii(path), bytes) }
        }
        let rows = summary([write("/b/x", 1), write("/c/x", 5), write("/a/x", 1)]).topDirectories(5)
        #expect(rows.map(\.name) == ["/c", "/a", "/b"])
    }

    @Test("sums beyond all numbers do not trap")
    func overflow() {
        let summary = summary([.sample { $0.bytes = .max }, .sample { $0.bytes = .max }])
        #expect(summary.topOperations(1).map(\.events) == [2])
    }

    @Test("of very many names the busy ones stay, and it says that the counts are not exact")
    func bounded() {
        var summary = TraceSummary()
        let total = 3 * TraceSummary.limit
        for index in 0..<total {
            summary.add(.sample { $0.path = ascii("/many/\(index)/file") })
            if index % 10 == 0 { summary.add(.sample { $0.path = ascii("/busy/file") }) }
            if !summary.isApproximate { #expect(index < TraceSummary.limit) }
        }
        let rows = summary.topDirectories(.max)
        #expect(summary.isApproximate)
        #expect(rows.count <= TraceSummary.limit)
        #expect(rows.first == Row(name: "/busy", events: total / 10, bytes: UInt64(total / 10) * 512))
        #expect(summary.events == total + total / 10)
        #expect(summary.topProcesses(1).first?.events == summary.events)
    }
}
