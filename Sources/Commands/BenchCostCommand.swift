import ArgumentParser
import Bench
import Datasets
import Policy
import SystemPackage
import Tracing

struct CostBenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cost",
        abstract: "What 'kairos run' costs whoever changes files, and whoever does not.",
        discussion: """
            Measures a write of one byte and a call that has nothing to do with files, alone, with an empty program on the \
            hooks that Kairos has, and with Kairos's programs while the file system is watched or not; and a workload of small \
            files beside fatrace, inotifywait and opensnoop; and on a scratch pool the time from a write to its snapshot, beside \
            the snapshot alone. Each round does all of it, in an order drawn anew; shown is the median of the rounds, with \
            their range. A machine that is not quiet is told of. The programs in the kernel are measured with their records \
            read as they come, and thrown away: what the daemon makes of them is not part of it.

            EXAMPLES:
              kairos bench cost
              kairos bench cost --directory /var/tmp --rounds 15
            """)

    @Option(name: .shortAndLong, help: ArgumentHelp("On this file system.", valueName: "path"))
    var directory = "/dev/shm"

    @Option(help: "Rounds, after one that does not count.")
    var rounds = 7

    @Option(help: "Calls in each round.")
    var calls = 2_000_000

    @Option(help: "Files in each round of the workload.")
    var files = 40_000

    @Option(help: "Draws the orders.")
    var seed: UInt64?

    @Option(help: ArgumentHelp("Also a page for a browser.", valueName: "file"))
    var html: String?

    @Flag(help: "Without fatrace, inotifywait and opensnoop.")
    var alone = false

    @Flag(name: .shortAndLong, help: "JSON on stdout: an array, one object for each figure.")
    var json = false

    mutating func run() throws {
        if rounds < 1 || calls < 21 || files < 1 {
            throw Output.failure("--rounds and --files: at least 1; --calls: at least 21", status: 64)
        }
        try Privileges.requireRoot("kairos bench cost")
        Output.ignoreBrokenPipe()
        try html.map { try Output.requireReplaceable($0) }
        let figures: CostFigures
        do throws(CostBench.Failure) {
            figures = try CostFigures(
                directory: directory, rounds: rounds, calls: calls, files: files, others: !alone,
                seed: seed ?? UInt64.random(in: 0..<1 << 32))
        } catch { throw Output.failure(error.description) }
        let tables = CostTables(figures)
        let place = "On \(SafeText.line(directory)), \(rounds) rounds, seed \(figures.seed)."
        if json {
            Output.line(Output.json(figures.objects))
        } else {
            tables.print()
            Output.line(place)
        }
        if let html {
            var page = HTMLPage(title: "What kairos run costs")
            tables.add(to: &page)
            page.paragraph(place)
            try Output.replace(html, with: page.text)
        }
        if figures.isInvalid { throw ExitCode(1) }
    }
}

/// Figures as tables, for a terminal and for a page.
struct CostTables {
    private(set) var tables: [(title: String, headings: [String], rows: [[String]], remarks: [String])] = []

    init(_ figures: CostFigures) {
        for table in figures.calls { add(table) }
        for workload in figures.workloads { add(workload) }
        add(figures.latency)
    }

    private mutating func add(_ table: CostBench.Table) {
        let what = table.call == .pwrite ? "a write of one byte (pwrite)" : "getppid, which is not looked at"
        var remarks = table.rows.filter { $0.lost > 0 }.map { Self.lost($0.setup.name, $0.lost) }
        remarks += Self.noise(table.isNoisy, table.noise)
        let rows = table.rows.map { row in
            let times = row.times.sorted()
            return [
                Human.factor(times[times.count / 2]), row.setup == .nothing ? "" : Human.signed(row.added),
                row.setup == .empty ? "1" : row.ratio.map { Human.signed($0.median) } ?? "",
                row.ratio.map { "\(Human.signed($0.low))-\(Human.signed($0.high))" } ?? "", row.setup.name,
            ]
        }
        tables.append(
            (
                "Probe set \(table.set.rawValue), \(what)",
                ["NANOSECONDS", "ADDED", "X EMPTY", "LOW-HIGH", "BESIDE IT"],
                rows, remarks
            ))
    }

