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

    private let limit: Duration
    /// Apart from those that run ZFS commands, so that flushes that hang use none of those up.
    private let threads = WorkerThreads(limit: 64)
    /// Datasets, by GUID, with a flush that has not returned.
    private let running = Mutex<Set<UInt64>>([])

    init(limit: Duration = FlushQueue.limit) { self.limit = limit }

    /// Runs the flush of each dataset, all at once. Blocks until they are done, at most for the limit.
    ///
    /// - Parameter works: by the dataset's GUID; each returns what it could not flush, as warnings.
    /// - Returns: the warnings of each dataset that has any. One that did not end in time has one.
    func run(_ works: [(guid: UInt64, name: String, work: Work)]) -> [UInt64: [String]] {
        let results = Results()
        let done = Semaphore()
        var warnings: [UInt64: [String]] = [:]
        var begun: [(guid: UInt64, name: String)] = []
        for (guid, name, work) in works {
            // One thread for each dataset at most: what hangs is not tried again before it has come back.
            guard running.withLock({ $0.insert(guid).inserted }) else {
                warnings[guid] = ["\(Self.incomplete(name)): an earlier flush still hangs; Kairos checks again later"]
                continue
            }
            begun.append((guid, name))
            threads.perform {
                let found = work()
                results.value.withLock { $0[guid] = found }
                self.running.withLock { _ = $0.remove(guid) }
                done.signal()
            }
        }
        let end = ContinuousClock.now + limit
        for _ in begun where !done.wait(for: end - .now) { break }
        let answered = results.value.withLock { $0 }
        for (guid, name) in begun {
            guard let found = answered[guid] else {
                warnings[guid] = [
                    "\(Self.incomplete(name)): the flush timed out after \(limit); Kairos checks again later"
                ]
                continue
            }
            if !found.isEmpty { warnings[guid] = found }
        }
        return warnings
    }

    private static func incomplete(_ name: String) -> String {
        "\(SafeText.line(name)): stores to mapped files may be missing from the snapshot"
    }

    private final class Results: Sendable {
        let value = Mutex<[UInt64: [String]]>([:])
    }
}
