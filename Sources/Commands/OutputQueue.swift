import Background
import Glibc
import Synchronization
import SystemPackage

/// Writes lines on a thread of its own: a terminal that is paused, or a pipe that nobody reads, must not hold up the
/// snapshots. What does not fit in the meantime is dropped, counted, and told when there is room again.
final class OutputQueue: Sendable {
    private struct State {
        var waiting = 0
        var dropped = 0
    }

    /// Lines that may wait.
    static let limit = 10_000

    private let queue = SerialQueue()
    private let state = Mutex(State())

    /// A line of data, for stdout.
    func line(_ text: String) { enqueue(text + "\n", to: .standardOutput) }

    /// A message, for stderr.
    func message(_ text: String) { enqueue("kairos: " + text + "\n", to: .standardError) }

    /// Text for stderr as it is: a status line.
    func raw(_ text: String) { enqueue(text, to: .standardError) }

    /// Waits until everything is written, or until the time is over.
    func finish(within limit: Duration) {
        let done = Semaphore()
        queue.async { done.signal() }
        _ = done.wait(for: limit)
    }

    /// A run goes on without output: what it is there for are the snapshots.
    private func write(_ text: String, to file: FileDescriptor) {
        do { try file.writeAll(text.utf8) } catch {
            let error = error as? Errno ?? .ioError
            // A terminal that is gone takes nothing, and that is no failure.
            if file.rawValue != STDOUT_FILENO || error == .ioError && Self.isDevice(file) { return }
            Output.note(error)
            Output.reportProblem("Kairos continues to take snapshots")
        }
    }

    private static func isDevice(_ file: FileDescriptor) -> Bool {
        var status = stat()
        return fstat(file.rawValue, &status) == 0 && status.st_mode & S_IFMT == S_IFCHR
    }

    private func enqueue(_ text: String, to file: FileDescriptor) {
        let dropped: Int? = state.withLock { state in
            guard state.waiting < Self.limit else {
                state.dropped += 1
                return nil
            }
            state.waiting += 1
            defer { state.dropped = 0 }
            return state.dropped
        }
        guard let dropped else { return }
        queue.async {
            if dropped > 0 {
                _ = try? FileDescriptor.standardError.writeAll(
                    "kairos: \(Human.count(dropped, "line")) not written: nobody read the output\n".utf8)
            }
            self.write(text, to: file)
            self.state.withLock { $0.waiting -= 1 }
        }
    }
}
