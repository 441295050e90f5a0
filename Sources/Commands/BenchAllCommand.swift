import ArgumentParser
import Bench
import Datasets
import Glibc
import Policy
import Trace

struct BenchAllCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "all",
        abstract: "A short run of 'bench cron', 'bench replay' and 'bench cost', on one page.",
        discussion: """
            Lives half an hour of the mixed workload in a minute, records it meanwhile, plays the recording to the simulator, and \
            measures what the probes cost. About five minutes. For figures to believe, run them one by one and longer: \
            docs/benchmark.md.

            EXAMPLES:
              kairos bench all --html report.html
            """)

    @Option(help: ArgumentHelp("A page with all of it, for a browser, drawn by gnuplot.", valueName: "file"))
    var html: String?

    @Flag(name: .shortAndLong, help: "JSON on stdout: an object with the arrays live, simulated and cost.")
    var json = false

    @Option(help: "Draws the workload and the orders.")
    var seed: UInt64?

    mutating func run() throws {
        try Privileges.requireRoot("kairos bench all")
        Output.ignoreBrokenPipe()
        let plotter: Gnuplot?
        do throws(Gnuplot.Failure) { plotter = html == nil ? nil : try Gnuplot() } catch {
            throw Output.failure(error.description)
        }
        try html.map { try Output.requireReplaceable($0) }
        let seed = seed ?? UInt64.random(in: 0..<1 << 32)
        var template = Array("/tmp/kairos-bench-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Output.failure("cannot make a directory in /tmp") }
        let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let recording = directory + "/day.trace"
        defer {
            unlink(recording)
            unlink(recording + ".ready")
            rmdir(directory)
        }
        let plan = CronBench.Plan(
            seed: seed, length: 1_800, scale: 30, settings: Settings(),
            intervals: [.seconds(300), .seconds(60), .seconds(900)], recording: recording)
        let json = json
        let live = try CronBenchCommand.results([.mixed], plan, in: nil) { if !json { CronBenchText($0).print() } }
        let texts = live.map { CronBenchText($0) }
        let replay = try ReplayText(recording, plan, snapshotTime: live[0].snapshotTime * plan.scale)
        if !json { replay.print() }
        let figures: CostFigures
        do throws(CostBench.Failure) {
            figures = try CostFigures(
                directory: "/dev/shm", rounds: 5, calls: 1_000_000, files: 20_000, others: true, seed: seed)
        } catch { throw Output.failure(error.description) }
        let cost = CostTables(figures)
        if json {
            Output.line(
                Output.json(
                    AllFigures(live: texts.flatMap(\.objects), simulated: replay.objects, cost: figures.objects)))
        } else {
            cost.print()
        }
        if let html, let plotter {
            var page = HTMLPage(title: "kairos bench: a short run")
            do throws(Gnuplot.Failure) {
                for text in texts { try text.add(to: &page, plotter) }
                try replay.add(to: &page, plotter)
            } catch { throw Output.failure("--html: \(error)") }
            page.chapter("Cost")
            cost.add(to: &page)
            try Output.replace(html, with: page.text)
            Output.message("\(SafeText.line(html)) is written")
        }
        if live.contains(where: { $0.rows.contains { !$0.problems.isEmpty } }) || replay.isInvalid || figures.isInvalid
        {
            throw ExitCode(1)
        }
    }
}

private struct AllFigures: Encodable {
    var live: [CronRow]
    var simulated: [ReplayRow]
    var cost: [CostRow]
}

/// The recording of a live run, played to the simulator by the workload's clock.
private struct ReplayText {
    private let day: RecordedDay
    private let bench: ReplayBench
    private let entries: [ComparisonReport.Entry]
    private let curves: [ComparisonReport.Curve]
    private let remarks: [String]
    var isInvalid: Bool { day.lost > 0 || !day.damage.isEmpty }

    init(_ recording: String, _ plan: CronBench.Plan, snapshotTime: Duration) throws {
        do throws(RecordingReader.Failure) {
            day = try RecordedDay(recording, only: []).stretched(by: plan.scale)
        } catch {
            throw Output.failure(error.description)
        }
        let bench = ReplayBench(day: day, snapshotTime: snapshotTime, checkTime: snapshotTime)
        var contenders: [(String, Contender)] = [("kairos", .kairos(plan.settings))]
        for interval in plan.intervals {
            let text = "cron \(interval.exactText)"
            contenders.append((text, .cron(every: interval, onlyWritten: false)))
            contenders.append((text + " if written", .cron(every: interval, onlyWritten: true)))
        }
        entries = contenders.map { name, contender in
            ComparisonReport.Entry(
                name: name, contender: contender, measures: bench.measures(contender), days: bench.days(of: contender))
        }
        self.bench = bench
        curves = bench.sweep()
        var remarks = [
            "What 'kairos trace' recorded of that, \(Human.count(day.events, "event")) in "
                + "\(Human.span(.seconds(day.seconds))) of the workload's clock, played to the simulator with the same settings."
        ]
        if day.lost > 0 { remarks.append("INVALID: the recording lost \(Human.count(day.lost, "record")).") }
        self.remarks = remarks + ComparisonTable.equalNumber(bench, "kairos", entries[0].measures)
    }

    private var rows: [[String]] { entries.map { ComparisonTable.row($0.name, $0.measures) } }
    var objects: [ReplayRow] { entries.map { ReplayRow($0, day, bench) } }

    func print() {
        var table = TextTable(ComparisonTable.headings)
        for line in remarks.prefix(1) { Output.line(line) }
        for row in rows { table.add(row) }
        table.print()
        for line in remarks.dropFirst() { Output.line(line) }
        Output.line("")
    }

    func add(to page: inout HTMLPage, _ plotter: Gnuplot) throws(Gnuplot.Failure) {
        page.chapter("Simulated")
        let report = ComparisonReport(
            plotter: plotter, name: "simulated", entries: entries, length: day.seconds, curves: curves)
        try report.add(to: &page, headings: ComparisonTable.headings, rows: rows, remarks: remarks)
    }
}