    private mutating func add(_ workload: CostBench.Workload) {
        let rows = workload.rows.map { row -> [String] in
            if let problem = row.problem {
                return ["-", "", "", "\(row.name): not measured: \(SafeText.line(problem))"]
            }
            let times = row.times.sorted()
            return [
                row.slowdown.map { Human.factor($0.median) } ?? "1",
                row.slowdown.map { "\(Human.factor($0.low))-\(Human.factor($0.high))" } ?? "",
                Human.seconds(times[times.count / 2]), row.name,
            ]
        }
        tables.append(
            (
                "Probe set \(workload.set.rawValue), on \(workload.place), \(workload.files) times: create a file, 8 writes of 512 bytes, close, rename, delete",
                ["SLOWDOWN", "LOW-HIGH", "SECONDS", "BESIDE IT"], rows,
                workload.rows.filter { $0.lost ?? 0 > 0 }.map { Self.lost($0.name, $0.lost ?? 0) }
                    + workload.rows.flatMap { row in
                        row.invalid.map { "INVALID: \(row.name): \(SafeText.line($0))" }
                    } + Self.noise(workload.isNoisy, workload.noise)
            ))
    }

    private mutating func add(_ latency: LatencyBench.Result) {
        let rows = latency.rows.map { row in
            [
                Human.factor(Double(row.median) / 1e6), row.ratio.map { Human.factor($0.median) } ?? "",
                row.ratio.map { "\(Human.factor($0.low))-\(Human.factor($0.high))" } ?? "", row.name,
            ]
        }
        tables.append(
            (
                "From a write to its snapshot, without the quiet time of \(latency.quiet.exactText)",
                ["MILLISECONDS", "X BARE", "LOW-HIGH", "WHAT"], rows,
                latency.invalid.map { "INVALID: \(SafeText.line($0))" } + Self.noise(latency.isNoisy, latency.noise)
            ))
    }

    private static func noise(_ isNoisy: Bool, _ noise: Double) -> [String] {
        guard isNoisy else { return [] }
        return [
            "Noisy: the upper quarter of some rounds took \(Int((noise * 100).rounded())) % longer than the lower one."
        ]
    }

    private static func lost(_ name: String, _ count: UInt64) -> String {
        "\(name): \(Human.count(count, "record")) found the ring full."
    }

    func print() {
        for (title, headings, rows, remarks) in tables {
            Output.line(title + ":")
            var text = TextTable(headings)
            for row in rows { text.add(row) }
            text.print()
            for line in remarks { Output.line(line) }
            Output.line("")
        }
    }

    func add(to page: inout HTMLPage) {
        for (title, headings, rows, remarks) in tables {
            page.heading(title)
            page.table(headings, rows)
            for line in remarks { page.paragraph(line) }
        }
    }
}

/// What `bench cost` measured.
struct CostFigures {
    var directory: String
    var rounds: Int
    var seed: UInt64
    var calls: [CostBench.Table] = []
    var workloads: [CostBench.Workload] = []
    var latency: LatencyBench.Result

    /// Somebody's figures are not to be believed.
    var isInvalid: Bool {
        !latency.invalid.isEmpty || workloads.contains { $0.rows.contains { !$0.invalid.isEmpty } }
    }

