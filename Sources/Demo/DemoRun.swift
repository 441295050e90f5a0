import Background
import Daemon
import Datasets
import Glibc
import Policy
import Scratch
import SystemPackage
import Tracing

/// One demo: a scratch pool, the real daemon on it, and a workload that it is shown with.
///
/// One thread runs it, and waits for the daemon, the workload and signals alike; whatever happens, it removes what it
/// made before it returns.
public final class DemoRun {
    /// Short, so that the demo is; long enough to see that a step is one snapshot.
    static let quiet = Duration.milliseconds(500)
    static let datasets = ["docs", "photos"]
    /// How long anything may take that takes a second on an idle machine.
    static let limit = Duration.seconds(30)

    let executable: String
    let report: (DemoEvent) -> Bool
    let keeps: Bool
    let inbox: Inbox<DemoMessage>
    let loop: EventLoop

    var log = VersionLog()
    var changes = 0
    var snapshots: [SnapshotReport] = []
    var awaited: Awaited?
    var notes: [WorkloadNote]?
    /// A step's process runs.
    var isWorking = false
    /// Datasets whose state at the start is in a snapshot.
    var settled: Set<String> = []
    var step = 0

    private var stopDaemon: (@Sendable () -> Void)?
    private var summary: Summary?
    private var isDaemonRunning = false
    /// The daemon was told to stop.
    private var isDaemonDone = false
    /// Nothing but the removal of what was made is left to do.
    private var isLeaving = false
    private var failure: DemoError?

    /// Catches SIGINT, SIGTERM and SIGHUP from now on.
    ///
    /// - Parameters:
    ///   - keeps: leave the pool where it is.
    ///   - report: called on this thread; false when nobody listens any more, which ends the demo.
    public init(keeps: Bool, report: @escaping (DemoEvent) -> Bool) throws(DemoError) {
        self.keeps = keeps
        self.report = report
        guard let executable = WorkloadProcess.executable() else {
            throw .system("find this program's file by /proc/self/exe", Errno(rawValue: errno))
        }
        self.executable = executable
        do {
            inbox = try Inbox()
            loop = try EventLoop(signals: [SIGINT, SIGTERM, SIGHUP], inbox: inbox.wakeup)
        } catch {
            throw .system("make the event loop", error)
        }
    }

    /// Shows it all. Blocks for about ten seconds.
    public func run() throws(DemoError) -> DemoResult {
        tell(.opening(quiet: Self.quiet, keeps: keeps))
        let leftovers = blocking { await ScratchPool.removeLeftovers() }
        if !leftovers.isEmpty { tell(.leftovers(leftovers)) }
        try pause(.zero)
        let pool = try makePool()
        let outcome: Result<DemoResult, DemoError>
        do throws(DemoError) { outcome = .success(try play(pool)) } catch { outcome = .failure(error) }
        isLeaving = true
        endOthers()
        let isClean = remove(pool)
        var result = try outcome.get()
        if !isClean { result.problems.append("not everything could be removed") }
        return result
    }

    private func makePool() throws(DemoError) -> ScratchPool {
        let made: Result<ScratchPool, DemoError> = blocking {
            do {
                return .success(try await ScratchPool(purpose: "demo", datasets: Self.datasets))
            } catch {
                return .failure(.pool("\(error)"))
            }
        }
        return try made.get()
    }

    private func remove(_ pool: ScratchPool) -> Bool {
        if keeps {
            pool.keep()
            tell(.kept(describe(pool)))
            return true
        }
        let left = blocking { await pool.destroy() }
        tell(left.isEmpty ? .removed(describe(pool)) : .left(left + ["see \(pool.directory)"]))
        return left.isEmpty
    }

    func describe(_ pool: ScratchPool) -> DemoEvent.Pool {
        DemoEvent.Pool(
            name: pool.name, flavour: pool.flavour, datasets: Self.datasets, mountPoint: pool.mountPoint,
            directory: pool.directory, startedDaemon: pool.startedDaemon,
            daemonPID: pool.startedDaemon ? pool.daemonPID : nil)
    }

    func tell(_ event: DemoEvent) {
        if !report(event), failure == nil { failure = .outputClosed }
    }
}

// MARK: - Waiting

