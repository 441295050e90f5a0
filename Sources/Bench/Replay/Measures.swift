/// What a contender's snapshots were worth: the figures of docs/benchmark.md.
public struct Measures: Sendable, Hashable {
    /// Begun within the history, or afterwards for its last changes.
    public var snapshots = 0
    /// Those without a change since the one before.
    public var empty = 0
    /// Versions of files that were at rest for over a second, and how many of them are in a snapshot.
    public var versions = 0
    public var versionsCaptured = 0
    /// Files that were deleted or replaced by a rename after they had been written, and of how many the last content is in a
    /// snapshot.
    public var deleted = 0
    public var deletedCaptured = 0
    /// How long changes were in no snapshot, nanoseconds; by length.
    public var windows: [UInt64] = []
    /// Changes that never came into one.
    public var uncaptured = 0
    /// The integral of what was at risk over time, from the history's start to its end, in bytes times seconds.
    public var byteSeconds = 0.0
    /// How long the histories are together, seconds.
    public var seconds = 0.0

    public init() {}

    /// How long a version has to be at rest to count.
    public static let rest: UInt64 = 1_000_000_000

    /// - Parameter snapshots: by the time of what they hold.
    public init(of history: DatasetHistory, _ snapshots: [TakenAt]) {
        self.snapshots = snapshots.count
        seconds = Double(history.end - history.start) / 1e9
        windows.reserveCapacity(history.changes.count)
        var next = 0
        for snapshot in snapshots {
            let first = next
            while next < history.changes.count, history.changes[next].time <= snapshot.captured {
                let change = history.changes[next]
                add(change, until: snapshot.finished, end: history.end)
                next += 1
            }
            if next == first { empty += 1 }
        }
        let end = max(history.end, snapshots.last?.finished ?? 0)
        uncaptured = history.changes.count - next
        while next < history.changes.count {
            add(history.changes[next], until: end, end: history.end)
            next += 1
        }
        windows.sort()
        count(history.versions, snapshots)
    }

    private mutating func add(_ change: DatasetHistory.Change, until finished: UInt64, end: UInt64) {
        windows.append(finished - min(finished, change.time))
        // The day ends for all at the same time, however late the next tick of a clock is.
        byteSeconds += Double(change.bytes) * (Double(max(min(finished, end), change.time) - change.time) / 1e9)
    }

    private mutating func count(_ all: [DatasetHistory.Version], _ snapshots: [TakenAt]) {
        for version in all {
            let isCaptured = Self.first(snapshots, from: version.born).map { $0.captured < version.ended } ?? false
            // What is still there when all is over was never lost: a later snapshot would have it.
            let holds = isCaptured || (version.end == .open && Self.first(snapshots, from: version.born) != nil)
            if version.ended - version.born > Self.rest {
                versions += 1
                versionsCaptured += holds ? 1 : 0
            }
            if version.end == .deleted {
                deleted += 1
                deletedCaptured += holds ? 1 : 0
            }
        }
    }

    /// The first snapshot that holds what was there at `time`.
    private static func first(_ snapshots: [TakenAt], from time: UInt64) -> TakenAt? {
        var (low, high) = (0, snapshots.count)
        while low < high {
            let middle = low + (high - low) / 2
            if snapshots[middle].captured >= time { high = middle } else { low = middle + 1 }
        }
        return low < snapshots.count ? snapshots[low] : nil
    }

    /// The window that this share of all changes does not exceed, nanoseconds; nil without changes. By nearest rank.
    public func window(quantile: Double) -> UInt64? {
        guard !windows.isEmpty else { return nil }
        let rank = Int((quantile * Double(windows.count)).rounded(.up))
        return windows[min(max(rank, 1), windows.count) - 1]
    }

    /// Bytes at risk on average.
    public var meanAtRisk: Double { seconds > 0 ? byteSeconds / seconds : 0 }

    /// Of several datasets together: the mean at risk is that of all of them at a time.
    public static func sum(_ all: [Measures]) -> Measures {
        var sum = Measures()
        for one in all {
            sum.snapshots += one.snapshots
            sum.empty += one.empty
            sum.versions += one.versions
            sum.versionsCaptured += one.versionsCaptured
            sum.deleted += one.deleted
            sum.deletedCaptured += one.deletedCaptured
            sum.windows += one.windows
            sum.uncaptured += one.uncaptured
            sum.byteSeconds += one.byteSeconds
            sum.seconds = max(sum.seconds, one.seconds)
        }
        sum.windows.sort()
        return sum
    }
}
