/// How many bytes were in no snapshot, over time.
public struct RiskCurve: Sendable, Hashable {
    /// Columns of equal width from the history's start to its end.
    public struct Column: Sendable, Hashable {
        /// Nanoseconds since the start, of the column's left edge.
        public var time: UInt64
        public var highest: UInt64
        /// At its right edge.
        public var last: UInt64
    }

    public var columns: [Column]

    /// Of several datasets together.
    ///
    /// - Parameter count: how many columns.
    public init(of all: [(history: DatasetHistory, snapshots: [TakenAt])], columns count: Int = 1200) {
        let start = all.map(\.history.start).min() ?? 0
        let end = all.map(\.history.end).max() ?? 0
        var steps: [(time: UInt64, bytes: Int64)] = []
        for (history, snapshots) in all {
            var next = 0
            for snapshot in snapshots {
                var freed: Int64 = 0
                while next < history.changes.count, history.changes[next].time <= snapshot.captured {
                    freed += Int64(clamping: history.changes[next].bytes)
                    next += 1
                }
                if freed > 0 { steps.append((snapshot.finished, -freed)) }
            }
            steps += history.changes.lazy.filter { $0.bytes > 0 }.map { ($0.time, Int64(clamping: $0.bytes)) }
        }
        // What is captured in the moment in which something changes is captured first: both were at risk, one after the other.
        steps.sort { ($0.time, $0.bytes) < ($1.time, $1.bytes) }
        columns = []
        guard end > start, count > 0 else { return }
        var now: Int64 = 0
        var next = 0
        for column in 0..<count {
            let right = start + UInt64((Double(end - start) * Double(column + 1) / Double(count)).rounded())
            var highest = now
            while next < steps.count, steps[next].time <= right {
                now += steps[next].bytes
                highest = max(highest, now)
                next += 1
            }
            let left = UInt64(Double(end - start) * Double(column) / Double(count))
            columns.append(Column(time: left, highest: UInt64(max(highest, 0)), last: UInt64(max(now, 0))))
        }
    }
}
