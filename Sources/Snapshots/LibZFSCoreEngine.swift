import Datasets
import SystemPackage

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Takes snapshots with `lzc_snapshot()` of libzfs_core: no process for each, and the kernel's own word on what failed.
///
/// All datasets of a pool go into one call, which is atomic: all of its snapshots are of one transaction group, or there
/// are none. When such a call fails, the datasets with an error of their own get that, and the others are tried again
/// together, without them.
///
/// A call that does not come back within the time limit goes on in the kernel; nothing can end it. Its datasets have
/// failed with `.timedOut` then, and may have got their snapshots all the same. No other call is made on that pool until
/// it has returned; what it came to is a warning on the pool's next snapshot.
struct LibZFSCoreEngine: SnapshotEngine {
    /// The most datasets in one call, as with the command.
    static let largestGroup = CommandEngine.largestGroup

    /// `libzfs_core`.
    static let name = "libzfs_core"
    var name: String { Self.name }

    private let core: ZFSCore
    private let calls: PoolCalls
    /// For the properties in which the datasets of one call differ: libzfs_core has no call that sets any.
    private let command: ZFSCommand
    private let timeLimit: Duration?

    /// - Parameters:
    ///   - calls: one for all engines that live at a time, since it knows which pools do not answer.
    ///   - timeLimit: how long one call may take; nil for the command's own limit.
    init(_ core: ZFSCore, _ calls: PoolCalls, command: ZFSCommand, timeLimit: Duration? = nil) {
        self.core = core
        self.calls = calls
        self.command = command
        self.timeLimit = timeLimit ?? command.timeLimit
    }

    private typealias Item = SnapshotRequest.Item

    /// Takes the snapshots, pool after pool. Ask for pools separately, and at once, to have them not wait for another.
    func snapshot(_ request: SnapshotRequest) async -> [SnapshotResult] {
        await request.results(largest: Self.largestGroup) { await take($0, request.name) }
    }

    /// Snapshots datasets of one pool.
    private func take(_ items: [Item], _ first: SnapshotName) async -> [SnapshotOutcome] {
        var outcomes: [SnapshotOutcome?] = Array(repeating: nil, count: items.count)
        var open = Array(items.indices)
        var name = first
        var tries = 1
        // Each round settles a dataset, or moves on to the next name, which it may a few times.
        while !open.isEmpty {
            let group = open.map { items[$0] }
            let errors: [Int32?]
            switch await call(group, name) {
            case .taken(let taken):
                for (index, own) in zip(open, taken) { outcomes[index] = .success(own) }
                return outcomes.compactMap { $0 }
            case .noAnswer(let error):
                for index in open { outcomes[index] = .failure(.command(error)) }
                return outcomes.compactMap { $0 }
            case .refused(let status, let own):
                errors = Self.settle(status, own)
            }
            if errors.allSatisfy({ $0 == nil }) {
                // Nobody in particular is to blame: each has to be asked alone.
                for index in open { outcomes[index] = await take([items[index]], first).first }
                return outcomes.compactMap { $0 }
            }
            let isLastName = tries == CommandEngine.nameTries
            var next: [Int] = []
            for (index, number) in zip(open, errors) {
                switch number {
                case nil: next.append(index)
                case EEXIST where !isLastName: next.append(index)
                case EEXIST:
                    outcomes[index] = .failure(
                        .namesTaken(dataset: items[index].dataset, first: first, tries: CommandEngine.nameTries))
                case let number?:
                    outcomes[index] = .failure(.command(Self.failure(number, name.targets(of: [items[index]]))))
                }
            }
            if errors.contains(EEXIST) {
                name = isLastName ? first : name.next
                tries = isLastName ? 1 : tries + 1
            }
            open = next
        }
        return outcomes.compactMap { $0 }
    }

    /// The error of each dataset of a call that took no snapshot; nil for one that may be tried again. All nil when the
    /// call has failed as a whole and its error does not tell whether each dataset would.
    private static func settle(_ status: Int32, _ own: [Int32?]) -> [Int32?] {
        guard own.allSatisfy({ $0 == nil }) else { return own }
        let kind = ZFSError.classify(errno: status)
        let isOfAll = own.count == 1 || kind == .exists || kind.concernsPool
        return isOfAll ? own.map { _ in status } : own
    }

