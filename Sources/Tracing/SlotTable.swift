import BPF
import CBPFObjects
import Datasets

/// What a slot says of its dataset at one moment. Times are CLOCK_MONOTONIC nanoseconds.
public struct SlotReading: Hashable, Sendable {
    public var epoch: UInt64
    /// A change was seen in this epoch.
    public var isDirty: Bool
    public var first: UInt64
    public var last: UInt64
    public var lastCommit: UInt64
    /// The newest beginning of a call that changed something: its change was done after that, and seen at `last` or before.
    public var begun: UInt64
    /// Changes seen since the slot was taken into use, coalesced or not.
    public var changes: UInt64
    /// Records lost since then.
    public var lost: UInt32
    /// Of the newest change that was marked before it was done.
    public var early: UInt64
    /// Changes of files without a name since then, which no snapshot shows.
    public var hidden: UInt64
    /// What OpenZFS tells; nil where it does not.
    public var groups: TransactionGroups?
}

/// How far a dataset has been dirtied and snapshotted, in OpenZFS's transaction groups.
public struct TransactionGroups: Hashable, Sendable {
    /// The newest group that holds a change.
    public var dirty: UInt64
    /// The group of the newest snapshot: it holds this one and all before.
    public var captured: UInt64
    /// The group of somebody else's newest snapshot, which may be gone again.
    public var foreign: UInt64
    /// The newest group that holds an access time or the like: no change, but ZFS counts it as written.
    public var noise: UInt64
    /// The newest group that holds upkeep of ZFS's own, such as the intent log's, which it counts as written, too.
    public var upkeep: UInt64
    /// CLOCK_MONOTONIC nanoseconds of the change that made `dirty` pass `captured`.
    public var dirtied: UInt64
    /// How many changes OpenZFS did not report, though it should have: they are marked. 0 with the module's BTF, where the
    /// kernel counts each run of a program that it leaves out.
    public var unreported: UInt64 = 0

    /// Whether there is a change that no snapshot of ours holds.
    public var isDirty: Bool { dirty > captured }

    /// Whether ZFS counts something as written that no snapshot of ours holds, though it is no change.
    public var hasNoise: Bool { max(noise, upkeep) > captured }

    /// Whether somebody else's snapshot has it, if that is still there.
    public var isForeign: Bool { isDirty && dirty <= foreign }
}

/// The slots and the table of devices that leads to them, in memory shared with the programs.
public final class SlotTable: Sendable {
    public static let capacity = Int(KAIROS_SLOTS)

    private let slots: MappedArray
    private let devices: MappedArray
    private let layout: LayoutTable?
    /// A removed entry: never equal to a device, and not the end of a search.
    private static let tombstone = UInt64(UInt32.max)

    init(slots: consuming MappedArray, devices: consuming MappedArray, layout: consuming LayoutTable? = nil) {
        self.slots = slots
        self.devices = devices
        self.layout = layout
    }

    public func read(_ slot: Int) -> SlotReading {
        let base = Self.base(slot)
        // The mark is read before the times: they are stored after it, so they can be older than it but never newer.
        let epoch = slots.load64(at: base + Field.epoch)
        let marked = slots.load64(at: base + Field.marked)
        return SlotReading(
            epoch: epoch, isDirty: marked == epoch, first: slots.load64(at: base + Field.first),
            last: slots.load64(at: base + Field.last), lastCommit: slots.load64(at: base + Field.lastCommit),
            begun: slots.load64(at: base + Field.begun), changes: slots.load64(at: base + Field.changes),
            lost: slots.load32(at: base + Field.lost),
            early: slots.load64(at: base + Field.early), hidden: slots.load64(at: base + Field.hidden),
            groups: hasGroups(slot) ? groups(slot) : nil)
    }

    /// Whether transaction groups tell of its changes.
    public func hasGroups(_ slot: Int) -> Bool {
        slots.load32(at: Self.base(slot) + Field.flags) & KAIROS_SLOT_TXG.rawValue != 0
    }

    /// What OpenZFS told of the slot's dataset since it was taken into use; zeros where it does not tell.
    public func groups(_ slot: Int) -> TransactionGroups {
        let base = Self.base(slot)
        // What is dirty is read first: a snapshot that comes in between makes it look captured, and it is.
        let dirty = slots.load64(at: base + Field.dirty)
        return TransactionGroups(
            dirty: dirty, captured: slots.load64(at: base + Field.captured),
            foreign: slots.load64(at: base + Field.foreign), noise: slots.load64(at: base + Field.noise),
            upkeep: slots.load64(at: base + Field.upkeep), dirtied: slots.load64(at: base + Field.dirtied),
            unreported: unreported(slot))
    }

    private func unreported(_ slot: Int) -> UInt64 {
        switch layout {
        case .some(let layout): layout.unreported(slot)
        case .none: 0
        }
    }

    /// What is known of the zfs module's structures; nil where its BTF says it.
    func withLayout<Result>(_ body: (borrowing LayoutTable) -> Result) -> Result? {
        switch layout {
        case .some(let layout): body(layout)
        case .none: nil
        }
    }

