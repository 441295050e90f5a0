import Datasets

typealias SnapshotOutcome = Result<TakenSnapshot, SnapshotError>

extension SnapshotRequest {
    /// Refuses the items that no engine could snapshot, and has the others taken, pool after pool.
    ///
    /// - Parameters:
    ///   - largest: how many datasets one call may have.
    ///   - take: snapshots datasets of one pool; returns an outcome for each.
    func results(largest: Int, take: ([Item]) async -> [SnapshotOutcome]) async -> [SnapshotResult] {
        var outcomes: [SnapshotOutcome?] = []
        var seen: Set<String> = []
        var pools: [String: [Int]] = [:]
        var order: [String] = []
        for (index, item) in items.enumerated() {
            let fault = item.fault(named: name, seen: &seen)
            outcomes.append(fault.map { .failure($0) })
            guard fault == nil else { continue }
            let pool = DatasetName.pool(of: item.dataset)
            if pools[pool] == nil { order.append(pool) }
            pools[pool, default: []].append(index)
        }
        for pool in order {
            let indices = pools[pool] ?? []
            for start in stride(from: 0, to: indices.count, by: largest) {
                let part = indices[start..<min(start + largest, indices.count)]
                let taken = await take(part.map { items[$0] })
                for (index, outcome) in zip(part, taken) { outcomes[index] = outcome }
            }
        }
        return zip(items, outcomes).compactMap { item, outcome in
            outcome.map { SnapshotResult(dataset: item.dataset, outcome: $0) }
        }
    }
}

/// The properties of snapshots that one call takes. ZFS gives all of them the same; what differs is set afterwards.
struct GroupProperties {
    /// What the call gives to each. A dataset alone gets its own; of a group those that are the same for all, how many
    /// they are, and a trigger, by which a snapshot is known as one of Kairos even when nothing else can be set on it.
    let shared: [SnapshotProperty]

    init(of items: [SnapshotRequest.Item]) {
        guard let first = items.first, items.count > 1 else {
            shared = items.first?.properties ?? []
            return
        }
        let others = items.dropFirst().map { Set($0.properties) }
        var shared = first.properties.filter { property in others.allSatisfy { $0.contains(property) } }
        if !shared.contains(where: { $0.name == SnapshotProperties.trigger }) {
            shared.insert(SnapshotProperty(known: SnapshotProperties.trigger, "group"), at: 0)
        }
        shared.append(SnapshotProperty(known: SnapshotProperties.group, "\(items.count)"))
        self.shared = shared
    }

    /// Sets what one snapshot of the group has for itself, by `zfs set`. The snapshot exists by now, whatever becomes of
    /// this.
    ///
    /// - Returns: what went wrong.
    func complete(
        _ item: SnapshotRequest.Item, _ name: SnapshotName, by command: ZFSCommand, timeLimit: Duration?
    ) async -> [ZFSError] {
        let given = Set(shared)
        let own = item.properties.filter { !given.contains($0) }
        guard !own.isEmpty, let target = name.full(dataset: item.dataset) else { return [] }
        do {
            try await command.run(["set"] + own.map(\.argument) + [target], timeLimit: timeLimit)
            return []
        } catch {
            return [error]
        }
    }
}
