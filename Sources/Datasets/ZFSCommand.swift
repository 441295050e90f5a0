import Background
import SystemPackage

/// Runs the `zfs` and `zpool` commands: found once, without a shell, in a clean environment.
///
/// A command that has begun runs to its end, whatever becomes of the task that asked for it: half a snapshot of a group
/// helps nobody. Only its time limit ends it early.
public struct ZFSCommand: Sendable, Hashable {
    /// The most that is read of a command's standard output, in bytes, when the caller sets no limit of its own.
    public static let outputLimit = 16 << 20
    /// For the snapshots of a pool: some two million rows.
    public static let snapshotsLimit = 256 << 20
    /// The most that is read of a command's standard error, in bytes.
    public static let errorLimit = 64 << 10

    /// The `zfs` command: an absolute path without symbolic links.
    public let zfs: String
    /// The `zpool` command, or nil when there is none to trust.
    public let zpool: String?
    /// How long a command may take when the caller sets no limit of its own; nil for as long as it wants.
    public var timeLimit: Duration?

    /// Commands at known paths, which are trusted as they are. See `find(in:timeLimit:)`.
    public init(zfs: String, zpool: String? = nil, timeLimit: Duration? = .seconds(120)) {
        self.zfs = zfs
        self.zpool = zpool
        self.timeLimit = timeLimit
    }

    /// What a command wrote, and how it ended.
    public struct Output: Sendable, Hashable {
        /// Its standard output.
        public var stdout: [UInt8]
        /// Its standard error, as UTF-8 with what is not repaired: hostile text.
        public var stderr: String
        /// How it ended.
        public var exit: ZFSError.Exit

        /// Standard output as UTF-8, with what is not repaired.
        public var text: String { String(decoding: stdout, as: UTF8.self) }
    }

    /// Runs `zfs` with these arguments.
    ///
    /// - Parameters:
    ///   - arguments: as the command gets them, one by one; no shell sees them.
    ///   - timeLimit: after this long the command is killed; without it `self.timeLimit` holds.
    ///   - outputLimit: a command that writes more, in bytes, is killed.
    /// - Returns: its standard output.
    /// - Throws: when it cannot be run, or ends with anything but exit status 0.
    @discardableResult
    public func run(
        _ arguments: [String], timeLimit: Duration? = nil, outputLimit: Int = Self.outputLimit
    ) async throws(ZFSError) -> [UInt8] {
        try Self.check(
            await Self.execute(zfs, "zfs", arguments, timeLimit ?? self.timeLimit, outputLimit), "zfs", arguments
        )
    }

    /// Runs `zpool` with these arguments; otherwise like `run(_:timeLimit:)`.
    @discardableResult
    public func runPool(_ arguments: [String], timeLimit: Duration? = nil) async throws(ZFSError) -> [UInt8] {
        guard let zpool else {
            throw ZFSError(
                operation: Self.operation("zpool", arguments), arguments: arguments, kind: .commandMissing,
                exit: .notStarted, stderr: ["no zpool command beside \(SafeText.line(zfs))"]
            )
        }
        return try Self.check(
            await Self.execute(zpool, "zpool", arguments, timeLimit ?? self.timeLimit), "zpool", arguments
        )
    }

    /// The words that name a command in messages: the program and its verb.
    static func operation(_ program: String, _ arguments: [String]) -> String {
        arguments.first.map { program + " " + SafeText.line($0, limit: 40) } ?? program
    }

    private static func check(
        _ output: Output, _ program: String, _ arguments: [String]
    ) throws(ZFSError) -> [UInt8] {
        if output.exit == .status(0) { return output.stdout }
        // A usage message lists every property there is; the reason is in its first lines.
        let lines = output.stderr.split(whereSeparator: \.isNewline).prefix(4).map { SafeText.line($0, limit: 300) }
        throw ZFSError(
            operation: operation(program, arguments), arguments: arguments,
            kind: ZFSError.classify(stderr: output.stderr, exit: output.exit), exit: output.exit, stderr: lines,
            stdout: output.stdout
        )
    }
}

// MARK: - The child process

extension ZFSCommand {
    private static func execute(
        _ path: String, _ program: String, _ arguments: [String], _ limit: Duration?,
        _ outputLimit: Int = Self.outputLimit
    ) async throws(ZFSError) -> Output {
        let failure = { (kind: ZFSError.Kind, exit: ZFSError.Exit, words: String) in
            ZFSError(
                operation: operation(program, arguments), arguments: arguments, kind: kind, exit: exit, stderr: [words]
            )
        }
        // execve ends each argument at its first NUL: "tank/a\0b" would become another dataset's name.
        guard !arguments.contains(where: { $0.utf8.contains(0) }) else {
            throw failure(.invalidName, .notStarted, "an argument holds a NUL byte")
        }
        let child = ChildProcess(path, arguments, outputLimit: outputLimit, errorLimit: errorLimit)
        switch await WorkerThreads.shared.value(of: { child.run(timeLimit: limit) }) {
        case .exited(let output, let status): return Output(output, .status(status))
        case .signalled(let output, let signal): return Output(output, .signal(signal))
        case .timedOut(let died):
            let time = limit.map { "no answer within \($0)" } ?? "no answer"
            throw failure(.timedOut, died ? .signal(9) : .stillRunning, died ? time + ", killed" : time)
        case .tooMuchOutput:
            throw failure(.outputTooLarge, .signal(9), "it wrote more than \(outputLimit) bytes")
        case .notStarted(.noSuchFileOrDirectory):
            throw failure(.commandMissing, .notStarted, "\(SafeText.line(path)) is gone")
        case .notStarted(let error): throw failure(.other, .notStarted, "\(error)")
        }
    }
}

extension ZFSCommand.Output {
    fileprivate init(_ output: ChildProcess.Output, _ exit: ZFSError.Exit) {
        self.init(stdout: output.stdout, stderr: String(decoding: output.stderr, as: UTF8.self), exit: exit)
    }
}
