/// How old a snapshot is. Not by the wall clock alone: one that jumps forward by a year would make everything a year old at once.
///
/// All snapshots of a pool are witnesses. Time between two of them, in the order of their times, counts up to a limit and no further: whatever
/// happened in between, a jump or a machine that was off, nobody lost more than that. What the clock calls the future has no age.
public struct RetentionClock: Sendable {
    /// The longest time between two snapshots that counts, nanoseconds: a week, or what the rule itself leaves between two.
    let longestGap: Int64
    /// Nanoseconds since 1970.
    public let now: Int64
    /// Up to now, the oldest first.
    private let times: [Int64]

    /// - Parameter times: of the pool's snapshots, in any order, nanoseconds since 1970.
    public init(now: Int64, times: some Sequence<Int64>, rule: RetentionRule) {
        self.now = now
        let steps = rule.tiers.compactMap { $0.step?.clampedNanoseconds }
        longestGap = max(7 * 86_400_000_000_000, (steps.max() ?? 0).multipliedReportingOverflow(by: 2).partialValue)
        self.times = times.filter { $0 <= now }.sorted()
    }

    /// The time before which everything is older than a span. `Int64.min`: nothing is.
    public func cutoff(_ span: Int64) -> Int64 {
        var left = span
        var later = now
        for time in times.reversed() {
            let gap = later.subtractingReportingOverflow(time)
            let counts = min(gap.overflow ? .max : gap.partialValue, longestGap)
            if left <= counts {
                // Within a time of which only a part counts there is no snapshot: its end is as good as any place in it.
                return counts == longestGap && later - time > counts ? time : later - left
            }
            left -= counts
            later = time
        }
        return .min
    }
}
