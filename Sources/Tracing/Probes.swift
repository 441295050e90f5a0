import BPF
import CBPFObjects
import CLinux
import Datasets
import Glibc
import SystemPackage

/// A probe set, loaded, attached and seen to fire. The end of its life detaches everything.
/// Belongs to one thread: the ring has one consumer.
public final class Probes {
    public enum Mode: Sendable {
        /// Slots are marked and records coalesced, for the devices in `slots`.
        case watch
        /// Every change of every file system becomes a record, as far as it is asked for.
        case trace(TraceSelection)

        var isTrace: Bool { if case .trace = self { true } else { false } }
    }

    // Links before the object: a program must be detached before its maps go. Properties die in this order.
    private var links: [AttachedProgram] = []
    private let object: BPFObject
    private let control: ControlBlock
    private var traced: Set<TracedTree> = []
    private let access: ModuleAccess
    private let module: HeldModule?
    /// Which one it is.
    public let kind: ProbeSet
    public let slots: SlotTable
    public let ring: RingBuffer
    /// Programs of the set that are not in use, those that nothing is missed without too.
    public private(set) var leftOut: [LeftOutProgram] = []
    /// Programs in use, and the hook of each.
    private(set) var hooks: [String: String] = [:]

    /// Keeps the zfs module loaded: a kprobe does not, and is gone for good when the module is.
    private final class HeldModule {
        private let device: FileDescriptor

        init?() {
            guard let device = try? FileDescriptor.open("/dev/zfs", .readWrite, options: .closeOnExec) else {
                return nil
            }
            self.device = device
        }

        deinit { try? device.close() }
    }

    /// Links cannot be moved into an array by themselves.
    private final class AttachedProgram {
        let name: String
        let link: Link

        init(_ name: String, _ link: consuming Link) {
            self.name = name
            self.link = link
        }
    }

    /// A set and why those before it were not taken.
    public struct Choice {
        public let probes: Probes
        public let refused: [ProbeError]
    }

    /// The best set that loads, attaches and fires: `zfs`, else `vfs`, else `syscalls`. Or none but the `wanted` one. A set
    /// that lacks what another one sees comes after that one.
    public static func choose(
        _ wanted: ProbeSet?, mode: Mode, ringBytes: Int = 1 << 20, prefix: String = "kairos-"
    ) throws(ProbeError) -> Choice {
        guard KernelSupport.hasBTF else { throw .noBTF }
        if let wanted {
            return Choice(probes: try Probes(wanted, mode: mode, ringBytes: ringBytes, prefix: prefix), refused: [])
        }
        var refused: [ProbeError] = []
        var incomplete: Probes?
        // In a trace transaction groups tell nothing.
        for set in mode.isTrace ? [.vfs, .syscalls] : ProbeSet.allCases {
            // Nobody has to be told that there is no OpenZFS where there is none.
            if set == .zfs, KernelSupport.zfsModule == nil { continue }
            do {
                let probes = try Probes(set, mode: mode, ringBytes: ringBytes, prefix: prefix)
                if probes.isComplete { return Choice(probes: probes, refused: refused) }
                refused.append(.incomplete(set, probes.leftOut.filter(\.prefersOtherSet)))
                incomplete = incomplete ?? probes
            } catch {
                // The others would be refused for the same reason.
                if case .forbidden = error { throw error }
                refused.append(error)
            }
        }
        guard let incomplete else { throw refused.last ?? .noBTF }
        return Choice(
            probes: incomplete,
            refused: refused.filter { error in
                if case .incomplete(incomplete.kind, _) = error { false } else { true }
            })
    }

    /// Loads and attaches, and waits for nothing: the probes see all calls that end after this returns.
    ///
    /// - Parameters:
    ///   - ringBytes: the size of the ring buffer; rounded up to a power of two of at least a page.
    ///   - prefix: how the names of our snapshots begin.
    public convenience init(
        _ set: ProbeSet, mode: Mode, ringBytes: Int = 1 << 20, prefix: String = "kairos-"
    ) throws(ProbeError) {
        let access = ModuleAccess.ofThisHost
        let programs =
            if case .trace(let selection) = mode { set.programs(for: selection) } else { set.programs(access) }
        try self.init(set, programs, access, mode: mode, ringBytes: ringBytes, prefix: prefix)
    }

