/// A moment of `CLOCK_MONOTONIC`, in nanoseconds since boot: what `bpf_ktime_get_ns` and `clock_gettime` return.
///
/// Arithmetic saturates at both ends: a clock that misbehaves may delay a snapshot, but it can never trap the daemon.
///
///     let due = change + settings.quiet
public struct Instant: InstantProtocol, Hashable, Sendable, CustomStringConvertible {
    /// Nanoseconds since boot, time in suspend not counted.
    public var nanoseconds: UInt64

    /// The moment `nanoseconds` after boot.
    public init(nanoseconds: UInt64) {
        self.nanoseconds = nanoseconds
    }

    /// The moment of boot: before every other one.
    public static let boot = Instant(nanoseconds: 0)

    /// The moment `duration` later (earlier when negative), held within the range of the clock. Fractions of a
    /// nanosecond are cut off.
    public func advanced(by duration: Duration) -> Instant {
        // A duration holds at most 2^127 attoseconds, 2^98 nanoseconds: the sum cannot overflow 128 bits.
        Instant(nanoseconds: UInt64(clamping: Int128(nanoseconds) + duration.attoseconds / attosecondsPerNanosecond))
    }

    /// The time from this moment to `other`: negative when `other` is earlier. Always exact.
    public func duration(to other: Instant) -> Duration {
        Duration(attoseconds: (Int128(other.nanoseconds) - Int128(nanoseconds)) * attosecondsPerNanosecond)
    }

    /// `advanced(by:)`.
    public static func + (lhs: Instant, rhs: Duration) -> Instant {
        lhs.advanced(by: rhs)
    }

    /// The moment `rhs` earlier, saturating like `advanced(by:)`.
    public static func - (lhs: Instant, rhs: Duration) -> Instant {
        // The least duration has no positive counterpart: one attosecond less makes no difference here.
        lhs.advanced(by: Duration(attoseconds: -max(rhs.attoseconds, -Int128.max)))
    }

    /// The time from `rhs` to `lhs`: negative when `rhs` is later.
    public static func - (lhs: Instant, rhs: Instant) -> Duration {
        rhs.duration(to: lhs)
    }

    /// Whether `lhs` is earlier than `rhs`.
    public static func < (lhs: Instant, rhs: Instant) -> Bool {
        lhs.nanoseconds < rhs.nanoseconds
    }

    /// Seconds since boot, to the nanosecond: `12.000000345`.
    public var description: String {
        let (seconds, fraction) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        let digits = String(fraction)
        return "\(seconds)." + String(repeating: "0", count: 9 - digits.utf8.count) + digits
    }
}

private let attosecondsPerNanosecond: Int128 = 1_000_000_000
