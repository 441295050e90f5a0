/// How old a snapshot is. Not by the wall clock alone: one that jumps forward by a year would make everything a year old at once.
///
/// All snapshots of a pool are witnesses. Time between two of them, in the order of their times, counts in full up to a week, or up to two steps
/// of the tier that asks. A longer pause may be a jump of the clock as well as a machine that was off: it counts as one step of the tier,
/// or a tenth of its span where it keeps all. So no tier loses more by it than its oldest slot, and what is made once in a month still grows
/// old. What the clock calls the future has no age. Jumps that are known count as nothing.
public struct RetentionClock: Sendable {
    /// Nanoseconds since 1970.
    public let now: Int64
    /// Up to now, the oldest first.
    private let times: [Int64]
    /// Up to now, in the order of their transaction groups.
    let moments: [PoolMoment]
    private let leaps: ClockLeaps

    /// A pause of up to so many nanoseconds counts in full.
    static let week: Int64 = 7 * 86_400_000_000_000

    /// - Parameters:
    ///   - times: of the pool's snapshots, in any order, nanoseconds since 1970.
    ///   - moments: of the pool's snapshots and datasets, in any order.
    ///   - leaps: how the clock is known to have been set.
    public init(
        now: Int64, times: some Sequence<Int64>, moments: some Sequence<PoolMoment> = [],
        leaps: ClockLeaps = ClockLeaps()
    ) {
        self.now = now
        self.times = times.filter { $0 <= now }.sorted()
        self.moments = moments.filter { $0.time <= now }.sorted { ($0.createtxg, $0.time) < ($1.createtxg, $1.time) }
        self.leaps = leaps
    }

    /// The time before which everything is older than a tier's span. `Int64.min`: nothing is.
    public func cutoff(_ tier: RetentionRule.Tier) -> Int64 {
        let span = tier.span.clampedNanoseconds
        let step = tier.step?.clampedNanoseconds
        let (twice, over) = (step ?? 0).multipliedReportingOverflow(by: 2)
        let longest = max(Self.week, over ? .max : twice)
        var left = span
        var later = now
        for time in times.reversed() {
            let (gap, over) = later.subtractingReportingOverflow(time)
            let leapt = over ? 0 : leaps.length(from: time, to: later)
            if over || gap - leapt > longest {
                // Within such a pause there is no snapshot: its end is as good as any place in it.
                let counts = step ?? span / 10
                if left <= counts { return time }
                left -= counts
            } else if left <= gap - leapt {
                // The same of a pause with a leap in it.
                return leapt > 0 ? time : later - left
            } else {
                left -= gap - leapt
            }
            later = time
        }
        return .min
    }
}

/// What a process saw of the wall clock being set forward: spans of time that the clock showed and that never were.
public struct ClockLeaps: Sendable, Hashable {
    /// Without overlap, the oldest first, at most `most`.
    private var spans: [Range<Int64>] = []

    private static let most = 100

    public init() {}

    /// The clock was set from one time to another, nanoseconds since 1970. Between them nothing happened, as far as is known.
    public mutating func note(from: Int64, to: Int64) {
        // From a time on that the clock goes back to, it goes through all of it again.
        spans = spans.compactMap { span in
            let end = min(span.upperBound, from, to)
            return span.lowerBound < end ? span.lowerBound..<end : nil
        }
        if from < to { spans.append(from..<to) }
        if spans.count > Self.most { spans.removeFirst() }
    }

    /// How much of the time between two times never was: nanoseconds.
    func length(from: Int64, to: Int64) -> Int64 {
        guard from < to else { return 0 }
        return spans.reduce(0) { sum, span in
            let common = span.clamped(to: from..<to)
            return sum + (common.upperBound - common.lowerBound)
        }
    }
}
