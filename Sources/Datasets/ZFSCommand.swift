import Subprocess
import Synchronization
import SystemPackage

/// Runs the `zfs` and `zpool` commands: found once, without a shell, in a clean environment.
///
/// A command that has begun runs to its end, whatever becomes of the task that asked for it: half a snapshot of a group
/// helps nobody. Only its time limit ends it early.
public struct ZFSCommand: Sendable, Hashable {
    /// The most that is read of a command's standard output, in bytes.
    public static let outputLimit = 16 << 20
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
    /// - Returns: its standard output.
    /// - Throws: when it cannot be run, or ends with anything but exit status 0.
    @discardableResult
    public func run(_ arguments: [String], timeLimit: Duration? = nil) async throws(ZFSError) -> [UInt8] {
        try Self.check(
            await Self.execute(zfs, "zfs", arguments, timeLimit ?? self.timeLimit), "zfs", arguments
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
    /// How long after SIGKILL a child is waited for. In the kernel's wait for a suspended pool no signal reaches it.
    private static let killGrace = Duration.seconds(2)

    private static func execute(
        _ path: String, _ program: String, _ arguments: [String], _ limit: Duration?
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
        switch await race(configuration(path, arguments), limit) {
        case .ended(let output): return output
        case .outOfTime(let died):
            let time = limit.map { "no answer within \($0)" } ?? "no answer"
            throw failure(.timedOut, died ? .signal(9) : .stillRunning, died ? time + ", killed" : time)
        case .failed(let error as SubprocessError) where error.code == .outputLimitExceeded:
            throw failure(.outputTooLarge, .signal(9), SafeText.line(error.description))
        case .failed(let error as SubprocessError) where error.code == .executableNotFound:
            throw failure(.commandMissing, .notStarted, "\(SafeText.line(path)) is gone")
        case .failed(let error): throw failure(.other, .notStarted, SafeText.line("\(error)"))
        }
    }

    private static func configuration(_ path: String, _ arguments: [String]) -> Configuration {
        var options = PlatformOptions()
        // A group of its own: Ctrl-C on the terminal goes to the foreground group and must not end a snapshot half-way.
        options.processGroupID = 0
        options.teardownSequence = [.send(signal: .kill, toProcessGroup: true, allowedDurationToNextStep: .zero)]
        return Configuration(
            executable: .path(FilePath(path)),
            arguments: Arguments(arguments),
            environment: .custom(["LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"]),
            workingDirectory: "/",
            platformOptions: options
        )
    }

    private enum Ending: Sendable {
        case ended(Output)
        case outOfTime(died: Bool)
        case failed(any Error)
    }

    /// The child and its clock; whichever comes first answers.
    ///
    /// Both are unstructured tasks. Of a task group the child would inherit cancellation, and the group would wait for
    /// a child that no signal can end.
    private static func race(_ configuration: Configuration, _ limit: Duration?) async -> Ending {
        let answer = Answer()
        let child = Task {
            let ending: Ending
            do {
                let result = try await Subprocess.run(
                    configuration, input: .none, output: .bytes(limit: outputLimit), error: .bytes(limit: errorLimit)
                )
                ending = .ended(
                    Output(
                        stdout: result.standardOutput,
                        stderr: String(decoding: result.standardError, as: UTF8.self),
                        exit: exit(result.terminationStatus)
                    )
                )
            } catch {
                ending = .failed(error)
            }
            answer.give(ending)
        }
        let clock = limit.map { limit in
            Task {
                // Thrown when the child was faster: then there is nothing to do.
                guard (try? await Task.sleep(for: limit)) != nil else { return }
                answer.markLate()
                child.cancel()
                guard (try? await Task.sleep(for: killGrace)) != nil else { return }
                answer.give(.outOfTime(died: false))
            }
        }
        let ending = await answer.value()
        clock?.cancel()
        return ending
    }

    private static func exit(_ status: TerminationStatus) -> ZFSError.Exit {
        switch status {
        case .exited(let code): .status(Int32(truncatingIfNeeded: code))
        case .signaled(let signal): .signal(Int32(truncatingIfNeeded: signal))
        }
    }

    /// The first ending, with what the time limit makes of it.
    private final class Answer: Sendable {
        private let ending = OneAnswer<Ending>()
        private let late = Mutex(false)

        /// From now on anything but success counts as the work of the time limit.
        func markLate() { late.withLock { $0 = true } }

        func give(_ given: Ending) {
            var settled = given
            if late.withLock({ $0 }) {
                switch given {
                case .ended(let output) where output.exit == .status(0): break
                case .ended, .failed: settled = .outOfTime(died: true)
                case .outOfTime: break
                }
            }
            ending.give(settled)
        }

        func value() async -> Ending { await ending.value() }
    }
}
