#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// A `zfs` or `zpool` command, or a call that stands for one, that failed or could not be made.
public struct ZFSError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What went wrong, as far as the command's words tell.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// The dataset, snapshot or pool is not there.
        case datasetMissing
        /// A dataset or snapshot of that name is there already.
        case exists
        /// The pool or a quota is full.
        case noSpace
        /// The pool lost its devices and does no I/O: every command on it waits or fails.
        case poolSuspended
        /// Not root, and nothing delegated with `zfs allow`.
        case permission
        /// In use: held, being received into, or with an open file.
        case busy
        /// The command does not know an option, property or verb: another ZFS than expected.
        case usage
        /// Not a legal dataset, snapshot or property name.
        case invalidName
        /// There is no `zfs` or `zpool` command that may be trusted.
        case commandMissing
        /// There is a command, but no ZFS behind it: kernel module not loaded, zfs-fuse daemon not running.
        case notRunning
        /// It did not end within the time limit. What it was to do may have been done all the same.
        case timedOut
        /// It wrote more than `ZFSCommand.outputLimit`.
        case outputTooLarge
        /// Anything else: see `stderr`.
        case other
    }

    /// How the command ended.
    public enum Exit: Hashable, Sendable, CustomStringConvertible {
        /// It could not be started.
        case notStarted
        /// It exited with this status.
        case status(Int32)
        /// This signal ended it.
        case signal(Int32)
        /// It was told to die and had not by the time this error was made.
        case stillRunning
        /// It was a call of a library and returned this: an errno, or one of ZFS's own from 1024 on; 0 is success.
        case errno(Int32)

        /// As in "zfs list: exit status 1".
        public var description: String {
            switch self {
            case .notStarted: "not started"
            case .status(let status): "exit status \(status)"
            case .signal(let signal): "ended by signal \(signal)"
            case .stillRunning: "still running"
            case .errno(0): "done"
            case .errno(let number): "error \(number)"
            }
        }
    }

    /// The verb, such as `zfs snapshot`.
    public let operation: String
    /// All arguments, the verb among them, as given: hostile text, never print them raw.
    public let arguments: [String]
    /// What went wrong.
    public let kind: Kind
    /// How the command ended.
    public let exit: Exit
    /// The first lines of its standard error, sanitised; or what this module has to say.
    public let stderr: [String]
    /// What to do about it.
    public let hint: String
    /// What it had written to standard output before it failed.
    public let stdout: [UInt8]

    /// An error of this kind; without a hint, the one that belongs to the kind.
    public init(
        operation: String, arguments: [String], kind: Kind, exit: Exit, stderr: [String], hint: String? = nil,
        stdout: [UInt8] = []
    ) {
        self.operation = operation
        self.arguments = arguments
        self.kind = kind
        self.exit = exit
        self.stderr = stderr
        self.hint = hint ?? kind.hint
        self.stdout = stdout
    }

    /// The failure in one printable line: what was tried, how it ended, what it said, what to do.
    public var description: String {
        let command = SafeText.line(operation) + " " + SafeText.commandLine(Array(arguments.dropFirst()), limit: 300)
        let said = stderr.isEmpty ? "" : ": " + stderr.joined(separator: "; ")
        return "\(command): \(exit)\(said); \(hint)"
    }

    /// The kind of a failure, told from the command's standard error and exit status.
    ///
    /// The words are those of libzfs (`libzfs_error_description`, `zfs_standard_error`), which zfs-fuse shares. Only
    /// what follows the quoted name is looked at: a dataset may be called "tank/out of space".
    public static func classify(stderr: String, exit: Exit) -> Kind {
        for line in stderr.split(whereSeparator: \.isNewline) {
            if let kind = classify(line: String(line)) { return kind }
        }
        return exit == .status(2) ? .usage : .other
    }

    /// The kind of a failure, told from what a call of libzfs_core returned.
    ///
    /// It follows what libzfs makes of these (`zfs_standard_error_fmt`), so that both engines give the same kinds.
    public static func classify(errno number: Int32) -> Kind {
        switch number {
        case ENOENT: .datasetMissing
        case EEXIST: .exists
        case ENOSPC, EDQUOT: .noSpace
        // EAGAIN: suspended before the call began; ESHUTDOWN: exported by force in its middle.
        case EAGAIN, ESHUTDOWN: .poolSuspended
        case EPERM, EACCES: .permission
        case EBUSY: .busy
        case ENAMETOOLONG: .invalidName
        case ENXIO, ENODEV: .notRunning
        // EXDEV: two pools, or a dataset twice. ENOTSUP: the pool's version is too old for properties of snapshots.
        // ZFS_ERR_IOC_CMD_UNAVAIL (1029) to ZFS_ERR_IOC_ARG_BADTYPE (1032): the module is older than the library.
        case EINVAL, EXDEV, ENOTSUP, 1029...1032: .usage
        default: .other
        }
    }

    private static func classify(line: String) -> Kind? {
        let whole = line.lowercased()
        for (words, kind) in startup where whole.hasPrefix(words) { return kind }
        let reason = whole.after(last: "': ") ?? whole.after(last: ": ") ?? whole
        for (words, kind) in reasons where reason.hasPrefix(words) { return kind }
        return nil
    }

    /// What the commands say before they have looked at any name.
    private static let startup: [(String, Kind)] = [
        ("the zfs modules", .notRunning),
        ("the zfs module", .notRunning),
        ("the /dev/zfs device is missing", .notRunning),
        ("/dev/zfs and /proc/self/mounts are required", .notRunning),
        ("please make sure that the zfs-fuse daemon is running", .notRunning),
        ("connect: no such file or directory", .notRunning),
        ("connect: connection refused", .notRunning),
        ("permission denied the zfs utilities must be run as root", .permission),
        ("unable to open /dev/zfs: permission denied", .permission),
        ("connect: permission denied", .permission),
        ("unrecognized command", .usage),
        ("invalid option", .usage),
        ("missing argument for", .usage),
        ("too many arguments", .usage),
        ("bad property list", .usage),
        ("invalid type", .usage),
    ]

    /// What follows the name of what could not be done.
    private static let reasons: [(String, Kind)] = [
        ("dataset does not exist", .datasetMissing),
        ("no such pool or dataset", .datasetMissing),
        ("no such pool", .datasetMissing),
        ("could not find any snapshots to destroy", .datasetMissing),
        ("snapshot does not exist", .datasetMissing),
        ("dataset already exists", .exists),
        ("pool or dataset exists", .exists),
        ("snapshot exists", .exists),
        ("out of space", .noSpace),
        ("no space left on device", .noSpace),
        ("disk quota exceeded", .noSpace),
        ("quota exceeded", .noSpace),
        ("pool i/o is currently suspended", .poolSuspended),
        ("pool is suspended", .poolSuspended),
        ("permission denied", .permission),
        ("operation not permitted", .permission),
        ("delegated administration is disabled", .permission),
        ("dataset is busy", .busy),
        ("pool or dataset is busy", .busy),
        ("pool is busy", .busy),
        ("device or resource busy", .busy),
        ("invalid dataset name", .invalidName),
        ("invalid snapshot name", .invalidName),
        ("invalid name", .invalidName),
        ("invalid character", .invalidName),
        ("name is too long", .invalidName),
        ("dataset name is too long", .invalidName),
        ("snapshot name is too long", .invalidName),
        ("file name too long", .invalidName),
        ("missing '@' delimiter", .invalidName),
        ("multiple '@'", .invalidName),
        ("empty component", .invalidName),
        ("leading slash in name", .invalidName),
        ("trailing slash in name", .invalidName),
        ("name must begin with a letter", .invalidName),
        ("pool doesn't begin with a letter", .invalidName),
        ("invalid property", .usage),
        ("failed to initialize zfs library", .notRunning),
    ]
}

