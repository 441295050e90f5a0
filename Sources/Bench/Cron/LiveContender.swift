import Background
import CLinux
import Datasets
import FoundationEssentials
import Glibc
import Synchronization
import SystemPackage

/// A snapshot that was really taken. CLOCK_MONOTONIC, nanoseconds.
struct LiveSnapshot: Sendable {
    /// After the `@`.
    var name: String
    /// Not before this was it begun.
    var began: UInt64
    /// By this it was done.
    var finished: UInt64
}

/// What a contender did.
struct LiveRecord: Sendable {
    var snapshots: [LiveSnapshot] = []
    /// What makes the run invalid, a line each.
    var problems: [String] = []
    /// Ticks of cron that were left out, since the one before them still ran.
    var skipped = 0
    /// Of a CPU: its own and its commands'.
    var cpu = Duration.zero
}

/// A cron job without cron: `zfs snapshot` at an interval.
final class CronJob: Sendable {
    /// By how much a tick may lie before the end and be the end's: its interval and the end are each rounded to nanoseconds, and a
    /// week of the shortest intervals has a few million of them.
    private static let rounding: UInt64 = 10_000

    let dataset: String
    private let zfs: String
    /// Nanoseconds of the real clock.
    private let interval: UInt64
    /// Whether anything was written since its last snapshot; nil for one that does not ask.
    private let wasWritten: (@Sendable () -> (Bool, cpu: Duration))?
    private let tookSnapshot: @Sendable () -> Void
    private let record = Mutex(LiveRecord())
    private let isStopped = Atomic<Bool>(false)
    private let workEnded = Atomic<UInt64>(0)
    private let done = Background.Semaphore()

    init(
        dataset: String, zfs: String, interval: UInt64, wasWritten: (@Sendable () -> (Bool, cpu: Duration))?,
        tookSnapshot: @escaping @Sendable () -> Void
    ) {
        self.dataset = dataset
        self.zfs = zfs
        self.interval = max(interval, 1_000_000)
        self.wasWritten = wasWritten
        self.tookSnapshot = tookSnapshot
    }

    /// - Parameter start: when its first interval begins.
    func begin(at start: UInt64) {
        WorkerThreads.shared.perform { [self] in
            var due = start
            while true {
                due += interval
                // One that comes while the one before still runs is left out, as a job under a lock is.
                let now = kairos_monotonic_ns()
                if due < now {
                    let skipped = (now - due) / interval
                    due += skipped * interval
                    record.withLock { $0.skipped += Int(clamping: skipped) }
                }
                guard ScriptRunner.sleep(until: due, unless: { isStopped.load(ordering: .relaxed) }) else { break }
                tick(at: due)
                let ended = workEnded.load(ordering: .acquiring)
                // What is due at the very end is the day's last.
                if ended != 0, due + Self.rounding >= ended { break }
            }
            done.signal()
        }
    }

    /// The workload is over at this time: the first tick at or behind it is the last.
    func finish(after time: UInt64) { workEnded.store(time, ordering: .releasing) }

    /// Waits for the last tick; nil when that is to end before.
    func outcome(unless isOver: () -> Bool) -> LiveRecord? {
        while !done.wait(for: .milliseconds(100)) {
            if isOver() { return nil }
        }
        return record.withLock { $0 }
    }

    func stop() { isStopped.store(true, ordering: .relaxed) }

    private func tick(at due: UInt64) {
        if let (isWritten, cpu) = wasWritten?() {
            record.withLock { $0.cpu += cpu }
            guard isWritten else { return }
        }
        let name = "cron-\(due)"
        let began = kairos_monotonic_ns()
        let child = ChildProcess(zfs, ["snapshot", "\(dataset)@\(name)"], outputLimit: 4096, errorLimit: 4096)
        let ending = child.run(timeLimit: .seconds(120))
        let finished = kairos_monotonic_ns()
        guard case .exited(let output, 0) = ending else {
            record.withLock {
                $0.problems.append("zfs snapshot \(dataset)@\(name) failed: \(CronJob.reason(ending))")
            }
            return
        }
        tookSnapshot()
        record.withLock { record in
            record.cpu += output.cpu
            record.snapshots.append(LiveSnapshot(name: name, began: began, finished: finished))
        }
    }

    static func reason(_ ending: ChildProcess.Ending) -> String {
        guard case .exited(let output, _) = ending else { return "\(ending)" }
        return SafeText.line(String(decoding: output.stderr, as: UTF8.self), limit: 300)
    }
}

/// `kairos run` on one dataset, as anybody would start it.
final class KairosContender: Sendable {
    private struct Event: Decodable {
        struct Summary: Decodable {
            var recordsLost: UInt64
            var missed: UInt64
            var failures: UInt64
        }

        var event: String
        var dataset: String?
        var snapshot: String?
        var engineMs: UInt64?
        var error: String?
        var text: String?
        var summary: Summary?
    }

    private struct State {
        var record = LiveRecord()
        var settled = false
        /// Its output has ended: it is gone, or about to be.
        var ended = false
        var isReaped = false
        var cpuAtStart = Duration.zero
    }

    let pid: pid_t
    private let state = Mutex(State())
    private let done = Background.Semaphore()
    /// Of its journal: that of the machine's own Kairos is none of a benchmark's.
    private let directory: String

