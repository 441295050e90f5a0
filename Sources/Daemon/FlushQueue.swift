import Background
import Datasets
import Synchronization

/// Flushes stores to mappings before snapshots, on threads of its own, for no longer than a limit.
///
/// A flush can hang: the disk may not answer, and a user can make the kernel wait for itself (docs/facts.md,
/// `copy_file_range` within a file). Then the snapshot is taken without it: it holds all that was written, and may lack
/// stores to mappings. A flush that hangs goes on alone, and holds up no other dataset.
final class FlushQueue: Sendable {
    /// How long a snapshot or a check waits for its flushes. `syncfs` alone takes 5 s on OpenZFS 2.3.2.
    static let limit = Duration.seconds(15)

    typealias Work = @Sendable () -> [String]

    /// What a snapshot or a check has to know of a dataset's flush.
    struct Outcome: Equatable, Sendable {
        /// What was not flushed, and why.
        var warnings: [String]
        /// It goes on: `whenLate` tells when it has come back.
        var isPending = false
    }

    private struct State {
        /// Datasets, by GUID, with a flush that has not returned.
        var running: Set<UInt64> = []
        /// By pool, so that flushes that hang use up no thread of another one, nor of those that run ZFS commands.
        var threads: [String: WorkerThreads] = [:]
        /// Those that their callers gave up.
        var late: Set<UInt64> = []
    }

    private let state = Mutex(State())
    private let whenLate: @Sendable (UInt64) -> Void

    /// - Parameter whenLate: called with the dataset's GUID when a flush that was given up comes back.
    init(whenLate: @escaping @Sendable (UInt64) -> Void = { _ in }) { self.whenLate = whenLate }

    /// Runs the flush of each dataset, all at once. Blocks until they are done, at most for the limit.
    ///
    /// - Parameter works: by the dataset's GUID; each returns what it could not flush, as warnings.
    /// - Returns: of each dataset of which something was not flushed.
    func run(
        _ works: [(guid: UInt64, name: String, work: Work)], limit: Duration = FlushQueue.limit
    ) -> [UInt64: Outcome] {
        let results = Results()
        let done = Semaphore()
        var outcomes: [UInt64: Outcome] = [:]
        var begun: [(guid: UInt64, name: String)] = []
        for (guid, name, work) in works {
            // One thread for each dataset at most: what hangs is not tried again before it has come back.
            guard state.withLock({ $0.running.insert(guid).inserted }) else {
                outcomes[guid] = Outcome(
                    warnings: ["\(Self.incomplete(name)): an earlier flush still hangs"], isPending: true)
                continue
            }
            begun.append((guid, name))
            threads(of: DatasetName.pool(of: name)).perform {
                let found = work()
                results.value.withLock { $0[guid] = found }
                let isLate = self.state.withLock { state in
                    state.running.remove(guid)
                    return state.late.remove(guid) != nil
                }
                done.signal()
                if isLate { self.whenLate(guid) }
            }
        }
        let end = ContinuousClock.now + limit
        for _ in begun where !done.wait(for: end - .now) { break }
        for (guid, name) in begun {
            // Under the lock under which it ends: it is late, or has an answer.
            let isLate = state.withLock { state in
                state.running.contains(guid) && state.late.insert(guid).inserted
            }
            let found = results.value.withLock { $0[guid] }
            if isLate || found == nil {
                outcomes[guid] = Outcome(
                    warnings: ["\(Self.incomplete(name)): the flush timed out after \(limit)"], isPending: true)
            } else if let found, !found.isEmpty {
                outcomes[guid] = Outcome(warnings: found)
            }
        }
        return outcomes
    }

    private func threads(of pool: String) -> WorkerThreads {
        state.withLock { state in
            if let threads = state.threads[pool] { return threads }
            let threads = WorkerThreads(limit: 32)
            state.threads[pool] = threads
            return threads
        }
    }

    private static func incomplete(_ name: String) -> String {
        "\(SafeText.line(name)): stores to mapped files may be missing from the snapshot"
    }

    private final class Results: Sendable {
        let value = Mutex<[UInt64: [String]]>([:])
    }
}