    private enum Answer {
        case taken([TakenSnapshot])
        /// With the error of the call, and those of its datasets.
        case refused(Int32, [Int32?])
        /// Whether there are snapshots is not known, or the call was not made.
        case noAnswer(ZFSError)
    }

    /// One `lzc_snapshot()`.
    private func call(_ items: [Item], _ name: SnapshotName) async -> Answer {
        let properties = GroupProperties(of: items)
        let targets = name.targets(of: items)
        let pool = DatasetName.pool(of: items.first?.dataset ?? "")
        let core = core
        let start = ContinuousClock.now
        let ending = await calls.run(on: pool, limit: timeLimit) { reply, duration in
            Self.cameBack(targets, reply, after: duration)
        } _: {
            core.snapshot(targets, properties.shared)
        }
        let duration = ContinuousClock.now - start
        switch ending {
        case .returned(let reply) where reply.status == 0:
            let notes = calls.takeNotes(on: pool)
            var taken: [TakenSnapshot] = []
            for item in items {
                var own = TakenSnapshot(name: name, duration: duration, groupSize: items.count)
                if taken.isEmpty { own.warnings = notes }
                own.warnings += await properties.complete(item, name, by: command, timeLimit: timeLimit)
                taken.append(own)
            }
            return .taken(taken)
        case .returned(let reply): return .refused(reply.status, targets.map { reply.errors[$0] })
        case .outOfTime:
            let limit = timeLimit.map { " within \($0)" } ?? ""
            return .noAnswer(
                Self.failure(
                    .timedOut, .stillRunning, targets,
                    "no answer\(limit); the call goes on, and nothing is tried on \(SafeText.line(pool)) until it ends")
            )
        case .refused(let age):
            return .noAnswer(
                Self.failure(
                    .timedOut, .notStarted, targets,
                    "a call on \(SafeText.line(pool)) has not come back for \(age.components.seconds) s"))
        case .noThread(let number):
            return .noAnswer(Self.failure(.other, .notStarted, targets, "no thread: \(Self.words(number))"))
        }
    }

    // MARK: Errors

    /// What became of a call that was given up.
    private static func cameBack(_ targets: [String], _ reply: ZFSCore.Reply, after duration: Duration) -> ZFSError {
        failure(
            .timedOut, .errno(reply.status), targets,
            "came back after \(duration.components.seconds) s, past its time limit; "
                + (reply.status == 0 ? "its snapshots were taken" : "it took none: \(words(reply.status))"),
            hint: "'zpool status' may tell why it took so long")
    }

    /// The failure of a call that came back.
    private static func failure(_ number: Int32, _ targets: [String]) -> ZFSError {
        failure(ZFSError.classify(errno: number), .errno(number), targets, words(number))
    }

    private static func failure(
        _ kind: ZFSError.Kind, _ exit: ZFSError.Exit, _ targets: [String], _ words: String, hint: String? = nil
    ) -> ZFSError {
        let operation = "lzc_snapshot"
        let other = kind == .other ? "try 'zfs snapshot' by hand to see more" : nil
        return ZFSError(
            operation: operation, arguments: [operation] + targets, kind: kind, exit: exit, stderr: [words],
            hint: hint ?? other)
    }

    /// What an error means here, where the system's words would mislead.
    private static func words(_ number: Int32) -> String {
        switch number {
        case ENOENT: "dataset does not exist"
        case EEXIST: "snapshot exists"
        case EAGAIN: "pool I/O is suspended"
        case EROFS: "pool is read-only"
        // enum zfs_errno of sys/fs/zfs.h begins there.
        case 1024...: "an error of ZFS's own"
        default: Errno(rawValue: number).description
        }
    }
}

extension SnapshotName {
    /// The full names of one group's snapshots. (Items whose names do not fit were refused before.)
    fileprivate func targets(of items: [SnapshotRequest.Item]) -> [String] {
        items.map { full(dataset: $0.dataset) ?? "" }
    }
}
