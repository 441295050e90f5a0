/// How many snapshots of a dataset there may be before they come more slowly: `kairos:max-snapshots`.
///
/// From four fifths of it on, each further step towards it makes the pause between two of them longer, from a second to an hour. So a storm
/// of changes ends in fewer snapshots and not in a pool that takes minutes to list them, and no change is given up: it waits longer.
public struct SnapshotBudget: Sendable, Hashable {
    /// At least 10.
    public let limit: Int

    public static let standard = SnapshotBudget(unchecked: 2000)
    static let longestPause: Int64 = 3600

    private init(unchecked limit: Int) { self.limit = limit }

    /// A number from 10 to a million; nil for what is none.
    public init?(parsing text: String) {
        guard let limit = Int(text), (10...1_000_000).contains(limit) else { return nil }
        self.init(unchecked: limit)
    }

    public enum Level: Int, Sendable, Hashable, Comparable {
        case free, near, spent
        public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    }

    /// Where pauses begin to grow.
    public var near: Int { limit - limit / 5 }

    public func level(_ count: Int) -> Level { count >= limit ? .spent : count >= near ? .near : .free }

    /// The shortest time between two snapshots when there are so many; nil while that is nobody's matter.
    public func pause(_ count: Int) -> Duration? {
        guard count >= near else { return nil }
        guard count < limit else { return .seconds(Self.longestPause) }
        // 1 s to an hour: doubled 11.75 times on the way, in straight lines from one power of two to the next.
        let way = Double(count - near) / Double(limit - near) * 11.75
        let whole = Int(way)
        return .seconds(1 << whole) + .seconds(1 << whole) * (way - Double(whole))
    }
}

extension Settings {
    /// These, with pauses of at least so long.
    public func paced(_ pause: Duration?) -> Settings {
        guard let pause else { return self }
        var slower = self
        slower.minInterval = max(minInterval, pause)
        slower.maxDelay = max(maxDelay, pause)
        return slower
    }
}
