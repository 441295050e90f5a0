import BPF
import CBPFObjects
import CLinux
import SystemPackage

/// Which programs watch the file systems. See docs/design.md, "Probe sets".
public enum ProbeSet: String, Sendable, Hashable, CaseIterable {
    case syscalls
}

/// Why no probe set could be put in place.
public enum ProbeError: Error, Sendable, CustomStringConvertible {
    case kernel(ProbeSet, BPFError)
    /// Attached, and yet the test call did not reach the program.
    case silent(ProbeSet)
    case noBTF

    public var description: String {
        switch self {
        case .noBTF:
            "this kernel has no BTF (\(KernelSupport.btfPath)), which eBPF programs need to find their way in it: "
                + "boot one with CONFIG_DEBUG_INFO_BTF=y"
        case .kernel(let set, let error): "probe set \(set.rawValue): \(error)"
        case .silent(let set):
            "probe set \(set.rawValue): attached, but its programs do not run (a test call was not seen); "
                + "is another tracer holding the tracepoint, or the kernel without CONFIG_FTRACE_SYSCALLS? "
                + "see kairos doctor"
        }
    }

    /// What to do about it, where the failure tells.
    public var hint: String? {
        if case .kernel(_, let error) = self { error.hint } else { nil }
    }

    /// libbpf's own log, for `--verbose`.
    public var log: String {
        switch self {
        case .kernel(_, let error): error.log
        case .silent, .noBTF: ""
        }
    }
}

/// The probe set `syscalls`, loaded, attached and seen to fire. The end of its life detaches everything.
/// Belongs to one thread: the ring has one consumer.
public final class SyscallProbes {
    public enum Mode: Sendable {
        /// Slots are marked and records coalesced, for the devices in `slots`.
        case watch
        /// Every change of every file system becomes a record.
        case trace
    }

    // Links before the object: a program must be detached before its maps go. Properties die in this order.
    private let exitLink: Link
    private let folioLink: Link?
    private let processLink: Link?
    private let object: BPFObject
    private let control: ControlBlock
    public let slots: SlotTable
    public let ring: RingBuffer
    /// What this kernel cannot show, one sentence each.
    public let blindSpots: [String]

    /// Loads and attaches, and waits for nothing: the probes see all calls that end after this returns.
    ///
    /// - Parameters:
    ///   - ringBytes: the size of the ring buffer; rounded up to a power of two of at least a page.
    public init(mode: Mode, ringBytes: Int = 1 << 20) throws(ProbeError) {
        guard KernelSupport.hasBTF else { throw .noBTF }
        do {
            var size = 0
            let address = kairos_object_syscalls(&size)
            let image = UnsafeRawBufferPointer(start: address, count: size)
            object = try BPFObject(image: image.bytes, name: "syscalls")
            if mode == .trace { try object.setConstant("tracing", to: UInt8(1)) }
            var bytes = 4096
            while bytes < min(ringBytes, 1 << 30) { bytes <<= 1 }
            try object.setMaxEntries(map: "ring", to: UInt32(bytes))
            var blind = Self.alwaysBlind
            // 5.18 renamed writeback_dirty_page (203a31516616); without it stores to mappings show only at msync.
            let hasFolio = kernelHasTracepoint("writeback_dirty_folio")
            try object.setAutoload(program: "syscalls__dirty_folio", hasFolio)
            if !hasFolio {
                blind.append("stores through mappings: this kernel has no writeback_dirty_folio tracepoint")
            }
            let hasExit = kernelHasTracepoint("sched_process_exit")
            try object.setAutoload(program: "syscalls__process_exit", hasExit)
            if !hasExit {
                blind.append("zfs commands of others: changed properties are read at the next mount change or SIGHUP")
            }
            blindSpots = blind
            try object.load()
            control = ControlBlock(try object.mappedArray("control"))
            slots = SlotTable(slots: try object.mappedArray("slots"), devices: try object.mappedArray("devices"))
            ring = try object.ringBuffer("ring")
            folioLink = hasFolio ? try object.attach(program: "syscalls__dirty_folio") : nil
            processLink = hasExit ? try object.attach(program: "syscalls__process_exit") : nil
            exitLink = try object.attach(program: "syscalls__exit")
        } catch {
            throw .kernel(.syscalls, error)
        }
        guard Self.calibrate(control) else { throw .silent(.syscalls) }
        control.ready = true
    }

    /// Makes a call that fails in a way that only this process makes it fail, and looks whether the program saw it.
    private static func calibrate(_ control: borrowing ControlBlock) -> Bool {
        // A descriptor below -100 names nothing, not even AT_FDCWD.
        let cookie = -Int32.random(in: 1_000_000...Int32.max)
        control.cookie = cookie
        defer { control.cookie = 0 }
        try? FileDescriptor(rawValue: cookie).close()
        return control.fired & KAIROS_PROBE_SYSCALLS.rawValue != 0
    }

    /// True from the first candidate (in a trace: record) that woke user space until it is cleared: others do not wake it.
    public var wakePending: Bool {
        get { control.wakePending }
        set { control.wakePending = newValue }
    }

    /// Whether closes are looked at, for the slots that wake at commit points. Every close of the host pays for it.
    public var followsCommits: Bool {
        get { control.commits }
        set { control.commits = newValue }
    }

    public var counters: ProbeCounters {
        var counters = control.counters
        for program in ["syscalls__exit", "syscalls__dirty_folio"] {
            counters.missedRuns += (try? object.recursionMisses(program: program)) ?? 0
        }
        return counters
    }

    /// What the set cannot see on any kernel, and what stands in for it is an audit.
    private static let alwaysBlind = [
        "changes by io_uring and by aio (io_submit), by the kernel's NFS server and by loop devices",
        "changes in an overlay file system whose upper directory lies on a dataset (containers)",
        "the rarer calls of 32-bit programs: links, attributes, splices",
        "a path that another thread of its process rewrites during the call",
    ]
}
