import CTestSupport
import Glibc
import Subprocess
import Synchronization
import SystemPackage
import Testing

/// What went wrong with a Kairos under test, with all that it said.
struct KairosError: Error, CustomStringConvertible {
    var description: String
}

/// A running `kairos`: its JSON lines as they come, and its end.
final class KairosProcess: Sendable {
    private struct State {
        var pid: pid_t?
        var send: (@Sendable (Signal) throws -> Void)?
        var events: [KairosEvent] = []
        /// The lines of stdout, raw.
        var lines: [[UInt8]] = []
        var partialLine: [UInt8] = []
        var messages: [UInt8] = []
        /// Lines that are no event: a test of text output has many, one of JSON none.
        var undecoded = 0
        /// Events up to here were looked at by a test.
        var claimed = 0
        var end: Result<TerminationStatus, KairosError>?
    }

    private let state = Mutex(State())

    /// How long a condition may take. Generous: it only has to tell slow from never. The verifier alone takes half a minute in an
    /// emulated machine, and a minute and more when its host has something else to do.
    static let patience = Duration.seconds(400)

    /// The executable that was built together with the tests.
    static var executable: String {
        get throws {
            var path = [UInt8](repeating: 0, count: Int(PATH_MAX))
            let count = readlink("/proc/self/exe", &path, path.count)
            let runner = FilePath(String(decoding: path[..<max(count, 0)], as: UTF8.self))
            // `swift test` starts the bundle itself, or a helper of the toolchain with the bundle among its arguments.
            let places = [runner] + CommandLine.arguments.map { FilePath($0) }
            for place in places {
                let candidate = place.removingLastComponent().appending("kairos").string
                if access(candidate, X_OK) == 0 { return candidate }
            }
            throw KairosError(description: "there is no kairos beside the tests (\(runner))")
        }
    }

    private init() {}

    // MARK: Its life

    /// Runs `kairos` with these arguments for as long as `body` runs, and ends it then, whatever happened.
    ///
    /// - Parameters:
    ///   - wrapper: a command before it, such as `setpriv` with its arguments.
    ///   - paths: further arguments, byte by byte.
    static func run<Value>(
        _ arguments: [String], wrapper: [String] = [], paths: [[UInt8]] = [],
        _ body: (KairosProcess) async throws -> Value
    ) async throws -> Value {
        // Each with a journal of its own, as on a machine of its own.
        let journal = FilePath("/tmp/kairos-test-journal-\(getpid())-\(UInt64.random(in: 0..<UInt64.max))")
        let isRun = arguments.first == "run" && !arguments.contains("--journal")
        defer { if isRun { removeJournal(journal) } }
        let command =
            wrapper + [try executable] + arguments
            + (isRun ? ["--journal", journal.appending("journal.db").string] : [])
        let kairos = KairosProcess()
        let task = Task { await kairos.live(command, paths) }
        do {
            let value = try await body(kairos)
            await kairos.end()
            await task.value
            return value
        } catch {
            await kairos.end()
            await task.value
            throw error
        }
    }

    /// Runs `kairos` until it ends by itself, as it is to do at once.
    static func output(
        _ arguments: [String], wrapper: [String] = [], timeout: Duration = patience
    ) async throws -> (status: TerminationStatus, stdout: String, stderr: String) {
        try await run(arguments, wrapper: wrapper) { kairos in
            let status = try await kairos.exit(timeout: timeout)
            let lines = kairos.lines.map { String(decoding: $0, as: UTF8.self) + "\n" }
            return (status, lines.joined(), kairos.messages)
        }
    }

    /// The same, with arguments that are not text, and bytes that are no lines.
    static func bytes(
        _ arguments: [String], paths: [[UInt8]] = [], timeout: Duration = patience
    ) async throws -> (status: TerminationStatus, stdout: [UInt8], stderr: String) {
        try await run(arguments, paths: paths) { kairos in
            let status = try await kairos.exit(timeout: timeout)
            let rest = kairos.state.withLock { $0.partialLine }
            return (status, Array(kairos.lines.map { $0 + [UInt8(ascii: "\n")] }.joined()) + rest, kairos.messages)
        }
    }

    private static func removeJournal(_ directory: FilePath) {
        for suffix in ["", "-wal", "-shm"] { unlink(directory.appending("journal.db" + suffix).string) }
        rmdir(directory.string)
    }

    private func live(_ command: [String], _ paths: [[UInt8]]) async {
        // They are copied as C strings.
        let arguments = command.dropFirst().map { Array($0.utf8) + [0] } + paths.map { $0 + [0] }
        let configuration = Configuration(
            executable: .path(FilePath(command[0])), arguments: Arguments(arguments),
            workingDirectory: "/")
        do {
            let result = try await Subprocess.run(
                configuration, input: .none, output: .sequence, error: .sequence
            ) { execution in
                if support_guard(execution.processIdentifier.value) != 0 { Issue.record("kairos is not guarded") }
                self.state.withLock { state in
                    state.pid = execution.processIdentifier.value
                    state.send = { try execution.send(signal: $0) }
                }
                async let messages: Void = self.readMessages(execution.standardError)
                for try await buffer in execution.standardOutput {
                    let bytes = buffer.withUnsafeBytes { Array($0) }
                    self.take(bytes)
                }
                try await messages
            }
            state.withLock { $0.end = .success(result.terminationStatus) }
        } catch {
            state.withLock { $0.end = .failure(KairosError(description: "\(command[0]): \(error)")) }
        }
    }

