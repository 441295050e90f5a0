import Datasets

/// Destroys snapshots, and nothing that ZFS would have to be forced to.
public struct Pruner: Sendable {
    /// What became of the snapshots of one dataset, by the names after `@`.
    public struct Outcome: Sendable, Hashable {
        /// Destroyed; or gone already, when it was their turn.
        public var destroyed: [String] = []
        /// In use: held or cloned since they were listed, being sent. The next time they are tried again.
        public var busy: [String] = []
        /// Not destroyed, with the command's reasons; the rest of the dataset was not tried when it was about the pool.
        public var failed: [String] = []
        public var errors: [ZFSError] = []
    }

    /// The most in one call: an argument of 100 of Kairos's names is 3 KiB, of Linux's 128 for one.
    static let batch = 100

    /// The command that is run.
    public let command: ZFSCommand

    public init(_ command: ZFSCommand) { self.command = command }

    /// Destroys snapshots of one dataset: many with one call, which ZFS does as a whole or not at all; one by one where that fails or is
    /// not to be had.
    ///
    /// - Parameter names: after `@`, of Kairos's making: a comma would begin another one.
    public func destroy(_ names: [String], of dataset: String) async -> Outcome {
        var outcome = Outcome()
        var isAlone = false
        for start in stride(from: 0, to: names.count, by: Self.batch) {
            let some = Array(names[start..<min(start + Self.batch, names.count)])
            if !isAlone, some.count > 1 {
                do throws(ZFSError) {
                    try await command.run(["destroy", dataset + "@" + some.joined(separator: ",")])
                    outcome.destroyed += some
                    continue
                } catch {
                    guard !error.kind.concernsPool else {
                        outcome.failed += names[start...]
                        outcome.errors.append(error)
                        return outcome
                    }
                    // zfs-fuse has no such call.
                    if error.kind == .invalidName || error.kind == .usage || error.kind == .datasetMissing {
                        isAlone = true
                    }
                }
            }
            for (position, name) in some.enumerated() {
                do throws(ZFSError) {
                    try await command.run(["destroy", dataset + "@" + name])
                    outcome.destroyed.append(name)
                } catch {
                    switch error.kind {
                    case .datasetMissing: outcome.destroyed.append(name)
                    case .busy: outcome.busy.append(name)
                    case _ where error.stderr.contains(where: { $0.contains("dependent clones") }):
                        outcome.busy.append(name)
                    case let kind where kind.concernsPool:
                        outcome.failed += names[(start + position)...]
                        outcome.errors.append(error)
                        return outcome
                    default:
                        outcome.failed.append(name)
                        outcome.errors.append(error)
                    }
                }
            }
        }
        return outcome
    }
}
