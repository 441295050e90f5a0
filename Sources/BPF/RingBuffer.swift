import CLibbpf
import SystemPackage

/// The consuming end of a `BPF_MAP_TYPE_RINGBUF`.
public struct RingBuffer: ~Copyable {
    private let ring: OpaquePointer
    // libbpf keeps a pointer to the callback's context for the ring's whole life, so it lives outside of this value.
    private let drain: UnsafeMutablePointer<Drain>

    init(mapDescriptor: CInt, name: String) throws(BPFError) {
        kairos_libbpf_log_clear()
        let drain = UnsafeMutablePointer<Drain>.allocate(capacity: 1)
        drain.initialize(to: Drain())
        guard let ring = ring_buffer__new(mapDescriptor, deliverSample, drain, nil) else {
            let errno = Errno(rawValue: systemErrno())
            drain.deinitialize(count: 1)
            drain.deallocate()
            throw BPFError(
                operation: "open the ring buffer", subject: name, errno: errno,
                log: String(cString: kairos_libbpf_log()))
        }
        self.ring = ring
        self.drain = drain
    }

    deinit {
        ring_buffer__free(ring)
        drain.deinitialize(count: 1)
        drain.deallocate()
    }

    /// Readable (`EPOLLIN`) when a program asked for a wake-up and records wait. Owned by the ring.
    public var descriptor: FileDescriptor { FileDescriptor(rawValue: ring_buffer__epoll_fd(ring)) }

    /// Hands over the records that wait, at most `limit`, oldest first, and frees their places. The span is valid during
    /// the call only. Returns how many there were: `limit` means that more may wait.
    ///
    /// The limit matters: under a flood, producers on other CPUs could keep the loop going for ever.
    @discardableResult
    public func drain(limit: Int = .max, _ body: (RawSpan) -> Void) -> Int {
        withoutActuallyEscaping(body) { body in
            drain.pointee = Drain(body: body, limit: limit, count: 0)
            _ = ring_buffer__consume(ring)
            let count = drain.pointee.count
            drain.pointee = Drain()
            return count
        }
    }
}

private struct Drain {
    var body: ((RawSpan) -> Void)?
    var limit = 0
    var count = 0
}

/// A global function: a closure literal would carry the isolation of where it is written, and trap on another thread.
private func deliverSample(context: UnsafeMutableRawPointer?, data: UnsafeMutableRawPointer?, size: Int) -> CInt {
    guard let context, let data else { return 0 }
    let drain = context.assumingMemoryBound(to: Drain.self)
    drain.pointee.body?(RawSpan(_unsafeStart: data, byteCount: size))
    drain.pointee.count += 1
    // A negative result stops ring_buffer__consume() after this record, which counts as consumed.
    return drain.pointee.count < drain.pointee.limit ? 0 : -Errno.canceled.rawValue
}
