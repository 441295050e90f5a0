import Background
import CLinux
import Glibc
import Synchronization
import SystemPackage

/// Signals that ask a benchmark to end. It stops at its next step and removes what it made, which may take as long as ZFS takes
/// (the command has ended by then, see `Worker`). A signal more than two seconds later ends the program at once.
public final class Interruption: Sendable {
    /// There is one set of handlers in a process.
    public static let shared = Interruption()

    private struct State {
        var first: CInt = 0
        var firstAt = ContinuousClock.now
        var isWatched = false
    }

    private static let signals = [SIGINT, SIGTERM, SIGHUP]
    /// Signals so close together are one that was sent to the command and its worker, as killall(1) and systemd do.
    private static let sameSignal = Duration.seconds(2)

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
        while true {
            var waiting = pollfd(fd: caught, events: Int16(POLLIN), revents: 0)
            guard poll(&waiting, 1, -1) > 0 else { continue }
            let number = kairos_signals_next(caught)
            guard number != 0 else { continue }
            let isAnother = state.withLock { state in
                guard state.first == 0 else { return ContinuousClock.now - state.firstAt > Self.sameSignal }
                (state.first, state.firstAt) = (number, .now)
                return false
            }
            if isAnother {
                Self.say("stopped before clean-up ended")
                _exit(128 + number)
            }
        }
    }

    private static func say(_ words: String) {
        _ = try? FileDescriptor.standardError.writeAll("kairos: \(words)\n".utf8)
    }
}
