import ArgumentParser
import Glibc

/// The root of the command line.
public struct Kairos: ParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "kairos",
        abstract: "ZFS snapshots at the right time: when files changed, and only then.",
        discussion: """
            EXAMPLES:
              kairos doctor            what works here, and what to do about the rest
              kairos run tank/home     snapshot it whenever it changed and came to rest
              kairos log FILE          every version of it that a snapshot has
              kairos deleted           what was deleted here, and can be had back
              kairos restore FILE      get a file or directory back, beside what is there now
              kairos prune --dry-run   which of its snapshots would be destroyed, and why the others stay
              kairos trace /srv        show who changes what below /srv
              kairos demo              see it all on a scratch pool, in a minute
            """,
        version: "kairos \(version)",
        subcommands: [
            RunCommand.self, LogCommand.self, DeletedCommand.self, CatCommand.self, DiffCommand.self,
            RestoreCommand.self, ListCommand.self, PruneCommand.self, TraceCommand.self, DoctorCommand.self,
            DemoCommand.self,
            BenchCommand.self,
            DemoStepCommand.self, JournalStepCommand.self,
        ]
    )

    /// The version, as `kairos --version` prints it.
    public static let version = "0.1.0"

    public init() {}

    /// Runs the command line and ends the program.
    ///
    /// As `main()`, but for stdout: when something could not be written to it, as to a full disk, the program says so and fails, whatever
    /// the command came to. A reader that went away is no failure.
    public static func start() -> Never {
        var status: Int32 = 0
        var trouble: Int32 = 1
        do {
            var command = try parseAsRoot()
            if command is any LooksBack { trouble = LookStatus.trouble.rawValue }
            if command is any CleansUpLong { Worker.start() }
            try command.run()
        } catch {
            status = exitCode(for: error).rawValue
            let text = fullMessage(for: error)
            if !text.isEmpty {
                // The help and the version are what was asked for.
                Output.ignoreBrokenPipe()
                if status == 0 { Output.line(text) } else { Output.plainMessage(text) }
            }
        }
        if Output.problem != nil {
            Output.reportProblem("the output is incomplete")
            status = status == 0 || trouble > 1 ? trouble : status
        }
        Glibc.exit(status)
    }
}

/// A command with the exit status of `LookStatus`: 1 is an answer there, and 2 trouble.
protocol LooksBack {}

extension LogCommand: LooksBack {}
extension DeletedCommand: LooksBack {}
extension CatCommand: LooksBack {}
extension DiffCommand: LooksBack {}
extension ListCommand: LooksBack {}

/// A command that makes pools and datasets for itself, and removes them after a signal too, which may take ZFS long.
protocol CleansUpLong {}

extension BenchAllCommand: CleansUpLong {}
extension CronBenchCommand: CleansUpLong {}
extension CostBenchCommand: CleansUpLong {}
extension TraceBenchCommand: CleansUpLong {}
extension RecoveryBenchCommand: CleansUpLong {}
extension DemoCommand: CleansUpLong {}
