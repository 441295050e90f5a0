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

    static let name = "zfs command"

    /// `zfs command`.
    public var name: String { Self.name }
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

    /// Takes the snapshots, pool after pool. Ask for pools separately, and at once, to have them not wait for another.
    public func snapshot(_ request: SnapshotRequest) async throws(SnapshotError) -> [SnapshotResult] {
        let largest = flavour == .kernel ? Self.largestGroup : 1
        let results = await request.results(largest: largest) { await take($0, request.name) }
        // Thrown only when no snapshot is lost by it: the command can vanish between two calls.
        if let missing = Self.commandMissing(results) { throw .command(missing) }
        return results
    }

    /// Snapshots datasets of one pool: together, and when that fails each alone.
    private func take(_ items: [SnapshotRequest.Item], _ name: SnapshotName) async -> [SnapshotOutcome] {
        let properties = GroupProperties(of: items)
        let together = await call(items, properties, name)
        switch together {
        case .success(let taken):
            guard items.count > 1 else { return [together] }
            var outcomes: [SnapshotOutcome] = []
            for item in items {
                var own = taken
                own.warnings = await properties.complete(item, own.name, by: command, timeLimit: timeLimit)
                outcomes.append(.success(own))
            }
            return outcomes
        case .failure(let error):
            if case .command(let error) = error, error.kind.concernsPool { return items.map { _ in together } }
            guard items.count > 1 else { return [together] }
            var outcomes: [SnapshotOutcome] = []
            for item in items { outcomes.append(await call([item], GroupProperties(of: [item]), name)) }
            return outcomes
        }
    }

    /// The error of having no command, when that and nothing else came of every call.
    private static func commandMissing(_ results: [SnapshotResult]) -> ZFSError? {
        var missing: ZFSError?
        for result in results {
            switch result.outcome {
            case .failure(.command(let error)) where error.kind == .commandMissing: missing = error
            case .failure(.invalidName), .failure(.duplicate): break
            case .success, .failure: return nil
            }
        }
        return missing
    }

    /// One `zfs snapshot`, again with the next name while the name is taken.
    private func call(
        _ items: [SnapshotRequest.Item], _ properties: GroupProperties, _ first: SnapshotName
    ) async -> SnapshotOutcome {
        let options = properties.shared.flatMap { ["-o", $0.argument] }
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
}