    private func readMessages(_ sequence: SubprocessOutputSequence) async throws {
        for try await buffer in sequence {
            let bytes = buffer.withUnsafeBytes { Array($0) }
            state.withLock { $0.messages += bytes }
        }
    }

    private func take(_ bytes: [UInt8]) {
        state.withLock { state in
            for byte in bytes {
                guard byte == UInt8(ascii: "\n") else {
                    state.partialLine.append(byte)
                    continue
                }
                state.lines.append(state.partialLine)
                if let event = try? KairosEvent(line: state.partialLine) {
                    state.events.append(event)
                } else {
                    state.undecoded += 1
                }
                state.partialLine = []
            }
        }
    }

    /// Ends it: in order, and if that takes too long by force.
    private func end() async {
        guard !isOver else { return }
        try? signal(.terminate)
        if await wait(for: Self.patience, until: { self.isOver }) { return }
        Issue.record("kairos did not end within \(Self.patience) of SIGTERM\n\(transcript)")
        try? signal(.kill)
        _ = await wait(for: Self.patience, until: { self.isOver })
    }

    var isOver: Bool { state.withLock { $0.end != nil } }

    var pid: pid_t? { state.withLock { $0.pid } }

    func signal(_ signal: Signal) throws {
        let send = state.withLock { $0.send }
        try send?(signal)
    }

    /// Sends SIGTERM and waits for the end: its status, and its closing words.
    func stop(_ first: Signal = .terminate) async throws -> (status: TerminationStatus, summary: KairosEvent.Summary?) {
        try signal(first)
        let status = try await exit()
        return (status, events.last { $0.event == "stopped" }?.summary)
    }

    func exit(timeout: Duration = patience) async throws -> TerminationStatus {
        guard await wait(for: timeout, until: { self.isOver }) else {
            throw KairosError(description: "kairos did not end within \(timeout)\n\(transcript)")
        }
        return try state.withLock { try $0.end?.get() } ?? .exited(0)
    }

    // MARK: What it says

    var events: [KairosEvent] { state.withLock { $0.events } }
    var lines: [[UInt8]] { state.withLock { $0.lines } }
    var undecoded: Int { state.withLock { $0.undecoded } }
    var messages: String { state.withLock { String(decoding: $0.messages, as: UTF8.self) } }

    /// All that it said, for a failure's message.
    var transcript: String {
        let text = lines.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "\n")
        return "stdout:\n\(text)\nstderr:\n\(messages)"
    }

    /// Waits for an event among those from index `start` on.
    @discardableResult
    func event(
        _ what: String, from start: Int = 0, timeout: Duration = patience, where matches: (KairosEvent) -> Bool
    ) async throws -> KairosEvent {
        let deadline = ContinuousClock.now + timeout
        while true {
            // Asked in this order: what it said before its end is read before its end is.
            let over = isOver
            if let event = events.dropFirst(start).first(where: matches) { return event }
            if over { throw KairosError(description: "kairos ended before: \(what)\n\(transcript)") }
            if ContinuousClock.now > deadline {
                throw KairosError(description: "not within \(timeout): \(what) (from event \(start))\n\(transcript)")
            }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    /// Waits for a message on stderr.
    func message(containing words: String) async throws {
        guard await wait(for: Self.patience, until: { self.messages.contains(words) || self.isOver }),
            messages.contains(words)
        else { throw KairosError(description: "never said: \(words)\n\(transcript)") }
    }

    /// Waits until it watches, and has looked at what each dataset held before: from here on only changes count.
    func ready() async throws {
        let ready = try await event("ready") { $0.event == "ready" }
        for dataset in ready.datasets ?? [] { try await settled(dataset) }
        _ = claim()
    }

    /// Waits until a dataset that came under watch at event `start` was compared with its newest snapshot.
    func settled(_ dataset: String, from start: Int = 0) async throws {
        try await event("the first look at \(dataset)", from: start) {
            $0.dataset == dataset && ($0.event == "unchanged" || $0.event == "snapshot")
        }
    }

    /// The events since the last claim; they are the caller's to judge.
    func claim() -> (start: Int, events: [KairosEvent]) {
        state.withLock { state in
            let new = Array(state.events.dropFirst(state.claimed))
            state.claimed = state.events.count
            return (state.claimed, new)
        }
    }
}

/// Waits for a condition, asking again and again. False when it did not come true.
func wait(for limit: Duration, until condition: () async throws -> Bool) async rethrows -> Bool {
    let start = ContinuousClock.now
    while try await !condition() {
        let elapsed = ContinuousClock.now - start
        if elapsed > limit { return false }
        // The longer it takes the less often: an emulated machine would do little but look.
        try? await Task.sleep(for: min(max(.milliseconds(5), elapsed / 20), .milliseconds(100)))
    }
    return true
}
