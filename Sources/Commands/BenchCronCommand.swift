import ArgumentParser
import Bench
import Datasets
import Policy

struct CronBenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cron",
        abstract: "Kairos beside cron jobs, live: the same workload on datasets of one pool, with real snapshots.",
        discussion: """
            Each contender has a dataset of its own in a scratch pool: 'kairos run', 'zfs snapshot' at intervals, and the same \
            where something was written since the last one. A workload changes all of them alike and at the same time, \
            with its clock and everybody's settings sped up by --time-scale; times that are shown are those of the workload's clock. \
            When it is over every snapshot is read, and compared with the workload's own log. What each column means: \
            docs/benchmark.md.

            WORKLOADS:
            \(WorkloadModel.everything.map { "  \($0.name): \($0.parameters)" }.joined(separator: "\n"))

            EXAMPLES:
              kairos bench cron
              kairos bench cron --workload all --length 2h --time-scale 30 --html report.html
              kairos bench cron --workload database --quiet 1s --cron 5m
            """)

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("One of those above, or all; may be given several times. Default: mixed.", valueName: "name")
    )
    var workload: [String] = []

    @Option(help: ArgumentHelp("How long it takes by the workload's clock.", valueName: "duration"))
    var length = "1h"

    @Option(help: ArgumentHelp("How much faster than that clock it is done.", valueName: "factor"))
    var timeScale = 60.0

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "A cron job's interval. May be given several times. Default: 5m, 1m, 15m, 1h.", valueName: "duration"))
    var cron: [String] = []

    @Option(help: ArgumentHelp("As of 'kairos run'.", valueName: "duration"))
    var quiet: String?

    @Option(help: ArgumentHelp("As of 'kairos run'.", valueName: "duration"))
    var maxDelay: String?

    @Option(help: ArgumentHelp("As of 'kairos run'.", valueName: "duration"))
    var minInterval: String?

    @Option(help: ArgumentHelp("Below this pool or dataset, and not in a scratch pool.", valueName: "name"))
    var pool: String?

    @Option(help: "Draws the workload.")
    var seed: UInt64?

    @Option(help: ArgumentHelp("Also a page with pictures, for a browser, drawn by gnuplot.", valueName: "file"))
    var html: String?

    @Flag(name: .shortAndLong, help: "JSON on stdout: an array, one object for each workload and contender.")
    var json = false

    mutating func run() throws {
        let models = try models()
        let plan = try plan()
        try Privileges.requireRoot("kairos bench cron")
        Output.ignoreBrokenPipe()
        var page = HTMLPage(title: "Kairos and cron, side by side")
        let plotter: Gnuplot?
        do throws(Gnuplot.Failure) { plotter = html == nil ? nil : try Gnuplot() } catch {
            throw Output.failure(error.description)
        }
        try html.map { try Output.requireReplaceable($0) }
        let json = json
        let results = try Self.results(models, plan, in: pool) { if !json { CronBenchText($0).print() } }
        let texts = results.map { CronBenchText($0) }
        if json { Output.line(Output.json(texts.flatMap(\.objects))) }
        if let html, let plotter {
            do throws(Gnuplot.Failure) { for text in texts { try text.add(to: &page, plotter) } } catch {
                throw Output.failure("--html: \(error)")
            }
            try Output.replace(html, with: page.text)
        }
        if results.contains(where: { $0.rows.contains { !$0.problems.isEmpty } }) { throw ExitCode(1) }
    }

    /// One after the other, in one pool that is gone afterwards; each is handed over as soon as it is there.
    static func results(
        _ models: [WorkloadModel], _ plan: CronBench.Plan, in pool: String?, each: (CronBench.Result) -> Void
    ) throws -> [CronBench.Result] {
        do throws(TraceBench.Failure) {
            // Before anything is made.
            try Interruption.shared.begin()
            let pool = try BenchPool(in: pool)
            let outcome: Result<[CronBench.Result], TraceBench.Failure>
            do throws(TraceBench.Failure) {
                let bench = try CronBench(kairos: try Output.ownPath(), pool: pool) { Output.message($0) }
                var results: [CronBench.Result] = []
                for (place, model) in models.enumerated() {
                    if models.count > 1 {
                        let left = Double(models.count - place) * plan.length / plan.scale
                        Output.message(
                            "workload \(place + 1) of \(models.count), at least \(Human.span(.seconds(left))) left")
                    }
                    results.append(try bench.run(model, plan))
                    each(results[results.count - 1])
                }
                outcome = .success(results)
            } catch { outcome = .failure(error) }
            for line in pool.remove() { Output.message("not removed: \(line)") }
            let results = try outcome.get()
            try Interruption.shared.end()
            return results
        } catch { throw Output.failure(error.description) }
    }

    private func models() throws -> [WorkloadModel] {
        var models: [WorkloadModel] = []
        for name in workload.isEmpty ? ["mixed"] : workload {
            if name == "all" {
                models += WorkloadModel.everything
            } else if let model = WorkloadModel.named(name) {
                models.append(model)
            } else {
                let names = WorkloadModel.everything.map(\.name).joined(separator: ", ")
                throw Output.failure("--workload \(SafeText.line(name)): none of \(names), all", status: 64)
            }
        }
        return models
    }

    private func plan() throws -> CronBench.Plan {
        func duration(_ option: String, _ text: String) throws -> Duration {
            do throws(DurationSyntaxError) { return try Duration(parsing: text) } catch {
                throw Output.failure("\(option): \(error)", status: 64)
            }
        }
        let given = try [("--quiet", quiet), ("--max-delay", maxDelay), ("--min-interval", minInterval)].map {
            option, text in
            try text.map { try duration(option, $0) }
        }
        let settings: Settings
        do throws(SettingsError) {
            settings = try .given(quiet: given[0], maxDelay: given[1], minInterval: given[2])
        } catch { throw Output.failure("\(error)", status: 64) }
        guard timeScale >= 1, timeScale <= 1000 else {
            throw Output.failure("--time-scale: from 1 to 1000", status: 64)
        }
        guard settings.quiet / timeScale >= .milliseconds(1) else {
            throw Output.failure(
                "--quiet \(settings.quiet.exactText): less than 1 ms at a --time-scale of \(Human.factor(timeScale)), which 'kairos run' does not know",
                status: 64)
        }
        let length = try duration("--length", length)
        guard length >= .seconds(60), length <= .seconds(86_400 * 7) else {
            throw Output.failure("--length: from 1m to 7d", status: 64)
        }
        let intervals = try (cron.isEmpty ? ["5m", "1m", "15m", "1h"] : cron).map { try duration("--cron", $0) }
        for interval in intervals where interval / timeScale < .milliseconds(100) {
            throw Output.failure(
                "--cron \(interval.exactText): less than 100 ms at a --time-scale of \(Human.factor(timeScale)): no cron job comes so often",
                status: 64)
        }
        return CronBench.Plan(
            seed: seed ?? UInt64.random(in: 0..<1 << 32), length: length / .seconds(1), scale: timeScale,
            settings: settings, intervals: intervals)
    }
}

