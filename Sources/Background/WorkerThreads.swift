import CLinux
import Glibc
import Synchronization

/// Threads for what may block or wait, and an executor for tasks.
///
/// Why not those of libdispatch, which Swift's own tasks run on: once used, its pool wakes up every second to count its
/// threads, for as long as the process lives. These wait without a clock, so an idle Kairos is idle.
public final class WorkerThreads: TaskExecutor {
    /// The process's own.
    public static let shared = WorkerThreads(limit: 256)

    private enum Work: Sendable {
        case job(UnownedJob)
        case closure(@Sendable () -> Void)
    }

    private struct State {
        var waiting: [Work] = []
        /// The first of `waiting` that nobody took yet.
        var next = 0
        var idle = 0
        var threads = 0
    }

    private let limit: Int
    private let state = Mutex(State())
    private let available = Semaphore()

    /// At most so many threads; they are made when they are needed, and stay.
    public init(limit: Int) { self.limit = limit }

    public func enqueue(_ job: consuming ExecutorJob) { add(.job(UnownedJob(job))) }

    /// Runs a closure, which may block.
    public func perform(_ work: @escaping @Sendable () -> Void) { add(.closure(work)) }

    private func add(_ work: Work) {
        let needsThread = state.withLock { state in
            state.waiting.append(work)
            guard state.idle < state.waiting.count - state.next, state.threads < limit else { return false }
            state.threads += 1
            return true
        }
        available.signal()
        guard needsThread, !startThread() else { return }
        let left = state.withLock { state in
            state.threads -= 1
            return state.threads
        }
        // With some threads it is late, without any it would never be done: no memory for a thread ends the program.
        precondition(left > 0, "no thread could be started")
    }

    private func startThread() -> Bool {
        var thread = pthread_t()
        let context = Unmanaged.passRetained(self)
        guard pthread_create(&thread, nil, workerMain, context.toOpaque()) == 0 else {
            context.release()
            return false
        }
        kairos_thread_name(thread, "kairos-worker")
        pthread_detach(thread)
        return true
    }

    fileprivate func work() -> Never {
        while true {
            state.withLock { $0.idle += 1 }
            available.wait()
            let work = state.withLock { state in
                state.idle -= 1
                defer {
                    state.next += 1
                    if state.next == state.waiting.count {
                        state.waiting.removeAll(keepingCapacity: state.next <= 1024)
                        state.next = 0
                    }
                }
                return state.waiting[state.next]
            }
            switch work {
            case .job(let job): job.runSynchronously(on: asUnownedTaskExecutor())
            case .closure(let body): body()
            }
        }
    }
}

private func workerMain(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let context else { return nil }
    Unmanaged<WorkerThreads>.fromOpaque(context).takeRetainedValue().work()
}

extension WorkerThreads {
    /// Starts a task whose asynchronous functions run here.
    public func task(_ body: @escaping @Sendable () async -> Void) { Task(executorPreference: self, operation: body) }

    /// Runs what may block, and lets the task wait for it.
    public func value<Value: Sendable>(of work: @escaping @Sendable () -> Value) async -> Value {
        await withCheckedContinuation { done in perform { done.resume(returning: work()) } }
    }
}

/// Runs asynchronous work from synchronous code and waits for it. Never from a task: it blocks the thread.
public func blocking<Value: Sendable>(_ work: @escaping @Sendable () async -> Value) -> Value {
    let result = Shared<Value?>(nil)
    let done = Semaphore()
    WorkerThreads.shared.task {
        let value = await work()
        result.value.withLock { $0 = value }
        done.signal()
    }
    done.wait()
    guard let value = result.value.withLock({ $0 }) else { preconditionFailure("the task signalled without a value") }
    return value
}

private final class Shared<Value: Sendable>: Sendable {
    let value: Mutex<Value>
    init(_ value: Value) { self.value = Mutex(value) }
}

/// Closures one after the other, on threads that may block.
public final class SerialQueue: Sendable {
    private struct State {
        var waiting: [@Sendable () -> Void] = []
        var isRunning = false
    }

    private let state = Mutex(State())

    public init() {}

    public func async(_ work: @escaping @Sendable () -> Void) {
        let mustStart = state.withLock { state in
            state.waiting.append(work)
            defer { state.isRunning = true }
            return !state.isRunning
        }
        if mustStart { WorkerThreads.shared.perform { self.drain() } }
    }

    private func drain() {
        while true {
            let batch = state.withLock { state in
                defer { state.waiting = [] }
                if state.waiting.isEmpty { state.isRunning = false }
                return state.waiting
            }
            if batch.isEmpty { return }
            for work in batch { work() }
        }
    }
}

/// POSIX's counting semaphore, at 0 at first.
public final class Semaphore: @unchecked Sendable {
    // Semaphores must not move in memory; their functions may be called from any thread.
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    public init() { sem_init(semaphore, 0, 0) }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    public func signal() { sem_post(semaphore) }

    public func wait() {
        while sem_wait(semaphore) != 0 {}
    }

    /// False when nobody signalled within the time.
    public func wait(for limit: Duration) -> Bool {
        let (seconds, attoseconds) = limit.components
        let nanoseconds = UInt64(max(0, seconds)) * 1_000_000_000 + UInt64(max(0, attoseconds / 1_000_000_000))
        return kairos_semaphore_wait(semaphore, kairos_monotonic_ns() + nanoseconds) == 0
    }
}
