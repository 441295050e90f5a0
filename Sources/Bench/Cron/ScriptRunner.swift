import CLinux
import Glibc
import Synchronization
import SystemPackage

/// Does a script's actions in several directories side by side, each action in all of them before the next, in an order that is drawn
/// for each: nobody always comes after the same neighbour.
final class ScriptRunner: Sendable {
    /// When an action was begun and done, CLOCK_MONOTONIC nanoseconds.
    struct Moment: Sendable {
        var began: UInt64
        var done: UInt64
    }

    struct Outcome: Sendable {
        /// By directory, one for each step that was done.
        var moments: [[Moment]]
        /// The most that an action came after its time, nanoseconds.
        var late: UInt64 = 0
        var failure: String?
    }

    private let roots: [FileDescriptor]
    private let script: Script
    private let seed: UInt64
    /// By directory: how many steps were done.
    private let progress: Mutex<[Int]>
    private let isStopped = Atomic<Bool>(false)

    /// - Parameter seed: draws the orders.
    /// - Throws: a directory that cannot be opened.
    init(_ script: Script, in directories: [String], seed: UInt64 = 0) throws(TraceBench.Failure) {
        self.script = script
        self.seed = seed
        var roots: [FileDescriptor] = []
        for directory in directories {
            do {
                roots.append(
                    try FileDescriptor.open(
                        FilePath(directory), .readOnly, options: [.directory, .noFollow, .closeOnExec]))
            } catch {
                roots.forEach { try? $0.close() }
                throw TraceBench.Failure(description: "cannot open \(directory): \(error)")
            }
        }
        self.roots = roots
        progress = Mutex([Int](repeating: 0, count: directories.count))
    }

    deinit { roots.forEach { try? $0.close() } }

    /// How many steps are done in one of them.
    func done(in directory: Int) -> Int { progress.withLock { $0[directory] } }

    func stop() { isStopped.store(true, ordering: .relaxed) }

    /// What is there before it begins.
    func prepare() throws(TraceBench.Failure) {
        var buffer = [UInt8](repeating: 0, count: Planner.piece)
        for action in script.preparation {
            if let failed = perform(action, { roots[$0] }, Array(roots.indices), &buffer, { _, _ in }) {
                throw TraceBench.Failure(description: failed)
            }
        }
    }

    /// - Parameters:
    ///   - start: when it begins, CLOCK_MONOTONIC nanoseconds.
    ///   - scale: how much faster than the model's the clock runs.
    func run(from start: UInt64, scale: Double) -> Outcome {
        var outcome = Outcome(moments: roots.map { _ in [] })
        var buffer = [UInt8](repeating: 0, count: Planner.piece)
        var random = SplitMix(state: seed)
        for step in script.steps {
            let due = start + UInt64(step.planned.time / scale * 1e9)
            guard Self.sleep(until: due, unless: { isStopped.load(ordering: .relaxed) }) else { break }
            let order = roots.indices.shuffled(using: &random)
            outcome.failure = perform(step.planned.action, { roots[$0] }, order, &buffer) { root, moment in
                // Until the last of them has it.
                outcome.late = max(outcome.late, moment.done - min(due, moment.done))
                outcome.moments[root].append(moment)
                progress.withLock { $0[root] += 1 }
            }
            if outcome.failure != nil { break }
        }
        return outcome
    }

    /// False when it should end.
    static func sleep(until due: UInt64, unless isOver: () -> Bool) -> Bool {
        while true {
            if isOver() { return false }
            let now = kairos_monotonic_ns()
            guard now < due else { return true }
            usleep(UInt32(min((due - now) / 1000 + 1, 20_000)))
        }
    }

    private func perform(
        _ action: FileAction, _ root: (Int) -> FileDescriptor, _ order: [Int], _ buffer: inout [UInt8],
        _ note: (Int, Moment) -> Void
    ) -> String? {
        if case .write(_, _, let count, let seed) = action {
            buffer.withUnsafeMutableBytes {
                Noise.fill(UnsafeMutableRawBufferPointer(rebasing: $0[..<count]), seed: seed)
            }
        }
        for index in order {
            let began = kairos_monotonic_ns()
            guard action.perform(in: root(index).rawValue, buffer) else {
                let error = Errno(rawValue: kairos_errno_value())
                let hint = error == .noSpace ? "; give a pool with more room: --pool POOL, or a shorter --length" : ""
                return "the workload could not do \(action): \(error)\(hint)"
            }
            note(index, Moment(began: began, done: kairos_monotonic_ns()))
        }
        return nil
    }
}

extension FileAction {
    /// False with errno set.
    fileprivate func perform(in root: Int32, _ data: [UInt8]) -> Bool {
        switch self {
        case .makeDirectory(let path): return mkdirat(root, path, 0o700) == 0
        case .removeDirectory(let path): return unlinkat(root, path, AT_REMOVEDIR) == 0
        case .create(let path):
            let file = openat(root, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
            return file >= 0 && close(file) == 0
        case .write(let path, let offset, let count, _):
            let file = openat(root, path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC)
            guard file >= 0 else { return false }
            let written = pwrite(file, data, count, offset)
            return close(file) == 0 && written == count
        case .truncate(let path, let size):
            let file = openat(root, path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC)
            guard file >= 0 else { return false }
            let result = ftruncate(file, size)
            return close(file) == 0 && result == 0
        case .rename(let old, let new): return renameat(root, old, root, new) == 0
        case .unlink(let path): return unlinkat(root, path, 0) == 0
        }
    }
}
