import Datasets

/// Takes snapshots with `zfs snapshot`.
///
/// With OpenZFS all datasets of a pool go into one call, which is atomic: all of its snapshots are of one transaction
/// group, or there are none. When such a call fails, each dataset is tried alone, so that one that is gone does not
/// hold back the others. zfs-fuse takes one dataset a call.
public struct CommandEngine: SnapshotEngine {
    /// How many names are tried when they are taken.
    public static let nameTries = 5
    /// The most datasets in one call: with 255 bytes each it stays far below the argument list's 2 MiB.
    static let largestGroup = 500

    /// `zfs command`.
    public var name: String { "zfs command" }
    /// The command that is run.
    public let command: ZFSCommand
    /// Which ZFS it is for.
    public let flavour: ZFSFlavour
    /// How long one call may take; nil for the command's own limit.
    public let timeLimit: Duration?

    /// An engine that runs this command.
    public init(_ command: ZFSCommand, flavour: ZFSFlavour, timeLimit: Duration? = nil) {
        self.command = command
        self.flavour = flavour
        self.timeLimit = timeLimit
    }

    private typealias Item = SnapshotRequest.Item
    private typealias Outcome = Result<TakenSnapshot, SnapshotError>

    /// Takes the snapshots, pool after pool. Ask for pools separately, and at once, to have them not wait for another.
    public func snapshot(_ request: SnapshotRequest) async throws(SnapshotError) -> [SnapshotResult] {
        var outcomes: [Outcome?] = []
        var seen: Set<String> = []
        var pools: [String: [Int]] = [:]
        var order: [String] = []
        for (index, item) in request.items.enumerated() {
            let fault = item.fault(named: request.name, seen: &seen)
            outcomes.append(fault.map { .failure($0) })
            guard fault == nil else { continue }
            let pool = DatasetName.pool(of: item.dataset)
            if pools[pool] == nil { order.append(pool) }
            pools[pool, default: []].append(index)
        }

        let largest = flavour == .kernel ? Self.largestGroup : 1
        for pool in order {
            let indices = pools[pool] ?? []
            for start in stride(from: 0, to: indices.count, by: largest) {
                let part = indices[start..<min(start + largest, indices.count)]
                let taken = await take(part.map { request.items[$0] }, request.name)
                for (index, outcome) in zip(part, taken) { outcomes[index] = outcome }
            }
        }
        // Thrown only when no snapshot is lost by it: the command can vanish between two calls.
        if let missing = Self.commandMissing(outcomes) { throw .command(missing) }
        return zip(request.items, outcomes).compactMap { item, outcome in
            outcome.map { SnapshotResult(dataset: item.dataset, outcome: $0) }
        }
    }

    /// Snapshots datasets of one pool: together, and when that fails each alone.
    private func take(_ items: [Item], _ name: SnapshotName) async -> [Outcome] {
        let together = await call(items, name)
        switch together {
        case .success(let taken):
            guard items.count > 1 else { return [together] }
            var outcomes: [Outcome] = []
            for item in items {
                var own = taken
                own.warnings = await complete(item, of: items, own.name)
                outcomes.append(.success(own))
            }
            return outcomes
        case .failure(let error):
            guard items.count > 1, !isOfPool(error) else { return items.map { _ in together } }
            var outcomes: [Outcome] = []
            for item in items { outcomes.append(await call([item], name)) }
            return outcomes
        }
    }

    /// The error of having no command, when that and nothing else came of every call.
    private static func commandMissing(_ outcomes: [Outcome?]) -> ZFSError? {
        var missing: ZFSError?
        for outcome in outcomes {
            switch outcome {
            case .failure(.command(let error)) where error.kind == .commandMissing: missing = error
            case .failure(.invalidName), .failure(.duplicate), nil: break
            case .success, .failure: return nil
            }
        }
        return missing
    }

    /// Whether trying each dataset alone would fail the same way, and perhaps wait as long.
    private func isOfPool(_ error: SnapshotError) -> Bool {
        guard case .command(let error) = error else { return false }
        return switch error.kind {
        case .poolSuspended, .timedOut, .notRunning, .commandMissing: true
        case .datasetMissing, .exists, .noSpace, .permission, .busy, .usage, .invalidName, .outputTooLarge, .other:
            false
        }
    }

    /// One `zfs snapshot`, again with the next name while the name is taken.
    private func call(_ items: [Item], _ first: SnapshotName) async -> Outcome {
        let options = sharedProperties(of: items).flatMap { ["-o", $0.argument] }
        var name = first
        for _ in 0..<Self.nameTries {
            let targets = items.compactMap { name.full(dataset: $0.dataset) }
            let start = ContinuousClock.now
            do {
                try await command.run(["snapshot"] + options + targets, timeLimit: timeLimit)
                return .success(
                    TakenSnapshot(name: name, duration: ContinuousClock.now - start, groupSize: items.count)
                )
            } catch  where error.kind == .exists {
                name = name.next
            } catch {
                return .failure(.command(error))
            }
        }
        let datasets = items.map(\.dataset).joined(separator: " ")
        return .failure(.namesTaken(dataset: datasets, first: first, tries: Self.nameTries))
    }

    // MARK: Properties

    /// What `-o` gives to every snapshot of the call. A dataset alone gets its own; of a group those that are the same
    /// for all, how many they are, and a trigger, by which a snapshot is known as one of Kairos even when nothing else
    /// can be set on it.
    private func sharedProperties(of items: [Item]) -> [SnapshotProperty] {
        guard let first = items.first, items.count > 1 else { return items.first?.properties ?? [] }
        let others = items.dropFirst().map { Set($0.properties) }
        var shared = first.properties.filter { property in others.allSatisfy { $0.contains(property) } }
        if !shared.contains(where: { $0.name == SnapshotProperties.trigger }) {
            shared.insert(SnapshotProperty(known: SnapshotProperties.trigger, "group"), at: 0)
        }
        shared.append(SnapshotProperty(known: SnapshotProperties.group, "\(items.count)"))
        return shared
    }

    /// Sets what one snapshot of a group has for itself. It exists by now, whatever becomes of this.
    private func complete(_ item: Item, of items: [Item], _ name: SnapshotName) async -> [ZFSError] {
        let shared = Set(sharedProperties(of: items))
        let own = item.properties.filter { !shared.contains($0) }
        guard !own.isEmpty, let target = name.full(dataset: item.dataset) else { return [] }
        do {
            try await command.run(["set"] + own.map(\.argument) + [target], timeLimit: timeLimit)
            return []
        } catch {
            return [error]
        }
    }
}