    /// As above, with these programs. For tests: one of them is such that the kernel refuses it.
    init(
        _ set: ProbeSet, _ programs: [ProbeProgram], _ access: ModuleAccess = .ofThisHost, mode: Mode,
        ringBytes: Int = 1 << 20, prefix: String = "kairos-", poisoned: String? = nil
    ) throws(ProbeError) {
        guard let types = KernelTypes() else { throw .noBTF }
        var held: HeldModule?
        if set == .zfs {
            guard KernelSupport.zfsModule != nil else { throw .noModule }
            if access.isByLayout {
                held = HeldModule()
                guard held != nil else { throw .noModuleBTF }
            }
        }
        module = held
        self.access = access
        kind = set
        var choice = try ProgramChoice(set, programs) { program in
            for hook in program.hooks {
                guard var found = Self.find(hook, types) else { continue }
                if let constant = program.pointerConstant, types.returnsPointer(found.name) {
                    found.places.append((constant, 1))
                }
                return found
            }
            return nil
        }
        object = try Self.load(&choice, mode, access, ringBytes: ringBytes, prefix: prefix, poisoned)
        do throws(BPFError) {
            control = ControlBlock(try object.mappedArray("control"))
            let layout = kind == .zfs && access.isByLayout ? LayoutTable(try object.mappedArray("layout")) : nil
            slots = SlotTable(
                slots: try object.mappedArray("slots"), devices: try object.mappedArray("devices"), layout: layout)
            ring = try object.ringBuffer("ring")
            if case .trace(let selection) = mode { try Self.choose(selection, object) }
        } catch { throw .kernel(set, error) }
        if kind == .zfs, case .forged(let forged) = access {
            slots.withLayout { $0.use(forged) }
        } else if kind == .zfs, access.isByLayout {
            layout = .sought
        }
        for name in choice.attachOrder { try attach(name, &choice) }
        for name in choice.standInsForAbsent { try attach(name, &choice) }
        try calibrate(&choice)
        leftOut = choice.leftOut
        for item in choice.wanted where links.contains(where: { $0.name == item.program.name }) {
            hooks[item.program.name] = item.hook.name
        }
        if case .trace(let selection) = mode { setTrees(selection.trees ?? []) }
        control.ready = true
    }

    /// From now on what this process does is seen too. For tests.
    func watchSelf() { control.ownPID = 0 }

    /// Whether it sees all that another set would see.
    public var isComplete: Bool { !leftOut.contains(where: \.prefersOtherSet) }

    /// What is not seen, one phrase each: on any kernel, and on this one.
    public var blindSpots: [String] {
        kind.alwaysBlind + leftOut.filter { !$0.blindSpot.isEmpty }.map(\.blindSpotAndReason)
    }

    private func attach(_ name: String, _ choice: inout ProgramChoice) throws(ProbeError) {
        // It may have gone with another one.
        guard choice.wants(name) else { return }
        do throws(BPFError) {
            links.append(AttachedProgram(name, try object.attach(program: name)))
        } catch { try choice.refuse(name, error) }
    }

    /// Looks whether the programs run, and attaches others for those that do not.
    private func calibrate(_ choice: inout ProgramChoice) throws(ProbeError) {
        guard kind != .syscalls else {
            guard Calibration.closes(control) else { throw .silent(kind, programs: ["kairos_syscalls_exit"]) }
            return
        }
        var silent = Calibration.silentFunctions(control, choice.wants)
        let standIns = choice.standIns(for: silent)
        for name in standIns { try attach(name, &choice) }
        if !standIns.isEmpty { silent = Calibration.silentFunctions(control, choice.wants) }
        try choice.noteSilent(silent)
    }

    /// Loads what `choice` wants. libbpf loads all programs of an object or none: each that the kernel refuses costs another
    /// object, without it.
    private static func load(
        _ choice: inout ProgramChoice, _ mode: Mode, _ access: ModuleAccess, ringBytes: Int, prefix: String,
        _ poisoned: String?
    ) throws(ProbeError) -> BPFObject {
        while true {
            do throws(BPFError) {
                let object = try open(choice, mode, access, ringBytes: ringBytes, prefix: prefix)
                if let poisoned { try object.poison(program: poisoned) }
                try object.load()
                return object
            } catch {
                // In lockdown the verifier does not know the helpers that read memory: it seems to be the program's fault.
                if let obstacle = KernelSupport.obstacle, obstacle == .lockdown || error.errno == .notPermitted {
                    throw .forbidden(obstacle, log: error.log)
                }
                try choice.refuse(error.program, error)
            }
        }
    }

