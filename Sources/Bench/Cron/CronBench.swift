import Background
import CLinux
import Datasets
import Glibc
import Policy
import Scratch
import Synchronization
import SystemPackage

/// Kairos and cron jobs beside each other: the same workload, at the same time, on datasets of one pool, with real snapshots that
/// are read when it is over.
public final class CronBench {
    public struct Plan: Sendable {
        public var seed: UInt64
        /// Of the model, seconds.
        public var length: Double
        /// How much faster than the model's the clock runs.
        public var scale: Double
        /// By the model's clock.
        public var settings: Settings
        public var intervals: [Duration]
        /// Where `kairos trace` records what happens to the dataset that nobody snapshots; nil: nowhere.
        public var recording: String?

        public init(
            seed: UInt64, length: Double, scale: Double, settings: Settings, intervals: [Duration],
            recording: String? = nil
        ) {
            self.seed = seed
            self.length = length
            self.scale = scale
            self.settings = settings
            self.intervals = intervals
            self.recording = recording
        }
    }

    /// What came of one contender. Times are those of the model.
    public struct Row: Sendable {
        public var name: String
        /// Nil for the dataset that nobody snapshots.
        public var contender: Contender?
        public var history: DatasetHistory
        public var snapshots: [TakenAt]
        public var measures: Measures
        /// Bytes that its snapshots hold and nothing else does.
        public var space: UInt64
        /// How long the workload's calls took, by how long they took on the dataset without snapshots.
        public var slowdown: Double
        /// Of a CPU, real seconds.
        public var cpu: Duration
        /// Snapshots that hold no state between two actions, but one within: what they hold counts as what was there before.
        public var between: Int
        /// Ticks of cron that were left out, since the one before them still ran.
        public var skipped: Int
        /// Why the run is invalid.
        public var problems: [String]
    }

    public struct Result: Sendable {
        public var model: WorkloadModel
        public var actions: Int
        public var plan: Plan
        public var rows: [Row]
        /// The most that an action came too late, by the model's clock: the machine was too slow for the scale.
        public var late: Duration
        /// The median of all `zfs snapshot` that were taken, real.
        public var snapshotTime: Duration
    }

    private let kairos: String
    private let pool: BenchPool
    private let progress: (String) -> Void

    /// - Parameter pool: where the datasets are made.
    public init(kairos: String, pool: BenchPool, progress: @escaping (String) -> Void) throws(TraceBench.Failure) {
        self.kairos = kairos
        self.pool = pool
        self.progress = progress
        try Interruption.shared.begin()
    }

    private static let recorded = "recorded"

    private struct Entrant {
        var name: String
        var contender: Contender?
        var dataset: String
        var mountPoint: String
    }

    public func run(_ model: WorkloadModel, _ plan: Plan) throws(TraceBench.Failure) -> Result {
        let script: Script
        do throws(Script.Fault) { script = try model.script(seed: plan.seed, length: plan.length) } catch {
            throw TraceBench.Failure(description: "\(model.name): \(error)")
        }
        var contenders: [(name: String, contender: Contender?)] = [("nobody", nil), ("kairos", .kairos(plan.settings))]
        for interval in plan.intervals {
            for onlyWritten in [false, true] {
                let name = "cron \(interval.exactText)" + (onlyWritten ? " if written" : "")
                contenders.append((name, .cron(every: interval, onlyWritten: onlyWritten)))
            }
        }
        // Of its own: what is recorded is slower for it, and nobody's time may be divided by that.
        if plan.recording != nil { contenders.append((Self.recorded, nil)) }
        progress("\(model.name): making \(contenders.count) datasets")
        var entrants: [Entrant] = []
        for (index, (name, contender)) in contenders.enumerated() {
            let made = try pool.make("\(model.name)-\(index)")
            entrants.append(Entrant(name: name, contender: contender, dataset: made.name, mountPoint: made.mountPoint))
        }
        let live = try compete(entrants, script, plan, model)
        progress("\(model.name): reading \(live.records.map(\.snapshots.count).reduce(0, +)) snapshots")
        var rows: [Row] = []
        let space = try pool.snapshotSpace(of: entrants.map(\.dataset))
        for (index, entrant) in entrants.enumerated() where entrant.name != Self.recorded {
            rows.append(try row(entrant, index, live, script, plan, space[entrant.dataset] ?? 0))
        }
        for entrant in entrants { try pool.destroy(entrant.dataset) }
        let times = live.records.flatMap(\.snapshots).map { $0.finished - $0.began }.sorted()
        return Result(
            model: model, actions: script.steps.count, plan: plan, rows: rows,
            late: .nanoseconds(Int64(Double(live.outcome.late) * plan.scale)),
            snapshotTime: .nanoseconds(Int64(times.isEmpty ? 0 : times[times.count / 2])))
    }

