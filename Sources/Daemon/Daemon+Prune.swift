import Background
import Datasets
import Policy
import Retention
import Synchronization
import Tracing

/// What became of one round of thinning.
struct PruneResult: Sendable {
    var datasets: [(retention: DatasetRetention, outcome: Pruner.Outcome)] = []
    var refusals: [PruneRound.Refusal] = []
}

/// Whether the daemon stops, for threads that work beside it.
final class StopFlag: Sendable {
    private let flag = Atomic(false)
    var isSet: Bool { flag.load(ordering: .relaxed) }
    func set() { flag.store(true, ordering: .relaxed) }
}

/// Notices when the wall clock is set, by the clock that nothing sets.
struct ClockWatch {
    /// Both clocks when they were looked at last, nanoseconds.
    private var last: (wall: Int64, boot: Int64)?
    /// The wall clock may be moved so far, such as by NTP's slewing, before its ages are not relied on: nanoseconds.
    static let tolerance: UInt64 = 60_000_000_000
    /// How it was set by more than that.
    private(set) var leaps = ClockLeaps()

    /// How far the wall clock was set since the last call, nanoseconds, either way.
    mutating func step(
        wall: (seconds: Int64, nanoseconds: Int64) = SystemClock.wall(), boot: UInt64 = SystemClock.boot()
    ) -> UInt64 {
        let (seconds, over) = wall.seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let now = (
            wall: (over ? (wall.seconds < 0 ? .min : .max) : seconds) &+ wall.nanoseconds, boot: Int64(clamping: boot)
        )
        defer { last = now }
        guard let last else { return 0 }
        let step = ((now.wall &- now.boot) &- (last.wall &- last.boot)).magnitude
        // When in between it was set is not known, so all of the time between is taken as none: that makes nothing older.
        if step > Self.tolerance { leaps.note(from: last.wall, to: now.wall) }
        return step
    }
}

extension Daemon {
    /// Destroys what no rule keeps, beside everything else: a snapshot that is due meanwhile is not held up.
    func pruneIfDue(_ now: UInt64) {
        guard let at = nextPrune, let interval = configuration.prune, now >= at, !isPruning, !isStopping else { return }
        let step = clockWatch.step()
        if step > ClockWatch.tolerance {
            // By a clock that was just set everything may seem old. The next round goes by it, when it still shows the same.
            nextPrune = Instant(nanoseconds: now).advanced(by: interval).nanoseconds
            report(
                .warning(
                    "the clock was set by \(step / 1_000_000_000) s; no snapshots are thinned until the next round, in \(interval)"
                ))
            return
        }
        isPruning = true
        let datasets = watched.values.map { (name: $0.info.name, guid: $0.info.guid) }.sorted { $0.name < $1.name }
        let (command, prefix, inbox, stopFlag, leaps) = (
            command, configuration.prefix, inbox, stopFlag, clockWatch.leaps
        )
        WorkerThreads.shared.task {
            var result = PruneResult()
            var round = PruneRound(command, prefix: prefix, leaps: leaps)
            for (name, guid) in datasets where !stopFlag.isSet {
                do throws(PruneRound.Refusal) {
                    let wall = SystemClock.wall()
                    let retention = try await round.plan(
                        for: name, guid: guid, now: wall.seconds * 1_000_000_000 + wall.nanoseconds)
                    let outcome = await Pruner(command, prefix: prefix, isStopped: { stopFlag.isSet }).destroy(
                        retention)
                    for error in outcome.errors { round.note(error, of: name) }
                    result.datasets.append((retention, outcome))
                } catch { result.refusals.append(error) }
            }
            inbox.post(.pruned(result))
        }
    }

    func take(_ result: PruneResult) {
        isPruning = false
        // From its end: rounds that take longer than the pause between them would leave none.
        if let interval = configuration.prune {
            nextPrune = Instant(nanoseconds: SystemClock.monotonic()).advanced(by: interval).nanoseconds
        }
        for refusal in result.refusals {
            let line = "\(SafeText.line(refusal.dataset)): not pruned: \(refusal.why)"
            if told.isNew(line) { report(.warning(line)) }
        }
        for (retention, outcome) in result.datasets {
            if let dataset = watched[retention.guid] { countSnapshots(of: dataset) }
            let name = SafeText.line(retention.dataset)
            for error in outcome.errors {
                let line = "\(name): not pruned: \(error)"
                if told.isNew(line) { report(.warning(line)) }
            }
            if let why = outcome.why, why != "stopped" {
                report(.warning("\(name): pruned in part: \(why); tried again the next time"))
            }
            let future = retention.plan.verdicts.count { $0.verdict == .future }
            if future > 0 {
                let line =
                    "\(name): snapshots with times that this clock calls the future: they are kept, and grow no older until then; is the clock right?"
                if told.isNew(line) { report(.warning(line)) }
            }
            let room = retention.plan.verdicts.filter {
                if case .room = $0.verdict { outcome.destroyed.contains($0.snapshot.name) } else { false }
            }.count
            if let pressure = retention.pressure {
                let line = "\(name): \(KairosProperty.minFree): too little room is left, and no more may go for it"
                if !pressure.isShort { told.forget(line) } else if told.isNew(line) { report(.warning(line)) }
            }
            summary.pruned += UInt64(outcome.destroyed.count)
            let busy = "\(name): \(outcome.busy.count) in use"
            guard !outcome.destroyed.isEmpty || !outcome.busy.isEmpty && told.isNew(busy) else { continue }
            report(
                .pruned(
                    DaemonEvent.PruneReport(
                        dataset: retention.dataset, rule: retention.rule.description,
                        destroyed: outcome.destroyed.count, forRoom: room, busy: outcome.busy.count)))
        }
    }
}