    /// The object with what its programs are to know, not loaded yet.
    private static func open(
        _ choice: ProgramChoice, _ mode: Mode, _ access: ModuleAccess, ringBytes: Int, prefix: String
    ) throws(BPFError) -> BPFObject {
        var size = 0
        let address = kairos_object_programs(&size)
        let image = UnsafeRawBufferPointer(start: address, count: size)
        let object = try BPFObject(image: image.bytes, name: "kairos")
        if case .trace(let selection) = mode { try configure(object, choice.set, selection) }
        try object.setConstant("zfs_by_layout", to: UInt8(choice.set == .zfs && access.isByLayout ? 1 : 0))
        // One that is longer would match too much: what lies behind it is the time.
        var name = [UInt8](repeating: 0, count: Int(KAIROS_PREFIX))
        for (index, byte) in prefix.utf8.prefix(name.count - 1).enumerated() { name[index] = byte }
        try object.setConstant("prefix", bytes: name)
        var bytes = 4096
        while bytes < min(ringBytes, 1 << 30) { bytes <<= 1 }
        try object.setMaxEntries(map: "ring", to: UInt32(bytes))
        for program in ProbeSet.everyProgram {
            try object.setAutoload(program: program, choice.wants(program))
        }
        for item in choice.wanted {
            for (constant, place) in item.hook.places { try object.setConstant(constant, to: place) }
            if try object.target(of: item.program.name) != item.hook.name {
                try object.setTarget(of: item.program.name, to: item.hook.name)
            }
        }
        return object
    }

    /// What the programs of a trace have to know when they are loaded: what they do not do costs nothing then.
    private static func configure(
        _ object: borrowing BPFObject, _ set: ProbeSet, _ selection: TraceSelection
    ) throws(BPFError) {
        try object.setConstant("tracing", to: UInt8(1))
        try object.setConstant("trace_by", to: selection.choices)
        try object.setConstant("trace_ops", to: selection.operations.rawValue)
        let failures =
            !selection.showsFailures
            ? KAIROS_FAILURES_NONE : set == .syscalls ? KAIROS_FAILURES_TOO : KAIROS_FAILURES_ALONE
        try object.setConstant("trace_failures", to: failures.rawValue)
    }

    private static func choose(_ selection: TraceSelection, _ object: borrowing BPFObject) throws(BPFError) {
        for pid in selection.processes { try object.update(map: "trace_pids", key: pid, value: UInt8(1)) }
        for user in selection.users { try object.update(map: "trace_users", key: user, value: UInt8(1)) }
        for command in selection.commands { try object.update(map: "trace_comms", key: command, value: UInt8(1)) }
    }

    /// In a trace by trees: these from now on. The programs never see less than what stays.
    public func setTrees(_ trees: [TracedTree]) {
        let old = traced
        traced = Set(trees)
        var full: Set<DeviceNumber> = []
        // Those that hold a name first: of a directory that is both, what counts is the tree.
        let keys = traced.compactMap { tree in tree.key.map { (tree.device, $0.tree, $0.value) } }.sorted {
            $0.2 > $1.2
        }
        let bits = keys.reduce(into: UInt64(0)) { $0 |= Self.treeBit($1.1.inode) }
        control.trees |= bits
        for (device, key, value) in keys {
            do { try object.update(map: "trace_trees", key: key, value: value) } catch { full.insert(device) }
        }
        for device in Set(trees.map(\.device)) {
            // Where the table has no room for all, user space looks at each path.
            let place = traced.filter { $0.device == device }.map(\.place).max() ?? 0
            _ = slots.add(device, slot: full.contains(device) ? max(place, Int(KAIROS_DEVICE_UNSURE)) : place)
        }
        let kept = Set(keys.map { [UInt64($0.1.device), $0.1.inode] })
        for tree in old.subtracting(traced) {
            if let key = tree.key?.tree, !kept.contains([UInt64(key.device), key.inode]) {
                try? object.remove(map: "trace_trees", key: key)
            }
            if !traced.contains(where: { $0.device == tree.device }) {
                for place in 0...2 { slots.remove(tree.device, slot: place) }
            }
        }
        control.trees = bits
    }

