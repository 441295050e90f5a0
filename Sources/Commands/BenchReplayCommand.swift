import ArgumentParser
import Bench
import Datasets
import Policy
import Trace

struct ReplayBenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "What Kairos and cron would have made of a day that 'kairos trace --record' recorded.",
        discussion: """
            Plays the recorded changes, in no time, to the policy that 'kairos run' goes by and to cron jobs. All begin with \
            a snapshot that is not counted, and end when every change is in one. 'If written' is cron that takes no snapshot \
            of a dataset that did not change. What each column means: docs/benchmark.md.

            EXAMPLES:
              kairos trace --record day.trace --duration 1d             with --op all for commit-quiet
              kairos bench replay day.trace
              kairos bench replay day.trace --dataset tank/home --policy quiet=10s --policy quiet=1m,max-delay=10m
              kairos bench replay day.trace --sweep --html day.html
            """)

    @Argument(help: ArgumentHelp("The recording.", valueName: "trace"))
    var trace: String

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "A policy of Kairos: quiet, max-delay, min-interval, commit-quiet. May be given several times. Default: that of 'kairos run'.",
            valueName: "name=duration,..."))
    var policy: [String] = []

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "A cron job's interval. May be given several times. Default: 1m, 5m, 15m, 1h.", valueName: "duration"))
    var cron: [String] = []

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "Only this dataset, or all file systems of this type. May be given several times. Default: all datasets.",
            valueName: "name"))
    var dataset: [String] = []

    @Option(help: ArgumentHelp("How long a snapshot and a check take.", valueName: "duration"))
    var snapshotTime = "15ms"

    @Flag(help: "Also the trade-off between snapshots and risk: Kairos at many settings, cron at many intervals.")
    var sweep = false

    @Option(help: ArgumentHelp("Also a page with pictures, for a browser, drawn by gnuplot.", valueName: "file"))
    var html: String?

    @Flag(name: .shortAndLong, help: "JSON on stdout: an array, one object for each contender.")
    var json = false

    mutating func run() throws {
        Output.ignoreBrokenPipe()
        var contenders: [(name: String, contender: Contender)] = []
        for text in policy {
            do throws(PolicyText.Fault) {
                contenders.append(("kairos \(text)", .kairos(try PolicyText(parsing: text).settings)))
            } catch { throw Output.failure("--policy \(SafeText.line(text)): \(error)", status: 64) }
        }
        if policy.isEmpty { contenders.append(("kairos", .kairos(Settings()))) }
        for interval in try (cron.isEmpty ? ["1m", "5m", "15m", "1h"] : cron).map({ try duration("--cron", $0) }) {
            guard interval >= .milliseconds(1) else { throw Output.failure("--cron: at least 1ms", status: 64) }
            let text = interval.exactText
            contenders.append(("cron \(text)", .cron(every: interval, onlyWritten: false)))
            contenders.append(("cron \(text) if written", .cron(every: interval, onlyWritten: true)))
        }
        let cost = try duration("--snapshot-time", snapshotTime)
        let plotter: Gnuplot?
        do throws(Gnuplot.Failure) { plotter = html == nil ? nil : try Gnuplot() } catch {
            throw Output.failure(error.description)
        }
        try html.map { try Output.requireReplaceable($0) }
        let day: RecordedDay
        do throws(RecordingReader.Failure) { day = try RecordedDay(trace, only: dataset) } catch {
            throw Output.failure(error.description)
        }
        for damage in day.damage { Output.message("\(damage); what is whole was used") }
        guard day.histories.contains(where: { !$0.changes.isEmpty }) else {
            let what = dataset.isEmpty ? "" : " on \(dataset.map { SafeText.line($0) }.joined(separator: ", "))"
            let names = day.places.map { SafeText.line($0) }.sorted()
            let known = names.isEmpty ? "" : "; there is something on \(names.prefix(10).joined(separator: ", "))"
            throw Output.failure(
                "\(SafeText.line(trace)): no change\(what) in \(Human.count(day.events, "event")): nothing to compare\(known)"
            )
        }
        guard day.seconds < 400 * 86_400, cost <= .seconds(86_400) else {
            throw Output.failure(
                "\(SafeText.line(trace)): more than 400 days, or a --snapshot-time of more than a day: no such day is simulated"
            )
        }
        for case .cron(let interval, _) in contenders.map(\.contender)
        where .seconds(day.seconds) / interval * Double(day.histories.count) > 10_000_000 {
            throw Output.failure(
                "--cron \(interval.exactText): more than ten million ticks in \(Human.span(.seconds(day.seconds))) on \(Human.count(day.histories.count, "dataset")): take a longer one",
                status: 64)
        }
        let bench = ReplayBench(day: day, snapshotTime: cost, checkTime: cost)
        let entries = contenders.map {
            ComparisonReport.Entry(
                name: $0.name, contender: $0.contender, measures: bench.measures($0.contender),
                days: bench.days(of: $0.contender))
        }
        let curves = sweep || html != nil ? bench.sweep() : []
        let rows = entries.map { ComparisonTable.row($0.name, $0.measures) }
        var remarks = entries.flatMap { entry in
            guard case .kairos = entry.contender else { return [String]() }
            return ComparisonTable.equalNumber(bench, entry.name, entry.measures)
        }
        for entry in entries where entry.measures.uncaptured > 0 {
            remarks.append("\(entry.name): \(Human.count(entry.measures.uncaptured, "change")) came into no snapshot.")
        }
        var warnings: [String] = []
        let asksCommits = contenders.contains {
            if case .kairos(let settings) = $0.contender { settings.commitQuiet != nil } else { false }
        }
        if asksCommits, !day.hasCommits {
            warnings.append(
                "commit-quiet waits for closes and syncs, and the recording has none: record with 'kairos trace --op all'."
            )
        }
        remarks += warnings
        if json {
            // Who reads the rows reads these, too.
            if day.lost > 0 { warnings.append(Self.lost(day)) }
            for line in warnings { Output.message(line) }
            Output.line(
                Output.json(
                    entries.map { ReplayRow($0, day, bench) }
                        + curves.flatMap { curve in curve.points.map { ReplayRow(curve.name, $0, day) } }))
        } else {
            for line in summary(day) { Output.line(line) }
            var table = TextTable(ComparisonTable.headings)
            for row in rows { table.add(row) }
            table.print()
            for line in remarks { Output.line(line) }
            if sweep { show(curves, day) }
        }
        if let html, let plotter {
            let report = ComparisonReport(
                plotter: plotter, name: "replay", entries: entries, length: day.seconds, curves: curves)
            var page = HTMLPage(title: "Kairos and cron on a recorded day")
            do throws(Gnuplot.Failure) {
                try report.add(
                    to: &page, headings: ComparisonTable.headings, rows: rows, remarks: summary(day) + remarks)
            } catch { throw Output.failure("--html: \(error)") }
            try Output.replace(html, with: page.text)
        }
        if !day.damage.isEmpty || day.lost > 0 { throw ExitCode(1) }
    }

    private func duration(_ option: String, _ text: String) throws -> Duration {
        do throws(DurationSyntaxError) { return try Duration(parsing: text) } catch {
            throw Output.failure("\(option): \(error)", status: 64)
        }
    }

    // MARK: Text

    private func summary(_ day: RecordedDay) -> [String] {
        let changes = day.histories.reduce(0) { $0 + $1.changes.count }
        let kind = day.isMadeUp ? "file system" : "dataset"
        var lines = [
            "\(Human.count(changes, "change")) on \(Human.count(day.histories.count, kind)) in "
                + "\(Human.span(.seconds(day.seconds)))"
                + (day.isMadeUp
                    ? "; \(dataset.isEmpty ? "no dataset is in the trace" : "none of these is a dataset"), so each file system stands for one"
                    : "")
        ]
        if day.lost > 0 {
            lines.append(Self.lost(day))
        }
        return lines
    }

    private static func lost(_ day: RecordedDay) -> String {
        "INVALID: the recording lost \(Human.count(day.lost, "record")): what is shown is of the others."
    }

    private func show(_ curves: [(name: String, points: [ReplayBench.Point])], _ day: RecordedDay) {
        for curve in curves {
            Output.line("")
            var table = TextTable(["SNAPSHOTS A DAY", "AT RISK", curve.name.uppercased()])
            for point in curve.points {
                table.add([
                    "\(Int((Double(point.snapshots) * 86400 / max(day.seconds, 1e-9)).rounded()))",
                    Human.bytes(UInt64(point.byteSeconds / max(day.seconds, 1e-9))), point.contender.setting,
                ])
            }
            table.print()
        }
    }
}

