/// When a dataset's tree was in which state: what a snapshot's digest says about the changes that it holds.
struct TreeStates {
    /// Digest to the steps after which the tree had it; -1: before all of them.
    private var steps: [TreeDigest: [Int]]
    private let moments: [ScriptRunner.Moment]

    /// - Parameters:
    ///   - digests: of the tree after each step.
    ///   - moments: of the steps that were done; perhaps not all.
    init(start: TreeDigest, digests: [TreeDigest], moments: [ScriptRunner.Moment]) {
        steps = [start: [-1]]
        for (number, digest) in digests.prefix(moments.count).enumerated() { steps[digest, default: []].append(number) }
        self.moments = moments
    }

    /// The last step that a snapshot holds, not before the one that its predecessor holds; -1: none.
    ///
    /// A tree may have been the same several times, as when a temporary file came and went: it is the time that was nearest to when the
    /// snapshot was taken. One with a digest that no state has was taken within a change, and counts as what was there before it.
    func held(_ digest: TreeDigest, by snapshot: LiveSnapshot, after last: Int) -> (step: Int, isBetween: Bool) {
        let known = (steps[digest] ?? []).filter { $0 >= last }
        if let step = known.min(by: { distance($0, snapshot) < distance($1, snapshot) }) { return (step, false) }
        let begun = (moments.firstIndex { $0.done > snapshot.began } ?? moments.count) - 1
        return (max(last, begun), true)
    }

    /// From the time in which the tree was so to the one in which the snapshot was taken, nanoseconds; 0 where they meet.
    private func distance(_ step: Int, _ snapshot: LiveSnapshot) -> UInt64 {
        let from = step < 0 ? 0 : moments[step].began
        let to = step + 1 < moments.count ? moments[step + 1].done : .max
        if snapshot.finished < from { return from - snapshot.finished }
        return snapshot.began > to ? snapshot.began - to : 0
    }
}