    /// KAIROS_TREE_BIT of bpf/kairos.h.
    private static func treeBit(_ inode: UInt64) -> UInt64 { 1 << ((inode ^ inode >> 6 ^ inode >> 12) & 63) }

    /// The hook, where this kernel has it and the arguments that its program reads.
    private static func find(_ hook: ProbeProgram.Hook, _ types: borrowing KernelTypes) -> ProgramChoice.FoundHook? {
        var found = ProgramChoice.FoundHook(name: hook.name)
        switch hook {
        case .tracepoint(let name): return types.hasTracepoint(name) ? found : nil
        case .module(let name): return types.moduleHasFunction("zfs", name) ? found : nil
        // Whether it is there, its attachment tells.
        case .symbol: return found
        case .function(let name, let arguments):
            guard types.hasFunction(name) else { return nil }
            for argument in arguments {
                guard let place = types.parameter(of: name, pointingTo: argument.structure, nth: argument.nth) else {
                    return nil
                }
                found.places.append((argument.constant, UInt32(place)))
            }
            return found
        }
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

    /// Whether OpenZFS's own functions have been seen to call the programs on them, and these to read the right fields; until
    /// then they are not relied on.
    public var hasGroups: Bool { kind == .zfs && control.fired(KAIROS_PROBE_ZFS_DIRTY) && layout == .none }

    /// What is known of the zfs module's structures, where its BTF does not say it.
    public enum LayoutState: Hashable, Sendable {
        /// Nothing is missing: BTF says it, or a snapshot's transaction group has proven it.
        case none
        /// No program has come by a watched dataset and a transaction yet.
        case sought
        /// The programs read it. A snapshot's `createtxg` is to prove them right.
        case unproven
        /// They read the wrong fields.
        case refuted
    }

    public private(set) var layout = LayoutState.none
    /// Since when the programs read it, CLOCK_MONOTONIC nanoseconds.
    public private(set) var layoutSince: UInt64?
    private var disproofs = 0

    /// Has the programs read by what they have found, as soon as there is one place for each field.
    ///
    /// - Returns: whether that is from now on.
    public func findLayout() -> Bool {
        guard layout == .sought else { return false }
        let found = slots.withLayout { table in
            guard let layout = ZFSLayout(table.evidence) else { return false }
            table.use(layout)
            return true
        }
        guard found == true else { return false }
        layoutSince = SystemClock.monotonic()
        layout = .unproven
        return true
    }

    /// Compares the transaction group of a snapshot as the programs have read it with what ZFS says. Another snapshot, or a
    /// rollback, may have come right after it: one that differs is no disproof yet.
    public func prove(_ captured: UInt64, createTXG: UInt64) {
        guard layout == .unproven else { return }
        if captured == createTXG, captured > 0 {
            layout = .none
            return
        }
        disproofs += 1
        if disproofs >= 3 { refuteLayout() }
    }

    /// So many fields that could not be read, or could not be true, are no coincidence.
    public static let doubtLimit: UInt64 = 16

    /// The programs read nothing of the zfs module any more.
    public func refuteLayout() {
        slots.withLayout { $0.use(nil) }
        layout = .refuted
    }

    /// Whether what is written to volumes is seen.
    public var seesVolumes: Bool { kind == .zfs }

    /// Leads the changes of a dataset, as OpenZFS tells of them, to a slot.
    public func add(dataset guid: UInt64, slot: Int) throws(BPFError) {
        guard kind == .zfs else { return }
        try object.update(map: "datasets", key: guid, value: UInt32(slot))
    }

    public func remove(dataset guid: UInt64) {
        guard kind == .zfs else { return }
        try? object.remove(map: "datasets", key: guid)
    }

    /// How many records went into the ring: without asking the kernel.
    var sent: UInt64 { control.counters.sent }

    public var counters: ProbeCounters {
        var counters = control.counters
        for attached in links where attached.name != "kairos_syscalls_process_exit" {
            counters.missedRuns += (try? object.recursionMisses(program: attached.name)) ?? 0
        }
        counters.doubts = slots.withLayout { $0.doubts } ?? 0
        return counters
    }
}
