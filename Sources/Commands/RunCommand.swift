import ArgumentParser
import CLinux
import Daemon
import Datasets
import Glibc
import Journal
import Policy
import Snapshots
import Tracing

struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Watch datasets and snapshot each when it changed and came to rest.",
        discussion: """
            Runs in the foreground, as root. On SIGINT or SIGTERM Kairos snapshots pending changes, prints a summary \
            and exits. A second signal ends it at once. SIGHUP re-reads the properties; after 'zfs set' Kairos does \
            so by itself. If its terminal closes, Kairos keeps capturing changes without output: stop it with \
            'kill PID'.

            Kairos skips a dataset that is missing, not mounted or locked, and watches the others. The exit status is 1 \
            if changes are in no snapshot, or if a named dataset was never watched.

            A dataset is snapshotted when nothing changed in it for --quiet, and at the latest --max-delay after its first \
            change that no snapshot holds; two snapshots are never closer than --min-interval. Without a change there is \
            none. Flags win over the properties kairos:quiet, kairos:max-delay, kairos:min-interval, kairos:commit-quiet \
            and kairos:ignore of the dataset. Each quarter of an hour the snapshots are thinned ('kairos prune --help'), but \
            with --no-prune. Durations: 500ms, 2s, 1m30s, 1h.

            EXAMPLES:
              kairos run tank/home           one dataset
              kairos run -r tank             and everything below it
              kairos run                     all that have kairos:enabled=on
              zfs set kairos:enabled=on tank/srv
              kairos run tank/db --quiet 500ms --max-delay 10s
              kairos run tank/home --ignore '*.tmp,.cache/' --dry-run
            """
    )

    @Argument(help: ArgumentHelp("Datasets to watch. None: all with kairos:enabled=on.", valueName: "dataset"))
    var datasets: [String] = []

    @Flag(name: .shortAndLong, help: "Watch the datasets below the named ones too.")
    var recursive = false

    @Option(help: ArgumentHelp("Snapshot after this long without a change (2s).", valueName: "duration"))
    var quiet: String?

    @Option(help: ArgumentHelp("At the latest this long after the first change (30s).", valueName: "duration"))
    var maxDelay: String?

    @Option(help: ArgumentHelp("Never two snapshots closer than this (1s).", valueName: "duration"))
    var minInterval: String?

    @Option(
        help: ArgumentHelp(
            "Instead of --quiet after a file was closed, synced, renamed or deleted (as --quiet).",
            valueName: "duration"))
    var commitQuiet: String?

    @Option(
        help: ArgumentHelp(
            "Globs, separated by commas, of what makes no snapshot: '*.tmp,.cache/'.", valueName: "globs"))
    var ignore: String?

    @Option(help: ArgumentHelp("What snapshot names begin with.", valueName: "text"))
    var prefix = SnapshotPrefix.standard.text

    @Option(
        help: ArgumentHelp(
            "Where it is written down what each snapshot captured, for 'kairos log'; or 'none'.", valueName: "file"))
    var journal = Journal.standardPath

    @Flag(help: "Destroy no snapshots. Else those that kairos:keep does not keep go, as 'kairos prune' tells.")
    var noPrune = false

    @Option(help: .hidden)
    var pruneInterval: String?

    @Flag(help: "Take no snapshot; say which would be taken.")
    var dryRun = false

    @Option(help: ArgumentHelp("Which programs watch: auto, zfs, vfs or syscalls.", valueName: "set"))
    var probes = "auto"

    @Option(
        help: ArgumentHelp(
            "How often ZFS's own figures are compared with what the programs saw; 'off' for never.",
            valueName: "duration"))
    var audit = "10m"

    @Option(
        help: ArgumentHelp(
            "What takes snapshots: auto, cli (the zfs command) or libzfs-core. auto: libzfs_core where it works.",
            valueName: "engine"))
    var engine = EngineChoice.auto.rawValue

    @Flag(help: "Tell of each change too: the first of a kind to a file between two snapshots.")
    var changes = false

    @Flag(name: .shortAndLong, help: "JSON lines on stdout.")
    var json = false

    @Flag(name: .shortAndLong, help: "More on stderr: what the probes cannot see, libbpf's log on failure.")
    var verbose = false

    @Option(help: .hidden)
    var zfsCommand: String?

    @Option(help: .hidden)
    var zfsTimeLimit: String?

    /// For benchmarks: it ends with the process of this number.
    @Option(help: .hidden)
    var parent: Int32?

    @Option(help: .hidden)
    var ringBytes = 1 << 20

    mutating func run() throws {
        let configuration = try checked()
        try Privileges.requireRoot("kairos run")
        if let parent {
            // Asked afterwards: it may have died before.
            kairos_end_with_parent()
            guard getppid() == parent else { throw ExitCode(1) }
        }
        Output.ignoreBrokenPipe()
        DescriptorLimit.raise()
        var command = try ZFSAccess.command(at: zfsCommand)
        if let limit = try duration("--zfs-time-limit", zfsTimeLimit) { command.timeLimit = limit }
        let output = OutputQueue()
        let renderer: any RunRenderer = json ? JSONRunRenderer(output) : TextRunRenderer(output, verbose: verbose)
        let summary: Summary
        defer { output.finish(within: .seconds(2)) }
        do {
            let daemon = try Daemon(configuration, command: command) { renderer.render($0) }
            summary = try daemon.run()
        } catch {
            if verbose, case .probes(let error) = error, !error.log.isEmpty { Output.message("libbpf: " + error.log) }
            throw Output.failure(error.description)
        }
        if !summary.leftAtRisk.isEmpty || !summary.notWatched.isEmpty { throw ExitCode(1) }
    }

    /// The configuration, or one line about what is wrong with the words of the command.
    private func checked() throws -> Configuration {
        var configuration = Configuration(target: datasets.isEmpty ? .enabled : .named(datasets, recursive: recursive))
        if datasets.isEmpty, recursive { throw Output.failure("-r needs a dataset: 'kairos run -r tank'", status: 64) }
        if Set(datasets).count < datasets.count { throw Output.failure("a dataset is named twice", status: 64) }
        configuration.overrides.quiet = try duration("--quiet", quiet)
        configuration.overrides.maxDelay = try duration("--max-delay", maxDelay)
        configuration.overrides.minInterval = try duration("--min-interval", minInterval)
        configuration.overrides.commitQuiet = try duration("--commit-quiet", commitQuiet)
        do throws(SettingsError) {
            let given = configuration.overrides
            let settings = try Settings.given(
                quiet: given.quiet, maxDelay: given.maxDelay, minInterval: given.minInterval,
                commitQuiet: given.commitQuiet)
            if given.quiet != nil || given.maxDelay != nil || given.minInterval != nil {
                configuration.overrides.quiet = settings.quiet
                configuration.overrides.maxDelay = settings.maxDelay
                configuration.overrides.minInterval = settings.minInterval
            }
        } catch { throw Output.failure(error.description, status: 64) }
        if let ignore {
            do throws(IgnoreSyntaxError) {
                configuration.overrides.ignore = try IgnoreRules(parsing: ignore)
            } catch { throw Output.failure("--ignore: \(error)", status: 64) }
        }
        do throws(SnapshotPrefix.Fault) {
            configuration.prefix = try SnapshotPrefix(prefix)
        } catch { throw Output.failure("--prefix: \(error)", status: 64) }
        guard probes == "auto" || ProbeSet(rawValue: probes) != nil else {
            let sets = ProbeSet.allCases.map(\.rawValue).joined(separator: ", ")
            throw Output.failure("--probes '\(SafeText.line(probes))': there are auto, \(sets)", status: 64)
        }
        guard let choice = EngineChoice(rawValue: engine) else {
            let choices = EngineChoice.allCases.map(\.rawValue).joined(separator: ", ")
            throw Output.failure("--engine '\(SafeText.line(engine))': there are \(choices)", status: 64)
        }
        // Who names a command wants it run.
        configuration.engine = choice == .auto && zfsCommand != nil ? .cli : choice
        guard (4096...1 << 30).contains(ringBytes) else {
            throw Output.failure("--ring-bytes \(ringBytes): must be between 4096 and 1073741824", status: 64)
        }
        configuration.probes = ProbeSet(rawValue: probes)
        configuration.audit = audit == "off" ? nil : try duration("--audit", audit)
        if let audit = configuration.audit, audit < .seconds(1) {
            throw Output.failure("--audit \(self.audit): at least 1s, or 'off'", status: 64)
        }
        configuration.dryRun = dryRun
        if let interval = try duration("--prune-interval", pruneInterval) { configuration.prune = interval }
        if noPrune { configuration.prune = nil }
        guard journal == "none" || journal.hasPrefix("/") else {
            throw Output.failure("--journal '\(SafeText.line(journal))': an absolute path, or 'none'", status: 64)
        }
        do throws(JournalError) { if journal != "none", !dryRun { try Journal.refuseForeign(journal) } } catch {
            throw Output.failure("--journal: \(error)")
        }
        configuration.journal = journal == "none" ? nil : journal
        configuration.tellsChanges = changes
        configuration.ringBytes = ringBytes
        return configuration
    }

    private func duration(_ flag: String, _ text: String?) throws -> Duration? {
        guard let text else { return nil }
        do throws(DurationSyntaxError) {
            return try Duration(parsing: text)
        } catch { throw Output.failure("\(flag): \(error)", status: 64) }
    }
}