/// What is shown of a live comparison.
struct CronBenchText {
    private let result: CronBench.Result
    private let entries: [ComparisonReport.Entry]

    init(_ result: CronBench.Result) {
        self.result = result
        entries = result.rows.compactMap { row in
            row.contender.map {
                ComparisonReport.Entry(
                    name: row.name, contender: $0, measures: row.measures, days: [(row.history, row.snapshots)])
            }
        }
    }

    private static let headings =
        Array(ComparisonTable.headings.dropLast()) + ["SPACE", "SLOWDOWN", "CPU", "CONTENDER"]

    private var summary: [String] {
        let plan = result.plan
        return [
            "\(result.model.name): \(Human.count(result.actions, "change")) in \(Human.span(.seconds(plan.length))), "
                + "\(Human.factor(plan.scale)) times as fast (seed \(plan.seed)): \(result.model.parameters).",
            "A snapshot took \(Human.milliseconds(result.snapshotTime)) ms, which is "
                + "\(Human.span(result.snapshotTime * plan.scale)) of that clock; no change came later than "
                + "\(Human.span(result.late)) after its time.",
        ]
    }

    private var rows: [[String]] {
        result.rows.map { row in
            let cells =
                row.contender == nil
                ? [String](repeating: "", count: ComparisonTable.headings.count - 1)
                : ComparisonTable.row(row.name, row.measures).dropLast()
            return cells + [
                row.contender == nil ? "" : Human.bytes(row.space), Human.factor(row.slowdown),
                row.contender == nil ? "" : Human.seconds(row.cpu), row.name,
            ]
        }
    }

