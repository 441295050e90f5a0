import Background
import CLinux
import Glibc
import Synchronization
import SystemPackage

/// Signals that ask a benchmark to end. It stops at its next step and removes what it made, which may take as long as ZFS takes. A
/// second signal ends the program at once.
public final class Interruption: Sendable {
    /// There is one set of handlers in a process.
    public static let shared = Interruption()

    private struct State {
        var first: CInt = 0
        var isWatched = false
    }

    private static let signals = [SIGINT, SIGTERM, SIGHUP]
    /// How long it may take before a word is said about it, milliseconds.
    private static let patience: Int32 = 900

    private let state = Mutex(State())

    /// Whether a signal came since `begin()`.
    public var isSet: Bool { state.withLock { $0.first } != 0 }

    /// From now on until `end()` it is the benchmark that ends, and cleans up. Safe to repeat.
    public func begin() throws(TraceBench.Failure) {
        let caught = kairos_signals_catch(Self.signals, Self.signals.count)
        guard caught >= 0 else {
            throw TraceBench.Failure(description: "cannot catch signals: \(Errno(rawValue: kairos_errno_value()))")
        }
        let isNew = state.withLock { state in
            defer { state.isWatched = true }
            return !state.isWatched
        }
        if isNew { WorkerThreads.shared.perform { self.watch(caught) } }
    }

    /// - Throws: when a signal came.
    public func check() throws(TraceBench.Failure) {
        if isSet { throw TraceBench.Failure(description: "interrupted") }
    }

    /// Nothing is left to be cleaned up: a signal ends the program as usual.
    ///
    /// - Throws: when one came meanwhile.
    public func end() throws(TraceBench.Failure) {
        for number in Self.signals {
            let before = signal(number, SIG_DFL)
            // nohup(1) wants it to go on: that one was never caught.
            if unsafeBitCast(before, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self) { signal(number, SIG_IGN) }
        }
        // One that was caught a moment ago is still to be read.
        usleep(1000)
        try check()
    }

    private func watch(_ caught: CInt) {
        var isTold = false
        while true {
            let first = state.withLock { $0.first }
            var waiting = pollfd(fd: caught, events: Int16(POLLIN), revents: 0)
            let ready = poll(&waiting, 1, first != 0 && !isTold ? Self.patience : -1)
            if ready == 0 {
                isTold = true
                Self.say("cleaning up; a second signal ends it at once, and what it made stays")
            }
            let number = ready > 0 ? kairos_signals_next(caught) : 0
            guard number != 0 else { continue }
            guard first == 0 else {
                Self.say("stopped before clean-up ended")
                _exit(128 + number)
            }
            state.withLock { $0.first = number }
        }
    }

    private static func say(_ words: String) {
        _ = try? FileDescriptor.standardError.writeAll("kairos: \(words)\n".utf8)
    }
}
