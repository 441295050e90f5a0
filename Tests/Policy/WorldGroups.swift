import Policy

/// What ZFS itself knows of a run, and tells where the profile has transaction groups.
extension World {
    /// The kernel wakes the daemon only when this makes the dataset dirty.
    mutating func dirty(commit: Bool) {
        disturb(by: .zero)
        let wasDirty = changes[captured...].contains { $0.isGrouped }
        let index = change(known: now)
        changes[index].isGrouped = true
        changes[index].commit = commit
        if !wasDirty { observe() }
    }

    /// As the daemon reads the slot: not while an attempt is in flight.
    mutating func readGroups() {
        guard profile.hasGroups, flight == nil else { return }
        let atRisk = changes[captured...].filter(\.isGrouped)
        if let first = atRisk.first, let last = atRisk.last {
            feedTwice(.dirty(first: first.time, last: last.time, commit: last.commit))
        } else {
            if !changes[captured...].contains(where: { $0.known != nil }) { failures.snapshots = 0 }
            feedTwice(.captured)
        }
    }

    /// ZFS has its word on it at once, and the daemon later: with groups by reading the slot, else by the end of the
    /// command, after which it has to look.
    mutating func settleByOthers() {
        // Stores to mappings are in no snapshot that nobody flushed for; and of two snapshots at once only ZFS knows the order.
        guard flight == nil, !profile.hasGroups || changes[captured...].allSatisfy(\.isGrouped) else { return }
        disturb(by: .zero)
        counts.settledByOthers += captured < changes.count ? 1 : 0
        captured = changes.count
        if !profile.hasGroups { feed(.doubted(at: now)) }
        observe()
    }
}
