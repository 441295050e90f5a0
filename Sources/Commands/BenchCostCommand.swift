import ArgumentParser
import Bench
import Datasets
import SystemPackage
import Tracing

struct CostBenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cost",
        abstract: "What 'kairos run' costs whoever changes files, and whoever does not.",
        discussion: """
            Measures a write of one byte and a call that has nothing to do with files, alone, with an empty program on the \
            hooks that Kairos has, and with Kairos's programs while the file system is watched or not; and a workload of small \
            files beside fatrace, inotifywait and opensnoop. Each round does all of it, in an order drawn anew; shown is the \
            median of the rounds, with their range. A machine that is not quiet is told of. What is measured are the programs \
            in the kernel: the daemon's own work, which reads their records, is not part of it.

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
        let sets = CostBench.sets()
        guard !sets.isEmpty else { throw Output.failure("no probe set loads here; 'kairos doctor -v' says why") }
        let seed = seed ?? UInt64.random(in: 0..<1 << 32)
        var tables: [CostBench.Table] = []
        var workloads: [CostBench.Workload] = []
        do throws(CostBench.Failure) {
            let bench = try CostBench(
                kairos: try Output.ownPath(), rounds: rounds, calls: calls, files: files, seed: seed
            ) { Output.message($0) }
            for set in sets {
                for call in CallLoop.allCases { tables.append(try bench.calls(call, set, below: directory)) }
                workloads.append(try bench.workload(set, below: directory, others: !alone))
            }
        } catch { throw Output.failure(error.description) }
        if json {
            Output.line(Output.json(tables.flatMap(CostRow.rows) + workloads.flatMap(CostRow.rows)))
            return
        }
        for table in tables { show(table) }
        for workload in workloads { show(workload) }
        Output.line("On \(SafeText.line(directory)), \(rounds) rounds, seed \(seed).")
    }

    private func show(_ table: CostBench.Table) {
        let what = table.call == .pwrite ? "a write of one byte (pwrite)" : "getppid, which is not looked at"
        Output.line("Probe set \(table.set.rawValue), \(what):")
        var text = TextTable(["NANOSECONDS", "ADDED", "X EMPTY", "LOW-HIGH", "BESIDE IT"])
        for row in table.rows {
            let times = row.times.sorted()
            text.add([
                Human.factor(times[times.count / 2]), row.setup == .nothing ? "" : Human.signed(row.added),
                row.setup == .empty ? "1" : row.ratio.map { Human.signed($0.median) } ?? "",
                row.ratio.map { "\(Human.signed($0.low))-\(Human.signed($0.high))" } ?? "", row.setup.name,
            ])
        }
        text.print()
        if table.isNoisy {
            Output.line(
                "Noisy: with nothing beside it the slowest round took \(Int((table.noise * 100).rounded())) % longer than the fastest."
            )
        }
        Output.line("")
    }

    private func show(_ workload: CostBench.Workload) {
        Output.line(
            "Probe set \(workload.set.rawValue), \(workload.files) times: create a file, 8 writes of 512 bytes, close, rename, delete:"
        )
        var text = TextTable(["SLOWDOWN", "LOW-HIGH", "SECONDS", "BESIDE IT"])
        for row in workload.rows {
            if let problem = row.problem {
                text.add(["-", "", "", "\(row.name): not measured: \(SafeText.line(problem))"])
                continue
            }
            let times = row.times.sorted()
            text.add([
                row.slowdown.map { Human.factor($0.median) } ?? "1",
                row.slowdown.map { "\(Human.factor($0.low))-\(Human.factor($0.high))" } ?? "",
                Human.seconds(times[times.count / 2]), row.name,
            ])
        }
        text.print()
        Output.line("")
    }
}

private struct CostRow: Encodable {
    var probes: String
    var measured: String
    var beside: String
    var nanoseconds: [Double]
    var addedNanoseconds: Double?
    var toEmpty: Double?
    var toEmptyLow: Double?
    var toEmptyHigh: Double?
    var slowdown: Double?
    var slowdownLow: Double?
    var slowdownHigh: Double?
    var noise: Double?
    var problem: String?

    static func rows(_ table: CostBench.Table) -> [CostRow] {
        table.rows.map { row in
            CostRow(
                probes: table.set.rawValue, measured: table.call.rawValue, beside: row.setup.name,
                nanoseconds: row.times, addedNanoseconds: row.setup == .nothing ? nil : row.added,
                toEmpty: row.ratio?.median, toEmptyLow: row.ratio?.low, toEmptyHigh: row.ratio?.high,
                noise: table.noise)
        }
    }

    static func rows(_ workload: CostBench.Workload) -> [CostRow] {
        workload.rows.map { row in
            CostRow(
                probes: workload.set.rawValue, measured: "files", beside: row.name,
                nanoseconds: row.times.map { Double($0.nanoseconds) }, slowdown: row.slowdown?.median,
                slowdownLow: row.slowdown?.low, slowdownHigh: row.slowdown?.high, problem: row.problem)
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
