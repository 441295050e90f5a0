import CLinux
import Glibc
import Synchronization

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