    // MARK: Live

    private struct Live {
        var start: UInt64
        var outcome: ScriptRunner.Outcome
        var records: [LiveRecord]
    }

    private func compete(
        _ entrants: [Entrant], _ script: Script, _ plan: Plan, _ model: WorkloadModel
    ) throws(TraceBench.Failure) -> Live {
        let runner = try ScriptRunner(script, in: entrants.map(\.mountPoint), seed: plan.seed)
        try runner.prepare()
        for entrant in entrants { try pool.snapshot(entrant.dataset, "start") }
        var jobs: [Int: CronJob] = [:]
        var daemon: KairosContender?
        defer {
            jobs.values.forEach { $0.stop() }
            runner.stop()
            daemon?.end()
        }
        for (index, entrant) in entrants.enumerated() {
            switch entrant.contender {
            case .kairos(let settings):
                daemon = try KairosContender(
                    kairos: kairos,
                    arguments: Self.flags(settings, plan.scale) + [entrant.dataset])
            case .cron(let interval, let onlyWritten):
                // The tree as it was seen just before the snapshot: what comes in between is seen the next time.
                let seen = Mutex((last: script.start, now: script.start))
                let asked = pool.written(entrant.dataset)
                let byTree: @Sendable () -> (Bool, cpu: Duration) = {
                    let done = runner.done(in: index)
                    let digest = done == 0 ? script.start : script.steps[done - 1].digest
                    return seen.withLock { seen in
                        seen.now = digest
                        return (seen.last != digest, .zero)
                    }
                }
                jobs[index] = CronJob(
                    dataset: entrant.dataset, zfs: pool.command.zfs,
                    interval: UInt64(Double(interval.wholeNanoseconds) / plan.scale),
                    wasWritten: onlyWritten ? asked ?? byTree : nil,
                    tookSnapshot: { seen.withLock { $0.last = $0.now } })
            case nil: break
            }
        }
        guard let daemon else { throw TraceBench.Failure(description: "nobody started kairos run") }
        try daemon.waitUntilReady(unless: { Interruption.shared.isSet })
        let recorder = try plan.recording.map { path throws(TraceBench.Failure) in
            try TraceRecorderProcess(kairos: kairos, dataset: entrants[entrants.count - 1].dataset, path: path)
        }
        let start = kairos_monotonic_ns() + 200_000_000
        for (place, index) in jobs.keys.sorted().enumerated() {
            // Not all at the same moment: no machine has eight cron jobs for one thing.
            jobs[index]?.begin(at: start + UInt64(place) * 20_000_000)
        }
        let outcome = Mutex<ScriptRunner.Outcome?>(nil)
        let ended = Background.Semaphore()
        WorkerThreads.shared.perform {
            let result = runner.run(from: start, scale: plan.scale)
            outcome.withLock { $0 = result }
            ended.signal()
        }
        try wait(for: ended, start, plan, model, runner, daemon)
        guard let outcome = outcome.withLock({ $0 }) else {
            throw TraceBench.Failure(description: "the workload was lost")
        }
        if let failure = outcome.failure { throw TraceBench.Failure(description: failure) }
        let last = outcome.moments.compactMap { $0.last?.done }.max() ?? start
        // The day goes on to its end.
        let end = max(last, start + UInt64(plan.length / plan.scale * 1e9))
        jobs.values.forEach { $0.finish(after: end) }
        guard ScriptRunner.sleep(until: end, unless: { Interruption.shared.isSet }) else {
            throw TraceBench.Failure(description: "interrupted")
        }
        try recorder?.end()
        progress("\(model.name): waiting for everybody's last snapshot")
        let settle = Self.scaled(plan.settings.maxDelay + plan.settings.quiet, plan.scale) + .seconds(20)
        let isOver = { Interruption.shared.isSet }
        // A short day may have had no change at all: then nobody takes a snapshot of it.
        if let change = outcome.moments[1].last?.done { daemon.settle(after: change, limit: settle, unless: isOver) }
        var records: [LiveRecord] = []
        for index in entrants.indices {
            if index == 1 {
                records.append(daemon.finish())
            } else {
                records.append(jobs[index]?.outcome(unless: isOver) ?? LiveRecord())
            }
            try Interruption.shared.check()
        }
        return Live(start: start, outcome: outcome, records: records)
    }

