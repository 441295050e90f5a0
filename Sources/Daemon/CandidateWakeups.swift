/// Decides when candidates may wake the daemon again, and when it looks at the ring unwoken. Pure; times are nanoseconds of
/// CLOCK_MONOTONIC.
///
/// A flag shared by all BPF programs lets only the first candidate wake the daemon. The daemon clears it a few milliseconds
/// later, then empties the ring. A program that read the flag before may submit after: its candidate wakes nothing. So the
/// daemon looks at the ring a second time.
struct CandidateWakeups {
    /// How long candidates are gathered after one woke the daemon: at most 200 wake-ups a second, whatever happens elsewhere on the
    /// host. Longer would leave more directories to be gone before they are looked at.
    static let interval: UInt64 = 5_000_000
    /// The second look follows so long after the flag was cleared. A program takes microseconds from the one to the other, unless the
    /// hypervisor takes its CPU away meanwhile.
    static let secondLook: UInt64 = 100_000_000

    private enum State {
        case idle
        /// The flag is set: it is cleared then.
        case gathering(until: UInt64)
        /// The flag was cleared: the ring is looked at once more then.
        case watching(until: UInt64)
    }

    private var state = State.idle

    /// When the daemon must wake by itself.
    var deadline: UInt64? {
        switch state {
        case .idle: nil
        case .gathering(let until), .watching(let until): until
        }
    }

    /// A candidate came out of the ring.
    mutating func tookCandidate(at now: UInt64) {
        if case .gathering = state { return }
        state = .gathering(until: now + Self.interval)
    }

    /// Before the ring is looked at. True: the flag is to be cleared first.
    mutating func step(_ now: UInt64) -> Bool {
        switch state {
        case .gathering(let until) where now >= until:
            state = .watching(until: now + Self.secondLook)
            return true
        case .watching(let until) where now >= until:
            state = .idle
            return false
        default: return false
        }
    }
}
