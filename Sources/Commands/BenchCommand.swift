import ArgumentParser
import Bench
import Datasets
import Glibc
import SystemPackage

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure Kairos beside others, on this machine.",
        subcommands: [
            BenchAllCommand.self, CronBenchCommand.self, ReplayBenchCommand.self, CostBenchCommand.self,
            TraceBenchCommand.self, RecoveryBenchCommand.self,
            TraceWorkloadCommand.self,
            CostCallsCommand.self,
        ])
}

struct TraceBenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace",
        abstract: "How much 'kairos trace' and its peers slow a workload down.",
        discussion: """
            The workload makes files, writes 8 times 512 bytes to each, closes, renames and deletes it, in a directory of \
            its own on each file system. It runs without a tracer and with each of those that are installed (fatrace, \
            inotifywait, opensnoop), round by round, in an order drawn anew each time; what they print goes to a file. \
            Shown is the median of the ratios to the workload alone in the same round, with their range.

            EXAMPLES:
              kairos bench trace
              kairos bench trace --directory /tank/scratch --rounds 9
            """)

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "On this file system; may be given several times. Default: /dev/shm and /var/tmp.", valueName: "path"))
    var directory: [String] = []

    @Option(help: "Rounds on each file system.")
    var rounds = 5

    @Option(help: "Files in each round.")
    var files = 40_000

    @Option(help: "Draws the orders.")
    var seed: UInt64?

    @Flag(name: .shortAndLong, help: "JSON on stdout: an array, one object for each tracer and file system.")
    var json = false

    mutating func run() throws {
        if rounds < 1 || files < 1 { throw Output.failure("--rounds and --files: at least 1", status: 64) }
        try Privileges.requireRoot("kairos bench trace")
        Output.ignoreBrokenPipe()
        let seed = seed ?? UInt64.random(in: 0..<1 << 32)
        let tables: [TraceBench.Table]
        do throws(TraceBench.Failure) {
            tables = try TraceBench(kairos: try Output.ownPath(), rounds: rounds, files: files, seed: seed) {
                Output.message($0)
            }
            .run(below: directory.isEmpty ? ["/dev/shm", "/var/tmp"] : directory)
        } catch { throw Output.failure(error.description) }
        let decoding = DecodeBench.run()
        if json {
            Output.line(Output.json(tables.flatMap { table in table.rows.map { JSONRow($0, table, rounds, seed) } }))
        } else {
            for table in tables { print(table) }
            Output.line("One record to a line of JSON (\(decoding.bytes) bytes): \(decoding.each.nanoseconds) ns.")
            Output.line("Seed \(seed).")
        }
    }

    private func print(_ table: TraceBench.Table) {
        Output.line(
            "\(SafeText.line(table.directory)) (\(table.fileSystem)): \(table.operations) operations a round, \(rounds) rounds"
        )
        Output.line("  SLOWDOWN  LOW-HIGH       SECONDS   SHOWN     LOST  TRACER")
        for row in table.rows {
            if let problem = row.problem {
                Output.line(
                    "         -  " + Human.right("", 37) + "  \(row.name): not measured: \(SafeText.line(problem))")
                continue
            }
            let times = row.times.sorted()
            let median = times[times.count / 2]
            let slowdown = row.slowdown
            Output.line(
                Human.right(slowdown.map { Human.factor($0.median) } ?? "1", 10)
                    + Human.right(slowdown.map { Human.factor($0.low) + "-" + Human.factor($0.high) } ?? "", 11)
                    + Human.right(Human.seconds(median), 12)
                    + Human.right(row.name == "nothing" ? "" : "\(row.lines)", 9)
                    + Human.right(row.lost.map(String.init) ?? "", 8) + "  " + row.name
                    + (row.name == "nothing" ? "" : " (\(row.shows))"))
        }
        Output.line("")
    }

    private struct JSONRow: Encodable {
        var directory: String
        var fileSystem: String
        var tracer: String
        var operations: Int
        var rounds: Int
        var seed: UInt64
        var seconds: [Double]
        var slowdown: Double?
        var slowdownLow: Double?
        var slowdownHigh: Double?
        var shown: Int
        var lost: Int?
        var problem: String?

        init(_ row: TraceBench.Row, _ table: TraceBench.Table, _ rounds: Int, _ seed: UInt64) {
            directory = table.directory
            fileSystem = table.fileSystem
            tracer = row.name
            operations = table.operations
            self.rounds = rounds
            self.seed = seed
            seconds = row.times.map { Double($0.nanoseconds) / 1e9 }
            slowdown = row.slowdown?.median
            slowdownLow = row.slowdown?.low
            slowdownHigh = row.slowdown?.high
            shown = row.lines
            lost = row.lost
            problem = row.problem
        }
    }
}

/// The workload, in a process of its own.
struct TraceWorkloadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace-workload", abstract: "Do the workload of 'bench trace' once.", shouldDisplay: false)

    @Argument var directory: String
    @Argument var files: Int

    mutating func run() throws {
        do throws(Errno) {
            Output.line("\(try TraceWorkload(directory: directory, files: files).run().nanoseconds)")
        } catch { throw Output.failure("\(SafeText.line(directory)): \(error)") }
    }
}

extension Duration {
    var nanoseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }
}
