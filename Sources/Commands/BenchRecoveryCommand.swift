import ArgumentParser
import Bench
import Datasets
import Tracing

struct RecoveryBenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "recovery",
        abstract: "How long 'kairos log' and 'kairos deleted' take, with many snapshots and a large journal.",
        discussion: """
            Directories stand for snapshots, so that what is measured is Kairos and not the mounting of '.zfs/snapshot/NAME', which whoever looks \
            there pays; the list of snapshots, which 'zfs' gives, is not in it either. A file has 20 versions, and a directory of 1,000 files loses \
            10 with each. Beside it: a plain loop that looks at the file in each snapshot, or reads the directory. Each round does all of it, in an \
            order drawn anew; shown is the median, with the lower and the upper end.

            EXAMPLES:
              kairos bench recovery
              kairos bench recovery --snapshots 500 --changes 100000
              kairos bench recovery --pool tank                      the commands as they are, on as many snapshots of a dataset made there
              kairos bench recovery --file /tank/home/thesis.tex     'kairos log' of it, beside a loop over .zfs/snapshot
            """)

    @Option(help: "Snapshots.")
    var snapshots = 2000

    @Option(help: "Changes in the journal.")
    var changes = 1_000_000

    @Option(help: "Rounds, after one that does not count.")
    var rounds = 11

    @Option(name: .shortAndLong, help: ArgumentHelp("On this file system.", valueName: "path"))
    var directory = "/dev/shm"

    @Option(help: ArgumentHelp("Ask for this file instead, in its own snapshots (OpenZFS).", valueName: "path"))
    var file: String?

    @Option(
        help: ArgumentHelp(
            "Take that many snapshots of a dataset made below this one, time the commands there, and destroy it (OpenZFS).",
            valueName: "pool"))
    var pool: String?

    @Option(help: .hidden)
    var zfsCommand: String?

    @Option(help: "Draws the orders.")
    var seed: UInt64?

    @Flag(name: .shortAndLong, help: "JSON on stdout: an array, one object for each figure.")
    var json = false

    mutating func run() throws {
        guard snapshots >= 40, changes >= snapshots, rounds >= 1 else {
            throw Output.failure(
                "--snapshots: at least 40; --changes: at least one to each of them; --rounds: at least 1", status: 64)
        }
        try Privileges.requireRoot("kairos bench recovery")
        Output.ignoreBrokenPipe()
        let seed = seed ?? UInt64.random(in: 0..<1 << 32)
        var bench = RecoveryBench(directory: directory, seed: seed)
        (bench.past.snapshots, bench.past.changes) = (snapshots, changes)
        bench.rounds = rounds
        bench.note = { Output.message($0) }
        let rows: [Figure]
        do {
            if let pool {
                rows = Figure.figures(try poolBench(pool, seed).run(), seed, group: 8)
            } else {
                rows =
                    try file.map {
                        Figure.figures(
                            try bench.run(on: $0, try ZFSAccess.command(at: zfsCommand)), seed, group: 2)
                    } ?? Figure.figures(bench.run(), seed, group: 3)
            }
        } catch let exit as ExitCode {
            throw exit
        } catch { throw Output.failure("\(error)") }
        if json { return _ = Output.line(Output.json(rows)) }
        if file == nil { Output.line("\(snapshots) snapshots, \(changes) changes in the journal") }
        Output.line("\(rounds) rounds, seed \(seed):")
        var table = TextTable(["MILLISECONDS", "LOW-HIGH", "X LOOP", "LOOKED AT", "FOUND", "WHAT"])
        for row in rows {
            table.add([
                Human.factor(row.milliseconds), Human.factor(row.low) + "-" + Human.factor(row.high),
                row.toLoop.map(Human.factor) ?? "", row.looked.map(String.init) ?? "", "\(row.found)", row.what,
            ])
        }
        table.print()
    }

    private func poolBench(_ pool: String, _ seed: UInt64) throws -> RecoveryPoolBench {
        var bench = RecoveryPoolBench(pool: pool, program: try Output.ownPath(), seed: seed)
        (bench.past.snapshots, bench.past.changes, bench.rounds) = (snapshots, changes, rounds)
        bench.note = { Output.message($0) }
        return bench
    }

    private struct Figure: Encodable {
        var what: String
        var milliseconds: Double
        var low: Double
        var high: Double
        /// By what the plain loop behind it took.
        var toLoop: Double?
        var looked: Int?
        var found: Int
        var seed: UInt64

        /// - Parameter group: so many rows have one loop, which is their last.
        static func figures(_ rows: [RecoveryBench.Row], _ seed: UInt64, group: Int) -> [Figure] {
            var result = rows.map { row in
                let times = row.times.map { Double($0.nanoseconds) / 1e6 }.sorted()
                return Figure(
                    what: row.name, milliseconds: times[times.count / 2], low: times[0], high: times[times.count - 1],
                    looked: row.looked > 0 ? row.looked : nil, found: row.found, seed: seed)
            }
            for index in result.indices where index % group < group - 1 {
                let loop = index / group * group + group - 1
                result[index].toLoop = result[index].milliseconds / result[loop].milliseconds
            }
            return result
        }
    }
}
