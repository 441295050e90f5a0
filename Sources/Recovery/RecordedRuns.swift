import Datasets

/// Which snapshots have the same at a path as an earlier one, as it was written down.
///
/// A change that was done while a snapshot was taken may be in it, and noted with the next one. So what is noted, and what is not known in
/// full, leaves Kairos's snapshot before it to be looked at as well; and the newest one, whose next one is still to come.
struct RecordedRuns {
    /// By snapshot: an earlier one with the same; nil where it has to be looked at.
    let same: [Int?]

    /// - Parameters:
    ///   - known: Kairos's snapshots: true where each change since the one before is recorded.
    ///   - changed: those that captured a change.
    init(_ snapshots: [Snapshot], known: [String: Bool], changed: Set<String>) {
        var result: [Int?] = Array(repeating: nil, count: snapshots.count)
        var before: Int?
        for (index, snapshot) in snapshots.enumerated() {
            // A row names the change between two of Kairos's own snapshots, whatever others lie between them.
            guard let isWhole = known[snapshot.name] else { continue }
            if isWhole, !changed.contains(snapshot.name) {
                result[index] = before
            } else if let before {
                result[before] = nil
            }
            before = index
        }
        if let before { result[before] = nil }
        same = result
    }

    /// The first one of those with the same.
    func first(_ index: Int) -> Int {
        var first = index
        while let earlier = same[first] { first = earlier }
        return first
    }
}