    init(kairos: String, arguments: [String]) throws(TraceBench.Failure) {
        directory = try TraceBench.makeDirectory(below: "/tmp")
        var ends: [CInt] = [-1, -1]
        guard kairos_pipe(&ends) == 0 else {
            throw TraceBench.Failure(description: "cannot make a pipe: \(Errno(rawValue: kairos_errno_value()))")
        }
        let (reading, writing) = (ends[0], ends[1])
        do {
            let own = ["--journal", directory + "/journal.db", "--parent", "\(getpid())"]
            pid = try ChildProcess.spawn(kairos, ["run", "--json", "--no-prune"] + own + arguments) { actions in
                posix_spawn_file_actions_adddup2(&actions, writing, STDOUT_FILENO)
            }
        } catch {
            close(reading)
            close(writing)
            TraceBench.remove(directory)
            throw TraceBench.Failure(description: "cannot start \(kairos): \(error)")
        }
        close(writing)
        WorkerThreads.shared.perform { [self] in
            read(reading)
            close(reading)
            done.signal()
        }
    }

    /// Waits until it watches and has seen that nothing is to be done.
    ///
    /// - Throws: when it ended before, or took over a minute, or `isOver` said so.
    func waitUntilReady(unless isOver: () -> Bool) throws(TraceBench.Failure) {
        for _ in 0..<3000 {
            if isOver() { throw TraceBench.Failure(description: "interrupted") }
            let (settled, ended) = state.withLock { ($0.settled, $0.ended) }
            if ended { break }
            if settled {
                let cpu = Self.cpu(of: pid)
                state.withLock { $0.cpuAtStart = cpu }
                return
            }
            usleep(20_000)
        }
        throw TraceBench.Failure(description: "kairos run did not get ready: see what it said above")
    }

    /// How many it has told of.
    var snapshots: Int { state.withLock { $0.record.snapshots.count } }
    var last: LiveSnapshot? { state.withLock { $0.record.snapshots.last } }
    var hasEnded: Bool { state.withLock(\.ended) }

    /// Waits until a snapshot was begun after this time, for so long at most.
    func settle(after time: UInt64, limit: Duration, unless isOver: () -> Bool) {
        let deadline = ContinuousClock.now + limit
        while ContinuousClock.now < deadline, !isOver() {
            if state.withLock({ $0.ended || $0.record.snapshots.last?.began ?? 0 > time }) { return }
            usleep(20_000)
        }
    }

    /// Ends it, in order.
    func finish() -> LiveRecord {
        // Also of one that is dead already, until it is waited for.
        let cpu = Self.cpu(of: pid)
        state.withLock { state in
            state.record.cpu = max(cpu - state.cpuAtStart, .zero)
            if state.ended { state.record.problems.append("kairos run ended before its time") }
        }
        end()
        return state.withLock { $0.record }
    }

    /// In order, and only once: afterwards its number may be somebody else's.
    func end() {
        guard
            state.withLock({ state in
                defer { state.isReaped = true }
                return !state.isReaped
            })
        else { return }
        kill(pid, SIGTERM)
        if !done.wait(for: .seconds(60)) {
            kill(pid, SIGKILL)
            state.withLock { $0.record.problems.append("kairos run did not end within a minute") }
        }
        var status: CInt = 0
        while waitpid(pid, &status, 0) < 0, kairos_errno_value() == EINTR {}
        if status != 0 {
            let how =
                status & 0x7f == 0 ? "ended with status \(status >> 8 & 0xff)" : "was ended by signal \(status & 0x7f)"
            state.withLock { $0.record.problems.append("kairos run \(how)") }
        }
        TraceBench.remove(directory)
    }

    private func read(_ pipe: CInt) {
        var waiting: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        while true {
            let count = Glibc.read(pipe, &buffer, buffer.count)
            if count < 0, kairos_errno_value() == EINTR { continue }
            guard count > 0 else { break }
            let now = kairos_monotonic_ns()
            waiting += buffer[..<count]
            while let end = waiting.firstIndex(of: UInt8(ascii: "\n")) {
                let line = Data(waiting[..<end])
                waiting.removeSubrange(...end)
                guard let event = try? decoder.decode(Event.self, from: line) else { continue }
                take(event, now)
            }
        }
        state.withLock { $0.ended = true }
    }

    private func take(_ event: Event, _ now: UInt64) {
        state.withLock { state in
            switch event.event {
            case "snapshot":
                state.settled = true
                guard let name = event.snapshot else { break }
                let began = now - min(now, (event.engineMs ?? 0) * 1_000_000)
                state.record.snapshots.append(LiveSnapshot(name: name, began: began, finished: now))
            case "unchanged": state.settled = true
            case "failure": state.record.problems.append("kairos run: \(event.error ?? event.event)")
            case "stopped":
                guard let summary = event.summary else { break }
                if summary.recordsLost > 0 {
                    state.record.problems.append("kairos run lost \(summary.recordsLost) records of detail")
                }
                if summary.missed > 0 { state.record.problems.append("kairos run missed \(summary.missed) changes") }
            default: break
            }
        }
    }

    /// Its own and that of children that it waited for.
    private static func cpu(of pid: pid_t) -> Duration {
        guard let file = try? FileDescriptor.open(FilePath("/proc/\(pid)/stat"), .readOnly, options: .closeOnExec)
        else {
            return .zero
        }
        var bytes = [UInt8](repeating: 0, count: 1024)
        let count = (try? file.closeAfter { try bytes.withUnsafeMutableBytes { try file.read(into: $0) } }) ?? 0
        let text = String(decoding: bytes[..<count], as: UTF8.self)
        // The name in parentheses may hold anything; from the state on it is words.
        guard let end = text.lastIndex(of: ")") else { return .zero }
        let words = text[text.index(after: end)...].split(separator: " ")
        guard words.count > 15 else { return .zero }
        let ticks = words[11...14].compactMap { Int64($0) }.reduce(0, +)
        return .nanoseconds(ticks * 1_000_000_000 / Int64(sysconf(Int32(_SC_CLK_TCK))))
    }
}
