import Background
import CLinux
import Datasets
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Calls into the kernel that may never come back, each on a thread of its own, and what is known of the late ones.
///
/// Not on a worker thread: there are only so many, and a call on a suspended pool would take one for good. A thread costs some tens of microseconds, a snapshot milliseconds.
final class PoolCalls: Sendable {
    /// How a call ended, as far as its time limit let it be seen.
    enum Ending<Value: Sendable>: Sendable {
        case returned(Value)
        /// It goes on. Until it has returned, no other call is made on the pool.
        case outOfTime
        /// It was not begun: one that is out of time goes on, for so long now.
        case refused(Duration)
        /// It was not begun: there is no thread for it, for this errno.
        case noThread(Int32)
    }

    private struct State: Sendable {
        var nextID = 0
        /// Calls that are out of time and go on, by pool: when each began.
        var overdue: [String: [Int: ContinuousClock.Instant]] = [:]
        /// What is to be told of those that came back late, by pool.
        var notes: [String: [ZFSError]] = [:]
    }

    private let state = Mutex(State())
    /// How often a call that has to wait for a late one looks again. It happens on pools that are ill.
    private static let patience = Duration.milliseconds(100)

    /// Makes a call, once none on the pool is overdue.
    ///
    /// - Parameters:
    ///   - limit: how long to wait for others, and then for the call itself; nil for as long as it takes.
    ///   - late: what to tell of a call that returned after its time, given what it returned and how long it took.
    ///   - body: the call.
    func run<Value: Sendable>(
        on pool: String, limit: Duration?, late: @escaping @Sendable (Value, Duration) -> ZFSError,
        _ body: @escaping @Sendable () -> Value
    ) async -> Ending<Value> {
        await WorkerThreads.shared.value { self.wait(on: pool, limit: limit, late: late, body) }
    }

    /// What there is of a call: its value, or that nobody waits for it any more.
    private final class Call<Value: Sendable>: Sendable {
        private enum State: Sendable {
            case running
            case returned(Value)
            case late
        }

        private let state = Mutex(State.running)
        let done = Semaphore()

        /// False when it is too late.
        func give(_ value: Value) -> Bool {
            let isWanted = state.withLock { state in
                guard case .running = state else { return false }
                state = .returned(value)
                return true
            }
            if isWanted { done.signal() }
            return isWanted
        }

        /// Its value; without one it is late from now on.
        func close() -> Value? {
            state.withLock { state in
                if case .returned(let value) = state { return value }
                state = .late
                return nil
            }
        }
    }

    private func wait<Value: Sendable>(
        on pool: String, limit: Duration?, late: @escaping @Sendable (Value, Duration) -> ZFSError,
        _ body: @escaping @Sendable () -> Value
    ) -> Ending<Value> {
        let asked = ContinuousClock.now
        let never = Semaphore()
        while let since = overdueSince(pool) {
            let hasTime = limit.map { ContinuousClock.now - asked < $0 } ?? true
            guard hasTime else { return .refused(ContinuousClock.now - since) }
            _ = never.wait(for: Self.patience)
        }

        let call = Call<Value>()
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        let begun = ContinuousClock.now
        let status = Self.startThread {
            let value = body()
            guard !call.give(value) else { return }
            self.state.withLock { state in
                state.overdue[pool]?[id] = nil
                state.notes[pool, default: []].append(late(value, ContinuousClock.now - begun))
            }
        }
        guard status == 0 else { return .noThread(status) }
        var isOver = true
        if let limit { isOver = call.done.wait(for: limit) } else { call.done.wait() }
        // Before it is closed: whoever gets the answer must find the pool closed.
        if !isOver { state.withLock { $0.overdue[pool, default: [:]][id] = begun } }
        guard let value = call.close() else { return .outOfTime }
        if !isOver { state.withLock { $0.overdue[pool]?[id] = nil } }
        return .returned(value)
    }

    /// What came back late on a pool and was not told yet.
    func takeNotes(on pool: String) -> [ZFSError] {
        state.withLock { $0.notes.removeValue(forKey: pool) ?? [] }
    }

    private func overdueSince(_ pool: String) -> ContinuousClock.Instant? {
        state.withLock { $0.overdue[pool]?.values.min() }
    }

    private final class Body: Sendable {
        let run: @Sendable () -> Void

        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    /// Runs a function on a thread that nobody waits for.
    ///
    /// - Returns: 0 or an errno.
    private static func startThread(_ run: @escaping @Sendable () -> Void) -> Int32 {
        let body = Unmanaged.passRetained(Body(run))
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        var thread = pthread_t()
        let status = pthread_create(&thread, &attributes, threadMain, body.toOpaque())
        if status != 0 { body.release() }
        return status
    }

    /// (Not written where it is passed on: a literal there would take on the isolation of that place.)
    private static let threadMain: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { body in
        if let body { Unmanaged<Body>.fromOpaque(body).takeRetainedValue().run() }
        return nil
    }
}