extension Contender {
    /// What tells it from others of its kind.
    fileprivate var setting: String {
        switch self {
        case .kairos(let settings): "quiet=\(settings.quiet.exactText),max-delay=\(settings.maxDelay.exactText)"
        case .cron(let interval, _): interval.exactText
        }
    }
}

struct ReplayRow: Encodable {
    var contender: String
    var setting: String?
    var snapshots: Int
    var empty: Int?
    var versionsAtRest: Int?
    var versionsAtRestCaptured: Int?
    var deleted: Int?
    var deletedCaptured: Int?
    var windowMedianMs: Double?
    var windowP95Ms: Double?
    var windowMaxMs: Double?
    /// Changes that came into no snapshot.
    var uncaptured: Int?
    var byteSeconds: Double
    var seconds: Double
    var recordsLost: UInt64
    /// Of Kairos: cron's bytes at risk at an equal number of snapshots, by Kairos's.
    var atEqualNumber: [EqualNumber]?

    init(_ entry: ComparisonReport.Entry, _ day: RecordedDay, _ bench: ReplayBench) {
        let measured = entry.measures
        contender = entry.name
        if case .kairos = entry.contender { atEqualNumber = EqualNumber.all(bench, measured) }
        snapshots = measured.snapshots
        empty = measured.empty
        versionsAtRest = measured.versions
        versionsAtRestCaptured = measured.versionsCaptured
        deleted = measured.deleted
        deletedCaptured = measured.deletedCaptured
        windowMedianMs = measured.window(quantile: 0.5).map { Double($0) / 1e6 }
        windowP95Ms = measured.window(quantile: 0.95).map { Double($0) / 1e6 }
        windowMaxMs = measured.windows.last.map { Double($0) / 1e6 }
        uncaptured = measured.uncaptured
        byteSeconds = measured.byteSeconds
        seconds = day.seconds
        recordsLost = day.lost
    }

    init(_ name: String, _ point: ReplayBench.Point, _ day: RecordedDay) {
        contender = name
        setting = point.contender.setting
        snapshots = point.snapshots
        byteSeconds = point.byteSeconds
        seconds = day.seconds
        recordsLost = day.lost
    }
}
