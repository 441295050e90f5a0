import BPF
import CBPFObjects

/// What the programs counted since they were loaded.
public struct ProbeCounters: Hashable, Sendable {
    /// Records that went into the ring.
    public var sent: UInt64 = 0
    /// Records of known datasets that found the ring full: detail lost, no change.
    public var lost: UInt64 = 0
    /// Candidates that found the ring full, or notes of zfs commands: what they would have said must be checked.
    public var candidatesLost: UInt64 = 0
    public var zfsCommandsLost: UInt64 = 0
    /// Paths cut short.
    public var truncated: UInt64 = 0
    /// Strings of processes that could not be read.
    public var faults: UInt64 = 0
    /// Descriptors that another thread had closed before their call was looked at.
    public var unmatched: UInt64 = 0
    /// In a trace: what was left out by choice.
    public var filtered: UInt64 = 0
    /// Runs that the kernel left out, since the program ran on that CPU already.
    public var missedRuns: UInt64 = 0
    /// Fields of the zfs module that could not be read, or could not be true: each may have been a change.
    public var doubts: UInt64 = 0

    public init() {}
}

/// `struct kairos_control`.
struct ControlBlock: ~Copyable, Sendable {
    private let memory: MappedArray

    init(_ memory: consuming MappedArray) { self.memory = memory }

    var ready: Bool {
        get { memory.load32(at: offset(\.ready)) != 0 }
        nonmutating set { memory.store32(newValue ? 1 : 0, at: offset(\.ready)) }
    }

    var cookie: Int32 {
        get { Int32(bitPattern: memory.load32(at: offset(\.cookie))) }
        nonmutating set { memory.store32(UInt32(bitPattern: newValue), at: offset(\.cookie)) }
    }

    /// The process whose own changes the programs pass over, as the first PID namespace numbers it; 0: none.
    var ownPID: UInt32 {
        get { memory.load32(at: offset(\.own_pid)) }
        nonmutating set { memory.store32(newValue, at: offset(\.own_pid)) }
    }

    /// Calibration: the inode number of the file that is written to.
    var file: UInt64 {
        get { memory.load64(at: offset(\.file)) }
        nonmutating set { memory.store64(newValue, at: offset(\.file)) }
    }

    /// Whether the program has run.
    func fired(_ probe: kairos_probe) -> Bool { memory.load64(at: offset(\.fired)) & 1 << UInt64(probe.rawValue) != 0 }

    /// Calibration: whether it runs again is to be seen.
    func forget(_ probe: kairos_probe) {
        let fired = memory.load64(at: offset(\.fired))
        memory.store64(fired & ~(1 << UInt64(probe.rawValue)), at: offset(\.fired))
    }

    /// The filter before `trace_trees`. Never less than what is in there.
    var trees: UInt64 {
        get { memory.load64(at: offset(\.trees)) }
        nonmutating set { memory.store64(newValue, at: offset(\.trees)) }
    }

    var wakePending: Bool {
        get { memory.load32(at: offset(\.pending)) != 0 }
        nonmutating set { memory.store32(newValue ? 1 : 0, at: offset(\.pending)) }
    }

    var commits: Bool {
        get { memory.load32(at: offset(\.commits)) != 0 }
        nonmutating set { memory.store32(newValue ? 1 : 0, at: offset(\.commits)) }
    }

    var counters: ProbeCounters {
        var counters = ProbeCounters()
        counters.sent = memory.load64(at: offset(\.sent))
        counters.lost = memory.load64(at: offset(\.lost))
        counters.candidatesLost = memory.load64(at: offset(\.candidates_lost))
        counters.zfsCommandsLost = memory.load64(at: offset(\.zfs_lost))
        counters.truncated = memory.load64(at: offset(\.truncated))
        counters.faults = memory.load64(at: offset(\.faults))
        counters.filtered = memory.load64(at: offset(\.filtered))
        counters.unmatched = memory.load64(at: offset(\.unmatched))
        return counters
    }

    private func offset(_ field: PartialKeyPath<kairos_control>) -> Int {
        guard let offset = MemoryLayout<kairos_control>.offset(of: field) else { preconditionFailure("not stored") }
        return offset
    }
}
