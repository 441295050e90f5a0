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
    private let trees: (MountTable) -> [TracedTree]?
    /// The mounts of this namespace, as they are.
    public private(set) var mounts: MountTable
    /// Why better probe sets were not taken.
    public let refused: [ProbeError]
    /// It is time to end: what waits is still handed over.
    public private(set) var isStopping = false

    /// While records flow, the ring is looked at so often, and nobody has to be woken for them. Nanoseconds.
    private static let pace: UInt64 = 5_000_000

    /// - Parameters:
    ///   - signals: those that end the trace.
    ///   - trees: where the changes shown lie, by the mounts of the moment; nil: everywhere. The selection's own are not
    ///     looked at.
    public init(
        signals: [CInt], selection: TraceSelection = TraceSelection(), probes wanted: ProbeSet? = nil,
        ringBytes: Int = Tracer.defaultRingBytes, trees: @escaping (MountTable) -> [TracedTree]? = { _ in nil }
    ) throws(StartError) {
        do {
            inbox = try Inbox()
            loop = try EventLoop(signals: signals, inbox: inbox.wakeup)
            mountInfo = try FileDescriptor.open("/proc/self/mountinfo", .readOnly, options: .closeOnExec)
        } catch {
            throw .system("make the event loop", error as? Errno ?? .ioError)
        }
        do { mounts = try MountTable.read(from: mountInfo) } catch { throw .mounts(error) }
        self.trees = trees
        var selection = selection
        selection.trees = trees(mounts)
        do {
            let choice = try Probes.choose(wanted, mode: .trace(selection), ringBytes: ringBytes)
            probes = choice.probes
            refused = choice.refused
        } catch { throw .probes(error) }
        do {
            try loop.watch(probes.ring.descriptor, as: .ring)
            try loop.watch(mountInfo, as: .mounts, priority: true)
        } catch {
            throw .system("watch the ring and the mounts", error)
        }
    }

    deinit { try? mountInfo.close() }

    /// 32 MiB: about 200,000 records.
    public static let defaultRingBytes = 32 << 20

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
    public var counters: ProbeCounters {
        var counters = probes.counters
        counters.lost += decoder.orphans
        return counters
    }
    public var kind: ProbeSet { probes.kind }
    public var blindSpots: [String] { probes.blindSpots }
    public var leftOut: [LeftOutProgram] { probes.leftOut }
    /// Readable when a signal has come that ends the trace: for who waits for something else meanwhile.
    public var signals: FileDescriptor? { loop.signals }

    /// Hands over records, oldest first, until a signal comes, `body` or `batchEnd` returns false, or it is time.
    ///
    /// - Parameters:
    ///   - deadline: CLOCK_MONOTONIC, nanoseconds.
    ///   - tick: so often `batchEnd` is called though nothing happened, nanoseconds.
    ///   - mountsChanged: before the first record that was made under other mounts than those before.
    ///   - batchEnd: called when no more records wait: the moment to flush what was printed.
    public func run(
        until deadline: UInt64? = nil, tick: UInt64? = nil, mountsChanged: (MountTable) -> Void,
        batchEnd: () -> Bool, _ body: (Record) -> Bool
    ) throws(StartError) {
        // While records flow nobody has to be woken. After the first quiet pause the next record is to wake this thread
        // again; one that saw the old state and was sent a little later is found after the second.
        var flowed: UInt64?
        var asked: UInt64?
        var hasMore = false
        var nextTick = tick.map { SystemClock.monotonic() + $0 }
        while !isStopping {
            let now = SystemClock.monotonic()
            let pace = hasMore ? now : (asked ?? flowed).map { $0 + Self.pace }
            loop.setDeadline([deadline, pace, nextTick].compactMap(\.self).min())
            var hasMounts = false
            do {
                for source in try loop.wait() {
                    switch source {
                    case .signals: isStopping = loop.nextSignal() != nil || isStopping
                    case .mounts: hasMounts = true
                    case .inbox: _ = inbox.take()
                    case .ring, .timer: break
                    }
                }
            } catch {
                throw .system("wait for events", error)
            }
            let woken = SystemClock.monotonic()
            if let deadline, woken >= deadline { isStopping = true }
            if let tick, let next = nextTick, woken >= next { nextTick = max(next + tick, woken) }
            // Before the records: those of a new mount mostly come right after it.
            if hasMounts, let table = try? MountTable.read(from: mountInfo) {
                mounts = table
                refreshTrees()
                mountsChanged(table)
            }
            // Under a flood the ring never empties: what is there now is taken, and then it is looked around.
            // A record is there a moment before it is counted.
            let limit = UInt64(max(Int64(bitPattern: probes.sent &- delivered), 0)) + 64
            let count = drain(atMost: limit, body)
            hasMore = count == limit
            if count > 0 {
                (flowed, asked) = (woken, nil)
            } else if let since = asked, woken >= since + Self.pace {
                (flowed, asked) = (nil, nil)
            } else if asked == nil, let since = flowed, woken >= since + Self.pace {
                probes.wakePending = false
                asked = woken
            }
            if !batchEnd() { isStopping = true }
        }
    }

    /// A tree's own name has come to mean another file, or the mounts changed.
    public func refreshTrees() {
        if let trees = trees(mounts) { probes.setTrees(trees) }
    }

    private var decoder = RecordDecoder()
    private var delivered: UInt64 = 0

    private func drain(atMost limit: UInt64, _ body: (Record) -> Bool) -> UInt64 {
        var taken: UInt64 = 0
        var wanted = true
        while wanted, taken < limit {
            let batch = Int(min(4096, limit - taken))
            let count = probes.ring.drain(limit: batch) { bytes in
                if wanted, let record = decoder.decode(bytes) { wanted = body(record) }
            }
            taken += UInt64(count)
            if count < batch { break }
        }
        delivered += taken
        if !wanted { isStopping = true }
        return taken
    }
}
