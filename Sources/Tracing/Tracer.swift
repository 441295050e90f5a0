import BPF
import CLinux
import Datasets
import SystemPackage

/// Shows every change of every file system as it happens. It shares probes and decoding with a daemon, and none of its
/// policy: what a slow reader misses is lost, and counted.
public final class Tracer {
    private let probes: Probes
    private let loop: EventLoop
    private let inbox: Inbox<Void>
    private let mountInfo: FileDescriptor
    /// The mounts of this namespace, as they are.
    public private(set) var mounts: MountTable
    private var isStopping = false

    /// - Parameter signals: those that end the trace.
    public init(signals: [CInt], probes wanted: ProbeSet? = nil, ringBytes: Int = 8 << 20) throws(StartError) {
        do {
            inbox = try Inbox()
            loop = try EventLoop(signals: signals, inbox: inbox.wakeup)
            mountInfo = try FileDescriptor.open("/proc/self/mountinfo", .readOnly, options: .closeOnExec)
        } catch {
            throw .system("make the event loop", error as? Errno ?? .ioError)
        }
        do { mounts = try MountTable.read(from: mountInfo) } catch { throw .mounts(error) }
        do {
            probes = try Probes.choose(wanted, mode: .trace, ringBytes: ringBytes).probes
        } catch { throw .probes(error) }
        do {
            try loop.watch(probes.ring.descriptor, as: .ring)
            try loop.watch(mountInfo, as: .mounts, priority: true)
        } catch {
            throw .system("watch the ring and the mounts", error)
        }
    }

    deinit { try? mountInfo.close() }

    /// Why a trace could not start.
    public enum StartError: Error, Sendable, CustomStringConvertible {
        case probes(ProbeError)
        case mounts(MountTableError)
        case system(String, Errno)

        public var description: String {
            switch self {
            case .probes(let error): error.description
            case .mounts(let error): error.description
            case .system(let operation, let errno): "cannot \(operation): \(errno)"
            }
        }
    }

    /// What the programs counted, lost records among it.
    public var counters: ProbeCounters { probes.counters }

    /// Hands over records, oldest first, until a signal comes or `body` returns false.
    ///
    /// `batchEnd` is called when no more records wait: the moment to flush what was printed.
    public func run(batchEnd: () -> Void, _ body: (Record) -> Bool) throws(StartError) {
        while !isStopping {
            do {
                for source in try loop.wait() {
                    switch source {
                    case .signals: isStopping = loop.nextSignal() != nil
                    case .mounts: if let table = try? MountTable.read(from: mountInfo) { mounts = table }
                    case .inbox: _ = inbox.take()
                    case .ring, .timer: break
                    }
                }
            } catch {
                throw .system("wait for events", error)
            }
            drain(body)
            batchEnd()
        }
    }

    private func drain(_ body: (Record) -> Bool) {
        // Cleared before the ring is read: a record that comes later wakes again.
        probes.wakePending = false
        var more = true
        var wanted = true
        while more, wanted {
            let count = probes.ring.drain(limit: 4096) { bytes in
                if wanted, let record = Record(bytes) { wanted = body(record) }
            }
            more = count == 4096
        }
        if !wanted { isStopping = true }
    }
}
