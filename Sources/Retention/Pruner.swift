import Datasets
import Snapshots

/// Destroys snapshots, and nothing that ZFS would have to be forced to.
public struct Pruner: Sendable {
    /// What became of the snapshots of one dataset that were to go, by the names after `@`.
    public struct Outcome: Sendable, Hashable {
        public var destroyed: [String] = []
        /// Not there any more when it was their turn.
        public var gone: [String] = []
        /// In use: held, cloned or bookmarked since they were listed, being sent. The next time they are tried again.
        public var busy: [String] = []
        /// Not destroyed, for the reasons in `errors`.
        public var failed: [String] = []
        /// Not tried, since the dataset is not what the plan was made of any more, or Kairos is stopping.
        public var left: [String] = []
        /// Printable, of what was left.
        public var why: String?
        public var errors: [ZFSError] = []
    }

    /// The most in one call: an argument of 100 of Kairos's names is 3 KiB, of Linux's 128 for one.
    static let batch = 100

    /// The command that is run.
    public let command: ZFSCommand
    private let prefix: SnapshotPrefix
    private let isStopped: @Sendable () -> Bool

    /// - Parameter isStopped: asked before each call; what is not destroyed by then stays.
    public init(
        _ command: ZFSCommand, prefix: SnapshotPrefix = .standard,
        isStopped: @escaping @Sendable () -> Bool = { false }
    ) {
        self.command = command
        self.prefix = prefix
        self.isStopped = isStopped
    }

    /// Destroys what a plan says: a hundred with one call, which ZFS does as a whole or not at all; one by one where that fails or is not to
    /// be had.
    ///
    /// Before each call the dataset is looked at again. A rollback, somebody else's `zfs destroy`, a dataset renamed over it: what the
    /// plan relied on may be gone, and what it calls superfluous may be all that is left.
    public func destroy(_ retention: DatasetRetention) async -> Outcome {
        await destroy(retention.plan.doomed, of: retention)
    }

    /// Some of the snapshots of a plan.
    public func destroy(_ doomed: [RetainedSnapshot], of retention: DatasetRetention) async -> Outcome {
        var outcome = Outcome()
        var isAlone = false
        let names = Set(doomed.map(\.name))
        let kept = retention.plan.verdicts.map(\.snapshot).filter { !names.contains($0.name) }
        for start in stride(from: 0, to: doomed.count, by: Self.batch) {
            var some = Array(doomed[start..<min(start + Self.batch, doomed.count)])
            func leave(_ why: String) -> Outcome {
                outcome.left += doomed[start...].map(\.name)
                outcome.why = why
                return outcome
            }
            guard !isStopped() else { return leave("stopped") }
            do throws(ZFSError) {
                if let why = try await change(of: retention, kept: kept, &some, &outcome) { return leave(why) }
            } catch {
                outcome.errors.append(error)
                outcome.failed += doomed[start...].map(\.name)
                return outcome
            }
            guard await destroy(some.map(\.name), of: retention.dataset, &isAlone, &outcome) else {
                outcome.failed += doomed[min(start + Self.batch, doomed.count)...].map(\.name)
                return outcome
            }
        }
        return outcome
    }

    /// Whether the dataset is still what the plan was made of; takes what may not go any more out of a batch.
    ///
    /// - Returns: why nothing of it may be destroyed. Printable.
    private func change(
        of retention: DatasetRetention, kept: [RetainedSnapshot], _ batch: inout [RetainedSnapshot],
        _ outcome: inout Outcome
    ) async throws(ZFSError) -> String? {
        let catalog = SnapshotCatalog(command)
        guard try await catalog.guid(of: retention.dataset) == retention.guid else {
            return "another dataset has its name now"
        }
        let now = try await catalog.snapshots(of: retention.dataset, prefix: prefix)
        let there = Dictionary(now.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        for snapshot in kept where there[snapshot.name]?.guid != snapshot.guid {
            return "its snapshots were changed by somebody else meanwhile"
        }
        batch = batch.filter { snapshot in
            guard let current = there[snapshot.name], current.guid == snapshot.guid else {
                outcome.gone.append(snapshot.name)
                return false
            }
            guard current.protections.isEmpty else {
                outcome.busy.append(snapshot.name)
                return false
            }
            return true
        }
        return nil
    }

    /// - Returns: whether to go on with the dataset.
    private func destroy(
        _ names: [String], of dataset: String, _ isAlone: inout Bool, _ outcome: inout Outcome
    ) async -> Bool {
        if !isAlone, names.count > 1 {
            do throws(ZFSError) {
                try await command.run(["destroy", dataset + "@" + names.joined(separator: ",")])
                outcome.destroyed += names
                return true
            } catch {
                guard !error.kind.concernsPool else {
                    outcome.failed += names
                    outcome.errors.append(error)
                    return false
                }
                // zfs-fuse has no such call.
                if error.kind == .invalidName || error.kind == .usage || error.kind == .datasetMissing {
                    isAlone = true
                }
            }
        }
        for (position, name) in names.enumerated() {
            guard !isStopped() else {
                outcome.left += names[position...]
                outcome.why = "stopped"
                return true
            }
            do throws(ZFSError) {
                try await command.run(["destroy", dataset + "@" + name])
                outcome.destroyed.append(name)
            } catch {
                switch error.kind {
                case .datasetMissing: outcome.gone.append(name)
                case .busy: outcome.busy.append(name)
                case _ where error.stderr.contains(where: { $0.contains("dependent clones") }):
                    outcome.busy.append(name)
                case let kind where kind.concernsPool:
                    outcome.failed += names[position...]
                    outcome.errors.append(error)
                    return false
                default:
                    outcome.failed.append(name)
                    outcome.errors.append(error)
                }
            }
        }
        return true
    }
}
