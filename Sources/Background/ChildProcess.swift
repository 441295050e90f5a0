import CLinux
import Glibc
import Synchronization
import SystemPackage

/// A command to run to its end: by its path and without a shell, in `/` unless told otherwise, with an environment of its own, with no
/// descriptor but the first three, and in a process group of its own, since Ctrl-C on the terminal goes to the foreground
/// group and must not end a snapshot half-way.
///
/// Own code, since swift-subprocess waits by `Task.sleep`: see `WorkerThreads`.
public struct ChildProcess: Sendable {
    /// How a command ended.
    public enum Ending: Sendable, Hashable {
        case exited(Output, status: Int32)
        case signalled(Output, signal: Int32)
        /// Its time was over. `died`: it is gone; else not even SIGKILL reaches it, as in the kernel's wait for a
        /// suspended pool, and it may still do its work.
        case timedOut(died: Bool)
        /// It wrote more than its limit, and was killed.
        case tooMuchOutput
        case notStarted(Errno)
    }

    /// What a command wrote.
    public struct Output: Sendable, Hashable {
        public var stdout: [UInt8] = []
        public var stderr: [UInt8] = []
        /// The time that it and its children took of a CPU.
        public var cpu = Duration.zero

        public init() {}
    }

    /// The environment of every child: nothing of ours.
    public static let environment = ["LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    /// How long after SIGKILL a child is waited for.
    static let killGrace = Duration.seconds(2)

    public var path: String
    public var arguments: [String]
    /// The most that is read of each stream, bytes.
    public var outputLimit: Int
    public var errorLimit: Int
    /// Where it starts.
    public var directory = "/"
    /// Asked ten times a second: true kills it.
    public var isStopped: (@Sendable () -> Bool)?

    public init(_ path: String, _ arguments: [String], outputLimit: Int, errorLimit: Int) {
        self.path = path
        self.arguments = arguments
        self.outputLimit = outputLimit
        self.errorLimit = errorLimit
    }

    /// Runs it and waits for its end, however long that takes without a limit.
    public func run(timeLimit: Duration?) -> Ending {
        Strays.reap()
        let out: Pipe
        let err: Pipe
        do {
            out = try Pipe()
            err = try Pipe()
        } catch { return .notStarted(error) }
        let pid: pid_t
        do {
            pid = try Self.spawn(path, arguments, directory: directory) { actions in
                posix_spawn_file_actions_adddup2(&actions, out.writing.rawValue, STDOUT_FILENO)
                posix_spawn_file_actions_adddup2(&actions, err.writing.rawValue, STDERR_FILENO)
            }
        } catch { return .notStarted(error) }
        out.closeWriting()
        err.closeWriting()
        return follow(pid, out, err, timeLimit)
    }

    /// Starts a program of which nothing but its number is kept.
    ///
    /// - Parameters:
    ///   - newSession: for one that is to outlive this process.
    ///   - directory: where it starts.
    ///   - streams: sets standard output and error; standard input is empty.
    public static func spawn(
        _ path: String, _ arguments: [String], newSession: Bool = false, directory: String = "/",
        streams: (inout posix_spawn_file_actions_t) -> Void
    ) throws(Errno) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        streams(&actions)
        try check(kairos_spawn_clean(&actions, directory))
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        let group = newSession ? kairos_spawn_setsid : Int16(POSIX_SPAWN_SETPGROUP)
        posix_spawnattr_setflags(&attributes, group | Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))

        var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) } + [nil]
        defer { words.forEach { free($0) } }
        var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
        defer { variables.forEach { free($0) } }
        var pid: pid_t = 0
        try check(posix_spawn(&pid, path, &actions, &attributes, &words, &variables))
        return pid
    }

    private static func check(_ error: CInt) throws(Errno) {
        guard error == 0 else { throw Errno(rawValue: error) }
    }
}

