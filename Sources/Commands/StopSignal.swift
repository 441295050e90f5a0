import Background
import CLinux
import Glibc
import Synchronization

/// Catches signals only once there is something to clean up; before that a signal ends the program at once.
///
/// The program must end soon after a signal, even if `zfs` or a disk does not answer. So a thread ends it if the rest does
/// not notice the signal, or does not finish cleaning up, in time.
final class LateStop: Sendable {
    private struct State {
        var signal: StopSignal?
        var isPatient = false
    }

    /// How long the program may take from a signal to its end, with all that it cleans up.
    private static let grace = Duration.milliseconds(850)

    private let state = Mutex(State())
    /// What is said when it takes longer.
    private let words: String

    init(_ words: String) { self.words = words }

    var isSet: Bool { number != nil }
    /// The first that came.
    var number: CInt? { state.withLock { $0.signal?.signal } }

    func arm() {
        let isNew = state.withLock { state in
            guard state.signal == nil else { return false }
            state.signal = StopSignal()
            return true
        }
        if isNew { WorkerThreads.shared.perform { self.watch() } }
    }

    /// From now on the program notices signals by itself. What it removes then may take long, and must not stay.
    func waitForAll() { state.withLock { $0.isPatient = true } }

    private func watch() {
        var came: ContinuousClock.Instant?
        while !state.withLock({ $0.isPatient }) {
            usleep(50_000)
            guard let number else { continue }
            let start = came ?? .now
            came = start
            guard ContinuousClock.now - start > Self.grace else { continue }
            Output.message(words)
            _exit(128 + number)
        }
    }
}

/// Whether SIGINT, SIGTERM or SIGHUP came, for work that stops between two steps of its own.
///
/// The ZFS command that runs at the time has a process group of its own and ends by itself.
final class StopSignal: Sendable {
    private let descriptor: CInt
    private let caught = Atomic<CInt>(0)

    init() {
        let signals = [SIGINT, SIGTERM, SIGHUP]
        // Without it a signal ends the program at once: nothing of a pool is half done by that either.
        descriptor = kairos_signals_catch(signals, signals.count)
    }

    /// The first that came.
    var signal: CInt? {
        let known = caught.load(ordering: .relaxed)
        if known != 0 { return known }
        guard descriptor >= 0 else { return nil }
        let next = kairos_signals_next(descriptor)
        guard next > 0 else { return nil }
        caught.store(next, ordering: .relaxed)
        return next
    }

    var isSet: Bool { signal != nil }
}
