import ArgumentParser

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
}