    private func wait(
        for ended: Background.Semaphore, _ start: UInt64, _ plan: Plan, _ model: WorkloadModel, _ runner: ScriptRunner,
        _ daemon: KairosContender
    ) throws(TraceBench.Failure) {
        let length = plan.length / plan.scale
        var shown = -1
        while !ended.wait(for: .milliseconds(100)) {
            do throws(TraceBench.Failure) {
                try Interruption.shared.check()
                // What the others do from here on is compared with nobody.
                if daemon.hasEnded {
                    throw TraceBench.Failure(
                        description: "\(model.name): kairos run ended in the middle of it: see what it said above")
                }
            } catch {
                runner.stop()
                ended.wait()
                throw error
            }
            let now = kairos_monotonic_ns()
            let spent = Double(now - min(start, now)) / 1e9
            let tenth = Int(spent / length * 10)
            if tenth > shown, tenth < 10 {
                shown = tenth
                progress("\(model.name): \(tenth * 10) %, \(Int(length - spent) + 1) s left")
            }
        }
    }

    /// Settings and intervals by the real clock, for a recording of what was lived.
    public static func scaled(_ plan: Plan) -> (settings: Settings, intervals: [Duration]) {
        var settings = plan.settings
        settings.quiet = scaled(settings.quiet, plan.scale)
        settings.maxDelay = scaled(settings.maxDelay, plan.scale)
        settings.minInterval = scaled(settings.minInterval, plan.scale)
        return (settings, plan.intervals.map { scaled($0, plan.scale) })
    }

    private static func scaled(_ duration: Duration, _ scale: Double) -> Duration {
        .seconds(duration / .seconds(1) / scale)
    }

    /// Settings by the real clock.
    private static func flags(_ settings: Settings, _ scale: Double) -> [String] {
        func text(_ duration: Duration) -> String {
            // Whole milliseconds would make a fifth more of 0.1 s at 60.
            "\(max(Int((scaled(duration, scale) / .microseconds(1)).rounded()), 1))us"
        }
        return [
            "--quiet", text(settings.quiet), "--max-delay", text(settings.maxDelay), "--min-interval",
            text(settings.minInterval),
        ]
    }

    // MARK: Afterwards

    private func row(
        _ entrant: Entrant, _ index: Int, _ live: Live, _ script: Script, _ plan: Plan, _ space: UInt64
    ) throws(TraceBench.Failure) -> Row {
        let moments = live.outcome.moments[index]
        let record = live.records[index]
        func model(_ time: UInt64) -> UInt64 { UInt64(Double(time - min(time, live.start)) * plan.scale) }
        let states = TreeStates(start: script.start, digests: script.steps.map(\.digest), moments: moments)
        var taken: [TakenAt] = []
        var (between, last) = (0, -1)
        for (number, snapshot) in record.snapshots.enumerated() {
            try Interruption.shared.check()
            let digest = try pool.digest(of: snapshot.name, in: entrant.dataset, mountPoint: entrant.mountPoint)
            let (held, isBetween) = states.held(digest, by: snapshot, after: last)
            between += isBetween ? 1 : 0
            last = held
            // What nothing preceded was captured when it was begun.
            let captured = held < 0 ? 0 : moments[held].done
            // A change may be in it whose call came back only after it was done.
            taken.append(
                TakenAt(captured: model(captured), finished: model(max(snapshot.finished, captured))))
            if number % 50 == 49 {
                progress("\(entrant.name): \(number + 1) of \(record.snapshots.count) snapshots read")
            }
        }
        var builder = HistoryBuilder()
        let place = Array(entrant.name.utf8)
        for (moment, step) in zip(moments, script.steps) {
            builder.take(step.planned.action.facts(time: model(moment.done), place: place))
        }
        let history =
            builder.histories(from: 0, to: UInt64(plan.length * 1e9)).first
            ?? DatasetHistory(name: entrant.name, start: 0, end: UInt64(plan.length * 1e9), changes: [], versions: [])
        let measures = Measures(of: history, taken)
        var problems = record.problems
        if entrant.contender != nil, measures.uncaptured > 0 {
            problems.append("\(measures.uncaptured) changes are in none of its snapshots")
        }
        func seconds(_ moments: [ScriptRunner.Moment]) -> Double {
            moments.reduce(0) { $0 + Double($1.done - $1.began) }
        }
        return Row(
            name: entrant.name, contender: entrant.contender, history: history, snapshots: taken, measures: measures,
            space: space, slowdown: seconds(moments) / max(seconds(live.outcome.moments[0]), 1), cpu: record.cpu,
            between: between, skipped: record.skipped, problems: problems)
    }
}