extension ChildProcess {
    /// Reads what it writes until it has ended.
    private func follow(_ pid: pid_t, _ out: Pipe, _ err: Pipe, _ limit: Duration?) -> Ending {
        var output = Output()
        var deadline = limit.map { ContinuousClock.now + $0 }
        var isKilled = false
        var isTooMuch = false
        // A child that is not waited for yet keeps its number, so this is the child.
        let handle = FileDescriptor(rawValue: kairos_pidfd_open(pid))
        defer { if handle.rawValue >= 0 { try? handle.close() } }
        var open = (out: true, err: true)
        while true {
            var waiting = [pollfd(fd: handle.rawValue, events: Int16(POLLIN), revents: 0)]
            // A descriptor below 0 is passed over.
            waiting.append(pollfd(fd: open.out ? out.reading.rawValue : -1, events: Int16(POLLIN), revents: 0))
            waiting.append(pollfd(fd: open.err ? err.reading.rawValue : -1, events: Int16(POLLIN), revents: 0))
            // Without a handle (no descriptor left) its end is looked for ten times a second.
            let pause = milliseconds(until: deadline, atMost: handle.rawValue < 0 || isStopped != nil ? 100 : nil)
            let ready = poll(&waiting, nfds_t(waiting.count), pause)
            if ready < 0, errno == EINTR { continue }
            if waiting[1].revents != 0 { open.out = take(out, into: &output.stdout, outputLimit, &isTooMuch) }
            if waiting[2].revents != 0 { open.err = take(err, into: &output.stderr, errorLimit, &isTooMuch) }
            var status: CInt = 0
            var usage = rusage()
            if waiting[0].revents != 0 || handle.rawValue < 0, wait4(pid, &status, WNOHANG, &usage) == pid {
                output.cpu = .microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec)
                output.cpu += .seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
                // What it wrote is in the pipes; a grandchild that holds them open is not waited for.
                while open.out, isReadable(out) { open.out = take(out, into: &output.stdout, outputLimit, &isTooMuch) }
                while open.err, isReadable(err) { open.err = take(err, into: &output.stderr, errorLimit, &isTooMuch) }
                return ending(status, output, isKilled: isKilled, isTooMuch: isTooMuch)
            }
            if isTooMuch, !isKilled {
                isKilled = true
                kill(-pid, SIGKILL)
                deadline = ContinuousClock.now + Self.killGrace
            }
            if !isKilled, isStopped?() ?? false { deadline = .now }
            guard let now = deadline, ContinuousClock.now >= now else { continue }
            guard !isKilled else {
                Strays.add(pid)
                return isTooMuch ? .tooMuchOutput : .timedOut(died: false)
            }
            isKilled = true
            kill(-pid, SIGKILL)
            deadline = ContinuousClock.now + Self.killGrace
        }
    }

    private func ending(_ status: CInt, _ output: Output, isKilled: Bool, isTooMuch: Bool) -> Ending {
        if isTooMuch { return .tooMuchOutput }
        let signal = status & 0x7f
        let code = (status >> 8) & 0xff
        // One that was done just before it was killed did its work.
        if isKilled, signal != 0 || code != 0 { return .timedOut(died: true) }
        return signal == 0 ? .exited(output, status: code) : .signalled(output, signal: signal)
    }

    private func milliseconds(until deadline: ContinuousClock.Instant?, atMost: Int32?) -> Int32 {
        guard let deadline else { return atMost ?? -1 }
        let left = deadline - .now
        guard left > .zero else { return 0 }
        let milliseconds = left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000 + 1
        return min(Int32(clamping: milliseconds), atMost ?? .max)
    }

    private func isReadable(_ pipe: Pipe) -> Bool {
        var waiting = pollfd(fd: pipe.reading.rawValue, events: Int16(POLLIN), revents: 0)
        return poll(&waiting, 1, 0) > 0
    }

    /// False when nothing more will come.
    private func take(_ pipe: Pipe, into bytes: inout [UInt8], _ limit: Int, _ isTooMuch: inout Bool) -> Bool {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let count = buffer.withUnsafeMutableBytes { (try? pipe.reading.read(into: $0)) ?? 0 }
        guard count > 0 else { return false }
        let room = limit - bytes.count
        if count > room { isTooMuch = true }
        bytes += buffer[..<min(count, max(room, 0))]
        return true
    }

    private final class Pipe {
        let reading: FileDescriptor
        let writing: FileDescriptor
        private var isWritingOpen = true

        init() throws(Errno) {
            var ends: [CInt] = [-1, -1]
            guard kairos_pipe(&ends) == 0 else { throw Errno(rawValue: kairos_errno_value()) }
            reading = FileDescriptor(rawValue: ends[0])
            writing = FileDescriptor(rawValue: ends[1])
        }

        func closeWriting() {
            if isWritingOpen { try? writing.close() }
            isWritingOpen = false
        }

        deinit {
            closeWriting()
            try? reading.close()
        }
    }

    /// Children that no signal reached: their ends are taken note of when they come.
    private enum Strays {
        private static let pids = Mutex<[pid_t]>([])

        static func add(_ pid: pid_t) { pids.withLock { $0.append(pid) } }

        static func reap() {
            pids.withLock { pids in
                pids.removeAll { pid in
                    var status: CInt = 0
                    return waitpid(pid, &status, WNOHANG) != 0
                }
            }
        }
    }
}
