import Datasets
import Tracing

/// Who and what was busiest: counts by process, directory and operation. Bounded: of many names the rare ones go.
public struct TraceSummary: Sendable {
    public struct Row: Hashable, Sendable {
        public var name: String
        public var events: Int
        public var bytes: UInt64
    }

    private struct Count {
        var events = 0
        var bytes: UInt64 = 0
    }

    private struct Process: Hashable {
        var pid: UInt32
        var command: CommandName
    }

    /// So many names are kept apart.
    static let limit = 20_000

    private var processes: [Process: Count] = [:]
    private var directories: [[UInt8]: Count] = [:]
    private var operations: [Operations: Count] = [:]
    /// Rare names were dropped: the counts of what is left may be too low.
    public private(set) var isApproximate = false
    public private(set) var events = 0

    public init() {}

    public mutating func add(_ event: TraceEvent) {
        events += 1
        // A call that failed tells what it asked for.
        let bytes = event.operation == .write && event.errno == nil ? event.bytes ?? 0 : 0
        Self.add(Process(pid: event.pid, command: event.command), bytes, &processes, &isApproximate)
        Self.add(event.path.map(Self.directory) ?? [UInt8(ascii: "?")], bytes, &directories, &isApproximate)
        Self.add(event.operation, bytes, &operations, &isApproximate)
    }

    private static func directory(_ path: [UInt8]) -> [UInt8] {
        let slash = UInt8(ascii: "/")
        guard let last = path.lastIndex(of: slash) else { return path }
        return last == 0 ? [slash] : Array(path[..<last])
    }

    private static func add<Key>(
        _ key: Key, _ bytes: UInt64, _ counts: inout [Key: Count], _ isApproximate: inout Bool
    ) {
        if counts.count >= limit, counts[key] == nil {
            // The rarer half goes: what is busy is far above it.
            let middle = counts.values.map(\.events).sorted()[limit / 2]
            counts = counts.filter { $0.value.events > middle }
            isApproximate = true
        }
        counts[key, default: Count()].events += 1
        // A recording can hold any number.
        let (sum, isTooMuch) = counts[key, default: Count()].bytes.addingReportingOverflow(bytes)
        counts[key, default: Count()].bytes = isTooMuch ? .max : sum
    }

    public func topProcesses(_ count: Int) -> [Row] {
        Self.top(processes, count) { "\(SafeText.line($0.command.bytes))[\($0.pid)]" }
    }

    public func topDirectories(_ count: Int) -> [Row] {
        Self.top(directories, count) { SafeText.line($0, limit: 4096) }
    }
    public func topOperations(_ count: Int) -> [Row] { Self.top(operations, count) { $0.word } }

    private static func top<Key>(_ counts: [Key: Count], _ count: Int, name: (Key) -> String) -> [Row] {
        counts.map { Row(name: name($0.key), events: $0.value.events, bytes: $0.value.bytes) }
            .sorted { ($1.events, $1.bytes, $0.name) < ($0.events, $0.bytes, $1.name) }
            .prefix(count).map(\.self)
    }
}