    /// - Parameter others: whether fatrace, inotifywait and opensnoop are measured, too.
    init(
        directory: String, rounds: Int, calls count: Int, files: Int, others: Bool, seed: UInt64
    ) throws(CostBench.Failure) {
        (self.directory, self.rounds, self.seed) = (directory, rounds, seed)
        let bench = try CostBench(kairos: try Output.ownPath(), rounds: rounds, calls: count, files: files, seed: seed)
        {
            Output.message($0)
        }
        let sets = CostBench.sets()
        bench.parts = sets.count * 3 + 1
        guard !sets.isEmpty else {
            throw CostBench.Failure(description: "no probe set loads here; 'kairos doctor -v' says why")
        }
        for set in sets {
            for call in CallLoop.allCases { calls.append(try bench.calls(call, set, below: directory)) }
            workloads.append(try bench.workload(set, below: directory, others: others))
        }
        let pool = try BenchPool(in: nil)
        let found: Result<(CostBench.Workload, LatencyBench.Result), CostBench.Failure>
        do throws(CostBench.Failure) {
            let latency = try LatencyBench(kairos: try Output.ownPath(), pool: pool, rounds: rounds * 3, seed: seed) {
                Output.message($0)
            }
            let dataset = try pool.make("files")
            found = .success(
                (
                    try bench.workload(
                        sets[0], below: dataset.mountPoint, dataset: dataset.name, others: others),
                    try latency.run()
                ))
        } catch { found = .failure(error) }
        for line in pool.remove() { Output.message("not removed: \(line)") }
        try Interruption.shared.end()
        let (workload, latency) = try found.get()
        workloads.append(workload)
        self.latency = latency
    }
}

extension CostFigures {
    /// As JSON has them.
    var objects: [CostRow] { CostRow.rows(self) }
}

struct CostRow: Encodable {
    var probes: String
    var measured: String
    var place: String?
    var beside: String
    var nanoseconds: [Double]
    var addedNanoseconds: Double?
    var toEmpty: Double?
    var toEmptyLow: Double?
    var toEmptyHigh: Double?
    var toBare: Double?
    var toBareLow: Double?
    var toBareHigh: Double?
    var slowdown: Double?
    var slowdownLow: Double?
    var slowdownHigh: Double?
    var noise: Double?
    var recordsLost: UInt64?
    var problem: String?
    /// Why it is not to be believed.
    var invalid: [String]?
    var seed: UInt64

    fileprivate static func rows(_ figures: CostFigures) -> [CostRow] {
        figures.calls.flatMap { rows($0, figures.seed) } + figures.workloads.flatMap { rows($0, figures.seed) }
            + rows(figures.latency, figures.seed)
    }

    private static func rows(_ table: CostBench.Table, _ seed: UInt64) -> [CostRow] {
        table.rows.map { row in
            CostRow(
                probes: table.set.rawValue, measured: table.call.rawValue, beside: row.setup.name,
                nanoseconds: row.times, addedNanoseconds: row.setup == .nothing ? nil : row.added,
                toEmpty: row.ratio?.median, toEmptyLow: row.ratio?.low, toEmptyHigh: row.ratio?.high,
                noise: table.noise, recordsLost: row.lost, seed: seed)
        }
    }

    private static func rows(_ latency: LatencyBench.Result, _ seed: UInt64) -> [CostRow] {
        latency.rows.map { row in
            CostRow(
                probes: "", measured: "change-to-snapshot", beside: row.name, nanoseconds: row.times.map { Double($0) },
                toBare: row.ratio?.median, toBareLow: row.ratio?.low, toBareHigh: row.ratio?.high, noise: latency.noise,
                invalid: latency.invalid, seed: seed)
        }
    }

    private static func rows(_ workload: CostBench.Workload, _ seed: UInt64) -> [CostRow] {
        workload.rows.map { row in
            CostRow(
                probes: workload.set.rawValue, measured: "files", place: workload.place, beside: row.name,
                nanoseconds: row.times.map { Double($0.nanoseconds) }, slowdown: row.slowdown?.median,
                slowdownLow: row.slowdown?.low, slowdownHigh: row.slowdown?.high,
                noise: workload.noise, recordsLost: row.lost, problem: row.problem, invalid: row.invalid, seed: seed)
        }
    }
}

/// The calls, in a process of their own.
struct CostCallsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cost-calls", abstract: "Do the calls of 'bench cost' once.", shouldDisplay: false)

    @Argument var call: String
    @Argument var directory: String
    @Argument var count: Int

    mutating func run() throws {
        guard let loop = CallLoop(rawValue: call) else { throw Output.failure("no call: \(call)", status: 64) }
        do throws(Errno) { Output.line("\(try loop.run(in: directory, calls: count))") } catch {
            throw Output.failure("\(SafeText.line(directory)): \(error)")
        }
    }
}
