import ArgumentParser
import CLinux
import Datasets
import Glibc
import Policy
import SystemPackage
import Trace
import Tracing

struct TraceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "trace",
        abstract: "Show every change to a file as it happens: who, what, where.",
        discussion: """
            Works on any file system, with or without ZFS. A path shows the tree below it, a dataset what lies on it; \
            without any, the whole machine. Ends with Ctrl-C, after --count lines or --duration, or when nobody reads its \
            output any more. What a slow reader misses is lost and counted, on stderr at the end.

            OP in the table: C create, W write, T truncate, S store (the first to a clean page of mapped memory), D delete, \
            R rename, L link, A attributes (mode, owner, times, extended), M mmap (shared and writable), c close (of a file \
            that was open for writing), s fsync; with d behind it, of a directory: Cd, Dd, Ad; with ! it failed.

            With --probes syscalls (where the kernel refuses programs on its functions) the names of deleted and renamed \
            files are those that the process gave, joined to the directory where they start: below a path, changes by \
            names of several components that come there through a symbolic link or another mount are left out. --failed \
            shows failed attempts to create, truncate, write, rename, delete; a refused open of a file that is there is none.

            Two traces whose outputs lie in what the other one shows feed each other.

            EXAMPLES, with what they print on a narrow terminal:

              kairos trace /srv                       what changes below /srv

            03:00:36.551   24052 bash       W       15 ext4   /srv/www/index.html
            03:00:36.552   24053 sed        C        - ext4   /srv/www/sedXtyKM0
            03:00:36.553   24053 sed        W       17 ext4   /srv/www/sedXtyKM0
            03:00:36.553   24053 sed        R        - ext4   /sr…tyKM0 -> /sr….html

              kairos trace /srv -o delete --failed    who deletes, and who tries to

            03:00:40.324   24662 rm         D        - ext4   /srv/www/old/index.html
            03:00:40.326   24663 rmdir      Dd       - ext4   /srv/www/old
            03:00:40.327   24664 rmdir      Dd!      - ext4   /srv/www/old ENOENT

              kairos trace /srv --record day.trace    to a file; and what of it was
              kairos trace --replay day.trace -tt -o delete,mkdir          these

                 0.000000   24712 mkdir      Cd       - ext4   /srv/www/old
                 0.002257   24714 rm         D        - ext4   /srv/ww…old/index.html
                 0.004078   24715 rmdir      Dd       - ext4   /srv/www/old

              kairos trace -p 4711 --follow --json    a process and its children
              kairos trace -c postgres --summary      the busiest, like top
            """
    )

    @Argument(help: ArgumentHelp("Trees or datasets to show. None: all.", valueName: "path|dataset"))
    var targets: [String] = []

    @Option(name: .shortAndLong, help: ArgumentHelp("Only this process. May be given several times.", valueName: "pid"))
    var pid: [UInt32] = []

    @Flag(help: "With --pid: its children, too, from now on.")
    var follow = false

    @Option(name: .shortAndLong, help: ArgumentHelp("Only this user, by name or number.", valueName: "user"))
    var user: [String] = []

    @Option(name: .shortAndLong, help: ArgumentHelp("Only processes of this name (comm).", valueName: "comm"))
    var comm: [String] = []

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "Only these operations: create, write, truncate, store, mkdir, unlink, rmdir, rename, link, attr, map, close, "
                + "sync; delete is unlink,rmdir; mmap is map,store; all. Default: all but close and sync.",
            valueName: "op,op"))
    var op: [String] = []

    @Flag(help: "Calls that failed, too, with the name of the error.")
    var failed = false

    @Option(name: .shortAndLong, help: ArgumentHelp("End after so long.", valueName: "duration"))
    var duration: String?

    @Option(name: [.customShort("n"), .long], help: ArgumentHelp("End after so many events.", valueName: "number"))
    var count: Int?

    @Flag(name: .shortAndLong, help: "JSON lines on stdout: docs/trace-schema.json.")
    var json = false

    @Flag(name: .customShort("T"), help: "Times in UTC with their date.")
    var absoluteTimes = false

    @Flag(name: .customLong("tt", withSingleDash: true), help: "Times in seconds from the beginning.")
    var relativeTimes = false

    @Flag(help: "No line of headings.")
    var noHeader = false

    @Flag(help: "The busiest processes, directories and operations instead of the events.")
    var summary = false

    @Option(help: ArgumentHelp("Write the events to a file instead of stdout, to be replayed.", valueName: "file"))
    var record: String?

    @Option(help: ArgumentHelp("Show the events of a recording instead of live ones.", valueName: "file"))
    var replay: String?

    @Option(help: ArgumentHelp("Make this file when everything from then on is seen; for scripts.", valueName: "file"))
    var readyFile: String?

    @Option(help: ArgumentHelp("Which programs watch: auto, vfs or syscalls.", valueName: "set"))
    var probes = "auto"

    @Option(help: ArgumentHelp("Bytes of the ring between kernel and Kairos.", valueName: "bytes"))
    var ringBytes = Tracer.defaultRingBytes

    @Flag(name: .shortAndLong, help: "More on stderr: which programs watch and why, what they cannot see.")
    var verbose = false

    mutating func run() throws {
        let options = try TraceOptions(self)
        Output.ignoreBrokenPipe()
        let session: TraceSession
        if replay != nil {
            session = try TraceSession(replaying: options)
        } else {
            try Privileges.requireRoot("kairos trace")
            session = try TraceSession(tracing: options)
        }
        try session.run()
    }
}

