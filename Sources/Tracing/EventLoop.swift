import CLinux
import Glibc
import Synchronization
import SystemPackage

/// Descriptors and clocks that a thread waits on: epoll with one absolute timer, signals and an inbox.
struct EventLoop: ~Copyable {
    enum Source: UInt64, Sendable {
        case ring, timer, inbox, signals, mounts
    }

    private let epoll: FileDescriptor
    private let timer: FileDescriptor
    private let signals: FileDescriptor
    private var armed: UInt64 = 0

    /// Blocks `signals` in this thread: they are read by `nextSignal()` from now on.
    init(signals caught: [CInt], inbox: borrowing Wakeup) throws(Errno) {
        epoll = try Self.check(kairos_epoll_create())
        timer = try Self.check(kairos_timerfd())
        signals = try Self.check(kairos_signalfd(caught, caught.count))
        try watch(timer, as: .timer)
        try watch(signals, as: .signals)
        try watch(inbox.descriptor, as: .inbox)
    }

    deinit {
        try? epoll.close()
        try? timer.close()
        try? signals.close()
    }

    /// `priority`: wait for POLLPRI, which is how mountinfo tells of a change (proc_pid_mounts(5)).
    func watch(_ descriptor: FileDescriptor, as source: Source, priority: Bool = false) throws(Errno) {
        guard kairos_epoll_add(epoll.rawValue, descriptor.rawValue, priority, source.rawValue) == 0 else {
            throw Errno(rawValue: kairos_errno_value())
        }
    }

    /// Waits until a source has something, and says which.
    func wait() throws(Errno) -> [Source] {
        var tokens = [UInt64](repeating: 0, count: 16)
        let count = kairos_epoll_wait(epoll.rawValue, &tokens, CInt(tokens.count))
        guard count >= 0 else { throw Errno(rawValue: kairos_errno_value()) }
        let sources = tokens[..<Int(count)].compactMap(Source.init(rawValue:))
        if sources.contains(.timer) { kairos_timerfd_clear(timer.rawValue) }
        return sources
    }

    /// Wakes at this CLOCK_MONOTONIC time in nanoseconds; nil: not at all.
    mutating func setDeadline(_ deadline: UInt64?) {
        // 0 would disarm the timer; and arming it for what is armed already is a system call for nothing.
        let deadline = deadline.map { max($0, 1) } ?? 0
        guard deadline != armed || deadline != 0 else { return }
        armed = deadline
        _ = kairos_timerfd_set(timer.rawValue, deadline)
    }

    func nextSignal() -> CInt? {
        let signal = kairos_signalfd_next(signals.rawValue)
        return signal == 0 ? nil : signal
    }

    private static func check(_ descriptor: CInt) throws(Errno) -> FileDescriptor {
        guard descriptor >= 0 else { throw Errno(rawValue: kairos_errno_value()) }
        return FileDescriptor(rawValue: descriptor)
    }
}

/// An eventfd: any thread wakes the one that waits for it.
struct Wakeup: ~Copyable, Sendable {
    let descriptor: FileDescriptor

    init() throws(Errno) {
        let raw = kairos_eventfd()
        guard raw >= 0 else { throw Errno(rawValue: kairos_errno_value()) }
        descriptor = FileDescriptor(rawValue: raw)
    }

    deinit { try? descriptor.close() }

    func signal() { _ = kairos_eventfd_signal(descriptor.rawValue) }
    func clear() { kairos_eventfd_clear(descriptor.rawValue) }
}

/// What other threads have to say to the event thread, in order.
final class Inbox<Message: Sendable>: Sendable {
    private let messages = Mutex<[Message]>([])
    let wakeup: Wakeup

    init() throws(Errno) { wakeup = try Wakeup() }

    func post(_ message: Message) {
        messages.withLock { $0.append(message) }
        wakeup.signal()
    }

    func take() -> [Message] {
        wakeup.clear()
        return messages.withLock { waiting in
            defer { waiting = [] }
            return waiting
        }
    }
}

/// The two clocks: events carry the monotonic one, people read the other.
public struct Clock: Sendable {
    public static func monotonic() -> UInt64 { kairos_monotonic_ns() }

    /// Seconds since 1970, and nanoseconds.
    public static func wall() -> (seconds: Int64, nanoseconds: Int64) {
        var seconds: Int64 = 0
        var nanoseconds: Int64 = 0
        kairos_wall_clock(&seconds, &nanoseconds)
        return (seconds, nanoseconds)
    }

    /// What the wall clock showed at a monotonic time, by what both show now.
    public static func wall(at monotonic: UInt64) -> (seconds: Int64, nanoseconds: Int64) {
        let now = wall()
        let total = now.seconds * 1_000_000_000 + now.nanoseconds - Int64(clamping: Self.monotonic()) + Int64(clamping: monotonic)
        return (total / 1_000_000_000, total % 1_000_000_000)
    }
}