    /// ZFS says that everything up to this group is in a snapshot.
    public func raiseCaptured(_ slot: Int, to group: UInt64) {
        slots.raise64(group, at: Self.base(slot) + Field.captured)
    }

    /// Starts a new epoch: what is marked from here on is not in what is snapshotted or checked next. Returns it.
    @discardableResult
    public func advanceEpoch(_ slot: Int) -> UInt64 {
        let next = slots.load64(at: Self.base(slot) + Field.epoch) + 1
        slots.store64(next, at: Self.base(slot) + Field.epoch)
        return next
    }

    /// Takes a slot into use, clean. Epochs only ever grow, so that late marks of an earlier use mean nothing.
    public func reset(_ slot: Int, wakesAtCommit: Bool, wakesAtRecords: Bool) {
        advanceEpoch(slot)
        slots.store64(0, at: Self.base(slot) + Field.early)
        forgetGroups(slot)
        setFlags(slot, wakesAtCommit: wakesAtCommit, wakesAtRecords: wakesAtRecords)
    }

    /// What was told of transaction groups holds no more: a pool that was imported by an earlier group counts from there. To
    /// be followed by a check.
    public func forgetGroups(_ slot: Int) {
        for field in [Field.dirty, Field.captured, Field.foreign, Field.noise, Field.upkeep, Field.dirtied] {
            slots.store64(0, at: Self.base(slot) + field)
        }
    }

    /// - Parameters:
    ///   - hasGroups: transaction groups tell of its changes, and marks only of what they cannot know.
    ///   - marksAll: marks tell of all changes all the same. One that was done before this is in the slot's count after it.
    public func setFlags(
        _ slot: Int, wakesAtCommit: Bool, wakesAtRecords: Bool, hasGroups: Bool = false, marksAll: Bool = false
    ) {
        var flags: UInt32 = hasGroups ? KAIROS_SLOT_TXG.rawValue : 0
        if marksAll { flags |= KAIROS_SLOT_MARK.rawValue }
        if wakesAtCommit { flags |= KAIROS_SLOT_WAKE_COMMIT.rawValue }
        if wakesAtRecords { flags |= KAIROS_SLOT_WAKE_RECORD.rawValue }
        slots.store32(flags, at: Self.base(slot) + Field.flags)
    }

    /// Leads the device's changes to the slot. False when the table is too full near the device's place.
    public func add(_ device: DeviceNumber, slot: Int) -> Bool {
        let entry = Self.entry(device, slot)
        var free: Int?
        for place in Self.places(of: device) {
            let found = devices.load64(at: place)
            if found != 0, found != Self.tombstone, UInt32(truncatingIfNeeded: found) == device.kernel {
                devices.store64(entry, at: place)
                return true
            }
            if free == nil, found == 0 || found == Self.tombstone { free = place }
        }
        guard let free else { return false }
        devices.store64(entry, at: free)
        return true
    }

    /// The device no longer leads to the slot. Where it leads to another one by now, that stays.
    public func remove(_ device: DeviceNumber, slot: Int) {
        let entry = Self.entry(device, slot)
        for place in Self.places(of: device) where devices.load64(at: place) == entry {
            devices.store64(Self.tombstone, at: place)
        }
    }

    private static func entry(_ device: DeviceNumber, _ slot: Int) -> UInt64 {
        UInt64(slot + 1) << 32 | UInt64(device.kernel)
    }

    /// The hash of KAIROS_DEVICE_HASH, and the places behind it.
    private static func places(of device: DeviceNumber) -> [Int] {
        let hash = (device.kernel &* 0x9E37_79B1) >> 20
        return (0..<KAIROS_DEVICE_PROBES).map { Int((hash &+ $0) & (KAIROS_DEVICES - 1)) * 8 }
    }

    private static func base(_ slot: Int) -> Int { slot * MemoryLayout<kairos_slot>.stride }

    /// Offsets in `struct kairos_slot`.
    private enum Field {
        static let epoch = offset(\.epoch)
        static let marked = offset(\.marked)
        static let first = offset(\.first_ns)
        static let last = offset(\.last_ns)
        static let lastCommit = offset(\.last_commit_ns)
        static let begun = offset(\.begun_ns)
        static let changes = offset(\.changes)
        static let lost = offset(\.lost)
        static let early = offset(\.early_ns)
        static let hidden = offset(\.hidden)
        static let dirty = offset(\.dirty_txg)
        static let captured = offset(\.captured_txg)
        static let foreign = offset(\.foreign_txg)
        static let noise = offset(\.side_effect_txg)
        static let upkeep = offset(\.upkeep_txg)
        static let dirtied = offset(\.dirtied_ns)
        static let flags = offset(\.flags)

        private static func offset(_ field: PartialKeyPath<kairos_slot>) -> Int {
            guard let offset = MemoryLayout<kairos_slot>.offset(of: field) else { preconditionFailure("not stored") }
            return offset
        }
    }
}
