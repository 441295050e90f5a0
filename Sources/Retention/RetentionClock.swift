/// How old a snapshot is. Not by the wall clock alone: one that jumps forward by a year would make everything a year old at once.
///
/// All snapshots of a pool are witnesses. Time between two of them, in the order of their times, counts in full up to a week, or up to two steps
/// of the tier that asks. A longer pause may be a jump of the clock as well as a machine that was off: it counts as one step of the tier,
/// or a tenth of its span where it keeps all. So no tier loses more by it than its oldest slot, and what is made once in a month still grows
/// old. What the clock calls the future has no age.
public struct RetentionClock: Sendable {
    /// Nanoseconds since 1970.
    public let now: Int64
    /// Up to now, the oldest first.
    private let times: [Int64]

    /// A pause of up to so many nanoseconds counts in full.
    static let week: Int64 = 7 * 86_400_000_000_000

    /// - Parameter times: of the pool's snapshots, in any order, nanoseconds since 1970.
    public init(now: Int64, times: some Sequence<Int64>) {
        self.now = now
        self.times = times.filter { $0 <= now }.sorted()
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
            if over || gap > longest {
                // Within such a pause there is no snapshot: its end is as good as any place in it.
                let counts = step ?? span / 10
                if left <= counts { return time }
                left -= counts
            } else {
                if left <= gap { return later - left }
                left -= gap
            }
            later = time
        }
        return .min
    }
}
