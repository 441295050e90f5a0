import CLinux
import Glibc
import Synchronization
import SystemPackage

/// Descriptors and clocks that a thread waits on: epoll with one absolute timer, signals and an inbox.
public final class EventLoop {
    public enum Source: UInt64, Sendable {
        case ring, timer, inbox, signals, mounts
    }

    private let epoll: FileDescriptor
    private let timer: FileDescriptor
    /// Readable when a signal waits. Nil: this loop takes no signals.
    public let signals: FileDescriptor?
    private var armed: UInt64 = 0

    /// Catches `signals`, for the whole process: they are read by `nextSignal()` from now on. There is one descriptor for
    /// them all, so of several loops one may ask for signals; the others, given none, leave them to it.
    public init(signals caught: [CInt], inbox: borrowing Wakeup) throws(Errno) {
        let epoll = try Self.check(kairos_epoll_create())
        let timer = try Self.check(kairos_timerfd())
        let signals = caught.isEmpty ? nil : try Self.check(kairos_signals_catch(caught, caught.count))
        self.epoll = epoll
        self.timer = timer
        self.signals = signals
        try watch(timer, as: .timer)
        if let signals { try watch(signals, as: .signals) }
        try watch(inbox.descriptor, as: .inbox)
    }

    deinit {
        try? epoll.close()
        try? timer.close()
    }

    /// `priority`: wait for POLLPRI, which is how mountinfo tells of a change (proc_pid_mounts(5)).
    public func watch(_ descriptor: FileDescriptor, as source: Source, priority: Bool = false) throws(Errno) {
        guard kairos_epoll_add(epoll.rawValue, descriptor.rawValue, priority, source.rawValue) == 0 else {
            throw Errno(rawValue: kairos_errno_value())
        }
    }

    /// Waits until a source has something, and says which.
    public func wait() throws(Errno) -> [Source] {
        var tokens = [UInt64](repeating: 0, count: 16)
        let count = kairos_epoll_wait(epoll.rawValue, &tokens, CInt(tokens.count))
        guard count >= 0 else { throw Errno(rawValue: kairos_errno_value()) }
        let sources = tokens[..<Int(count)].compactMap(Source.init(rawValue:))
        if sources.contains(.timer) {
            kairos_timerfd_clear(timer.rawValue)
            armed = 0
        }
        return sources
    }

    /// Wakes at this CLOCK_MONOTONIC time in nanoseconds; nil: not at all.
    public func setDeadline(_ deadline: UInt64?) {
        // 0 would disarm the timer; and arming it for what is armed already is a system call for nothing.
        let deadline = deadline.map { max($0, 1) } ?? 0
        guard deadline != armed else { return }
        armed = deadline
        _ = kairos_timerfd_set(timer.rawValue, deadline)
    }

    public func nextSignal() -> CInt? {
        guard let signals else { return nil }
        let signal = kairos_signals_next(signals.rawValue)
        return signal == 0 ? nil : signal
    }

    private static func check(_ descriptor: CInt) throws(Errno) -> FileDescriptor {
        guard descriptor >= 0 else { throw Errno(rawValue: kairos_errno_value()) }
        return FileDescriptor(rawValue: descriptor)
    }
}

/// An eventfd: any thread wakes the one that waits for it.
public struct Wakeup: ~Copyable, Sendable {
    let descriptor: FileDescriptor

    public init() throws(Errno) {
        let raw = kairos_eventfd()
        guard raw >= 0 else { throw Errno(rawValue: kairos_errno_value()) }
        descriptor = FileDescriptor(rawValue: raw)
    }

    deinit { try? descriptor.close() }

    public func signal() { _ = kairos_eventfd_signal(descriptor.rawValue) }
    public func clear() { kairos_eventfd_clear(descriptor.rawValue) }
}

/// What other threads have to say to the event thread, in order.
public final class Inbox<Message: Sendable>: Sendable {
    private let messages = Mutex<[Message]>([])
    public let wakeup: Wakeup

    public init() throws(Errno) { wakeup = try Wakeup() }

    public func post(_ message: Message) {
        messages.withLock { $0.append(message) }
        wakeup.signal()
    }

    public func take() -> [Message] {
        wakeup.clear()
        return messages.withLock { waiting in
            defer { waiting = [] }
            return waiting
        }
    }
}

/// The two clocks: events carry the monotonic one, people read the other.
public enum SystemClock {
    public static func monotonic() -> UInt64 { kairos_monotonic_ns() }

    /// As `monotonic()`, but it goes on while the machine sleeps.
    public static func boot() -> UInt64 { kairos_boottime_ns() }

    /// Seconds since 1970, and nanoseconds.
    public static func wall() -> (seconds: Int64, nanoseconds: Int64) {
        var seconds: Int64 = 0
        var nanoseconds: Int64 = 0
        kairos_wall_clock(&seconds, &nanoseconds)
        return (seconds, nanoseconds)
    }

    /// What a monotonic time lacks to be nanoseconds since 1970, by what both show now.
    public static func wallOffset() -> Int64 {
        let (seconds, nanoseconds) = wall(at: 0)
        return seconds &* 1_000_000_000 &+ nanoseconds
    }

    /// What the wall clock showed at a monotonic time, by what both show now.
    public static func wall(at monotonic: UInt64) -> (seconds: Int64, nanoseconds: Int64) {
        let now = wall()
        let total =
            now.seconds &* 1_000_000_000 &+ now.nanoseconds &- Int64(clamping: Self.monotonic())
            &+ Int64(clamping: monotonic)
        return (total / 1_000_000_000, total % 1_000_000_000)
    }
}