extension DemoRun {
    /// Waits until the condition holds; whatever is told meanwhile is passed on.
    func wait(
        for what: @autoclosure () -> String, limit: Duration = DemoRun.limit, until condition: () -> Bool
    ) throws(DemoError) {
        let deadline = SystemClock.monotonic() + nanoseconds(limit)
        while true {
            if let failure { throw failure }
            if condition() { return }
            guard SystemClock.monotonic() < deadline else { throw .tookTooLong(what(), limit: limit) }
            try turn(deadline)
        }
    }

    /// Passes on what is told for so long.
    func pause(_ time: Duration) throws(DemoError) {
        let deadline = SystemClock.monotonic() + nanoseconds(time)
        repeat { try turn(deadline) } while failure == nil && SystemClock.monotonic() < deadline
        if let failure { throw failure }
    }

    /// Waits for the next thing to happen, or for the deadline.
    private func turn(_ deadline: UInt64) throws(DemoError) {
        loop.setDeadline(deadline)
        let sources: [EventLoop.Source]
        do { sources = try loop.wait() } catch { throw .system("wait for events", error) }
        for source in sources {
            switch source {
            case .signals:
                // While it leaves a further signal changes nothing: leaving is what it does.
                while let signal = loop.nextSignal() {
                    if !isLeaving, failure == nil { failure = .interrupted(signal: signal) }
                }
            case .inbox: for message in inbox.take() { take(message) }
            case .ring, .timer, .mounts: break
            }
        }
    }

    private func take(_ message: DemoMessage) {
        switch message {
        case .started(let stop):
            stopDaemon = stop
            if isDaemonDone { stop() }
        case .daemon(let event): take(event)
        case .ended(let result):
            isDaemonRunning = false
            switch result {
            case .success(let summary):
                self.summary = summary
                if !isDaemonDone, failure == nil { failure = .daemonGone }
            case .failure(let error):
                if failure == nil { failure = .daemon(error) }
            }
        case .workload(let result):
            isWorking = false
            switch result {
            case .success(let notes): self.notes = notes
            case .failure(let error): if failure == nil { failure = error }
            }
        }
    }

    private func take(_ event: DaemonEvent) {
        switch event {
        case .change(let report):
            changes += 1
            tell(.change(report))
        case .snapshot(let report):
            snapshots.append(report)
            settled.insert(report.dataset)
            tell(.snapshot(report))
        case .unchanged(let dataset): settled.insert(dataset)
        case .failure(let failure): tell(.message("\(failure.dataset): \(failure.operation) failed: \(failure.error)"))
        case .warning(let text), .notice(let text): tell(.message(text))
        case .ready, .missed, .unresolved, .pruned, .status, .stopped: break
        }
        awaited?.take(event)
    }

    private func nanoseconds(_ duration: Duration) -> UInt64 { UInt64(max(0, duration / .nanoseconds(1))) }
}

// MARK: - The daemon's life

extension DemoRun {
    func startDaemon(_ pool: ScratchPool) throws(DemoError) {
        var configuration = Configuration(
            target: .named(Self.datasets.map { "\(pool.name)/\($0)" }, recursive: false))
        configuration.overrides.quiet = Self.quiet
        configuration.overrides.maxDelay = .seconds(3)
        configuration.overrides.minInterval = .milliseconds(100)
        configuration.tellsChanges = true
        isDaemonRunning = true
        let inbox = inbox
        DaemonThread.start(configuration, command: pool.command) { inbox.post($0) }
        try wait(for: "the first snapshots") { settled.count == Self.datasets.count }
    }

    /// Stops the daemon as SIGTERM would, and takes its word on what it did.
    func finishDaemon() throws(DemoError) -> Summary {
        isDaemonDone = true
        stopDaemon?()
        try wait(for: "the daemon's end") { !isDaemonRunning }
        guard let summary else { throw .daemonGone }
        return summary
    }

    /// On the way out, however it got there: until neither the daemon nor a step's process is at the pool.
    private func endOthers() {
        isDaemonDone = true
        stopDaemon?()
        let deadline = SystemClock.monotonic() + nanoseconds(Self.limit)
        while isDaemonRunning || isWorking, SystemClock.monotonic() < deadline {
            do { try turn(deadline) } catch { return }
        }
    }
}