/// The words of the command, checked.
struct TraceOptions {
    var targets: [String]
    var selection = TraceSelection()
    var probes: ProbeSet?
    var ringBytes: Int
    /// Nanoseconds.
    var duration: UInt64?
    var count: Int
    var isJSON: Bool
    var times: TraceTable.Times
    var hasHeader: Bool
    var isSummary: Bool
    var record: String?
    var replay: String?
    var readyFile: String?
    var isVerbose: Bool

    static let groups: [(name: String, operations: Operations)] = [
        ("delete", [.unlink, .rmdir]), ("mmap", [.map, .store]), ("all", .all),
    ]

    init(_ command: TraceCommand) throws {
        targets = command.targets
        count = command.count ?? .max
        isJSON = command.json
        hasHeader = !command.noHeader && !command.json
        isSummary = command.summary
        (record, replay, readyFile) = (command.record, command.replay, command.readyFile)
        ringBytes = command.ringBytes
        isVerbose = command.verbose
        times = command.absoluteTimes ? .absolute : command.relativeTimes ? .relative : .local
        selection.operations = try Self.operations(command.op)
        selection.processes = command.pid
        selection.followsChildren = command.follow
        selection.users = try command.user.map(Self.user)
        selection.commands = command.comm.map { CommandName(Array($0.utf8)) }
        selection.showsFailures = command.failed

        func refuse(_ text: String) -> any Error { Output.failure(text, status: 64) }
        if count < 1 { throw refuse("--count \(count): at least 1") }
        if command.absoluteTimes, command.relativeTimes { throw refuse("-T and -tt contradict each other") }
        if command.follow, command.pid.isEmpty { throw refuse("--follow needs --pid: whose children?") }
        if command.summary, command.record != nil { throw refuse("--summary and --record contradict each other") }
        if ringBytes < 1 << 16 || ringBytes > 1 << 30 {
            throw refuse("--ring-bytes \(ringBytes): from 64 KiB to 1 GiB")
        }
        if command.targets.contains("") { throw refuse("an empty name is neither a path nor a dataset") }
        if let text = command.duration {
            do throws(DurationSyntaxError) {
                let (seconds, attoseconds) = try Duration(parsing: text).components
                duration = UInt64(clamping: seconds) &* 1_000_000_000 &+ UInt64(clamping: attoseconds / 1_000_000_000)
            } catch { throw refuse("--duration: \(error)") }
        }
        if let pid = command.pid.first(where: { $0 == 0 || $0 > UInt32(Int32.max) }) {
            throw refuse("--pid \(pid): no process has this number")
        }
        if replay != nil {
            let live = [
                ("--duration", duration != nil), ("--ready-file", readyFile != nil),
                ("--probes", command.probes != "auto"),
            ]
            if let (flag, _) = live.first(where: \.1) { throw refuse("\(flag) means nothing to --replay") }
        } else if let pid = command.pid.first(where: { kill(pid_t($0), 0) != 0 && kairos_errno_value() == ESRCH }) {
            throw Output.failure("--pid \(pid): there is no such process")
        } else if let (pid, owner) = command.pid.lazy.compactMap({ pid in Self.owner(of: pid).map { (pid, $0) } }).first
        {
            throw refuse("--pid \(pid): that is a thread of process \(owner): name the process")
        }
        guard ["auto", "vfs", "syscalls"].contains(command.probes) else {
            throw refuse("--probes '\(SafeText.line(command.probes))': there are auto, vfs, syscalls")
        }
        probes = ProbeSet(rawValue: command.probes)
    }

    private static func operations(_ words: [String]) throws -> Operations {
        guard !words.isEmpty else { return Operations.all.subtracting([.close, .sync]) }
        var operations: Operations = []
        for word in words.flatMap({ $0.split(separator: ",", omittingEmptySubsequences: false) }) {
            let known = Operations.named.map { ($0.name, $0.operation) } + groups.map { ($0.name, $0.operations) }
            guard let (_, meant) = known.first(where: { $0.0 == word }) else {
                throw Output.failure(
                    "--op '\(SafeText.line(word))': there are " + known.map(\.0).joined(separator: ", "), status: 64)
            }
            operations.formUnion(meant)
        }
        return operations
    }

    /// The process that a thread belongs to; nil for a process itself.
    private static func owner(of pid: UInt32) -> UInt32? {
        guard let file = try? FileDescriptor.open("/proc/\(pid)/status", .readOnly, options: .closeOnExec) else {
            return nil
        }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = (try? file.closeAfter { try bytes.withUnsafeMutableBytes { try file.read(into: $0) } }) ?? 0
        let line = String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n").first {
            $0.hasPrefix("Tgid:")
        }
        guard let owner = line?.split(separator: "\t").last.flatMap({ UInt32($0) }), owner != pid else { return nil }
        return owner
    }

    private static func user(_ name: String) throws -> UInt32 {
        if name.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let number = UInt32(name) { return number }
        guard let entry = getpwnam(name) else {
            throw Output.failure("--user \(SafeText.line(name)): there is no such user")
        }
        return entry.pointee.pw_uid
    }
}