    /// By simulation on the log of what was lived, since an equal number is known only afterwards.
    private var remarks: [String] {
        guard let kairos = result.rows.first(where: { if case .kairos = $0.contender { true } else { false } }) else {
            return []
        }
        let bench = result.replay(of: kairos)
        var lines = ComparisonTable.equalNumber(bench, kairos.name, kairos.measures).map { "At an equal number: " + $0 }
        for row in result.rows {
            lines += row.problems.map { "INVALID: \(row.name): \(SafeText.line($0))" }
            if row.skipped > 0 {
                lines.append(
                    "\(row.name): \(Human.count(row.skipped, "tick")) left out, since the snapshot before took longer than its interval."
                )
            }
            if row.between > 0 {
                lines.append(
                    "\(row.name): \(Human.count(row.between, "snapshot")) of \(row.snapshots.count) fell into the middle of a change; "
                        + "what it holds was counted as that change not being in it.")
            }
        }
        return lines
    }

    func print() {
        for line in summary { Output.line(line) }
        var table = TextTable(Self.headings)
        for row in rows { table.add(row) }
        table.print()
        for line in remarks { Output.line(line) }
        Output.line("")
    }

    func add(to page: inout HTMLPage, _ plotter: Gnuplot) throws(Gnuplot.Failure) {
        page.chapter("Live: \(result.model.name)")
        let report = ComparisonReport(
            plotter: plotter, name: "live-\(result.model.name)", entries: entries, length: result.plan.length,
            curves: result.rows.first { $0.name == "kairos" }.map { result.replay(of: $0).sweep() } ?? [])
        try report.add(to: &page, headings: Self.headings, rows: rows, remarks: summary + remarks)
    }

    var objects: [CronRow] { result.rows.map { CronRow($0, result) } }
}

extension CronBench.Result {
    /// What happened to one contender's dataset, for the simulator, by the model's clock.
    fileprivate func replay(of row: CronBench.Row) -> ReplayBench {
        let cost = snapshotTime * plan.scale
        return ReplayBench(
            day: RecordedDay(histories: [row.history], wallOffset: 0), snapshotTime: cost, checkTime: cost)
    }
}

struct CronRow: Encodable {
    var workload: String
    var contender: String
    var seed: UInt64
    var seconds: Double
    var timeScale: Double
    var snapshots: Int
    var empty: Int
    var versionsAtRest: Int
    var versionsAtRestCaptured: Int
    var deleted: Int
    var deletedCaptured: Int
    var windowMedianMs: Double?
    var windowP95Ms: Double?
    var windowMaxMs: Double?
    var byteSeconds: Double
    var snapshotBytes: UInt64
    /// Of all `zfs snapshot` of the run, real; and the most that a change came too late, of the model.
    var snapshotMs: Double
    var lateMs: Double
    /// Of Kairos: cron's bytes at risk at an equal number of snapshots, by Kairos's.
    var atEqualNumber: [EqualNumber]?
    var slowdown: Double
    var cpuMs: Int64
    /// Snapshots in the middle of a change.
    var between: Int
    /// Ticks of cron that were left out, since the one before them still ran.
    var skipped: Int
    var problems: [String]

    init(_ row: CronBench.Row, _ result: CronBench.Result) {
        workload = result.model.name
        contender = row.name
        seed = result.plan.seed
        seconds = result.plan.length
        timeScale = result.plan.scale
        snapshots = row.measures.snapshots
        empty = row.measures.empty
        versionsAtRest = row.measures.versions
        versionsAtRestCaptured = row.measures.versionsCaptured
        deleted = row.measures.deleted
        deletedCaptured = row.measures.deletedCaptured
        windowMedianMs = row.measures.window(quantile: 0.5).map { Double($0) / 1e6 }
        windowP95Ms = row.measures.window(quantile: 0.95).map { Double($0) / 1e6 }
        windowMaxMs = row.measures.windows.last.map { Double($0) / 1e6 }
        byteSeconds = row.measures.byteSeconds
        snapshotBytes = row.space
        snapshotMs = result.snapshotTime / .milliseconds(1)
        lateMs = result.late / .milliseconds(1)
        if case .kairos = row.contender {
            atEqualNumber = EqualNumber.all(result.replay(of: row), row.measures)
        }
        slowdown = row.slowdown
        cpuMs = Human.milliseconds(row.cpu)
        between = row.between
        skipped = row.skipped
        problems = row.problems
    }
}