extension ZFSError.Kind {
    /// Whether the same would come of trying any other dataset of the pool, perhaps after as long a wait.
    public var concernsPool: Bool {
        switch self {
        case .poolSuspended, .timedOut, .notRunning, .commandMissing: true
        case .datasetMissing, .exists, .noSpace, .permission, .busy, .usage, .invalidName, .outputTooLarge, .other:
            false
        }
    }

    /// What to do when nothing better is known.
    var hint: String {
        switch self {
        case .datasetMissing: "check the name with 'zfs list'"
        case .exists: "choose another name"
        case .noSpace: "free space in the pool (destroy old snapshots) or raise the quota"
        case .poolSuspended: "see 'zpool status', bring the devices back and run 'zpool clear'"
        case .permission: "run as root, or delegate with 'zfs allow'"
        case .busy: "try again; see 'zfs holds' and who has files open in it"
        case .usage: "this ZFS does not know the command as it was given; see 'kairos doctor'"
        case .invalidName: "use letters, digits, '_', '-', '.', ':' and space, at most 255 bytes in all"
        case .commandMissing: "install the ZFS commands: 'apt install zfsutils-linux' or 'apt install zfs-fuse'"
        case .notRunning: "load the module ('modprobe zfs') or start the daemon ('systemctl start zfs-fuse')"
        case .timedOut: "see 'zpool status': a pool with failing devices makes every command wait"
        case .outputTooLarge: "report this with the output of 'zfs list | wc'"
        case .other: "run the command by hand to see more"
        }
    }
}

extension String {
    /// What follows the last occurrence of `separator`, or nil. (The standard library alone has no such search.)
    fileprivate func after(last separator: String) -> String? {
        let text = Array(utf8)
        let wanted = Array(separator.utf8)
        guard !wanted.isEmpty, text.count >= wanted.count else { return nil }
        for start in (0...(text.count - wanted.count)).reversed() where text[start...].starts(with: wanted) {
            return String(decoding: text[(start + wanted.count)...], as: UTF8.self)
        }
        return nil
    }
}
