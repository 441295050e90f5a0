import Datasets
import Tracing

/// What a record says beside its operation. The names are those of docs/trace-schema.json.
public struct TraceFlags: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The path lacks its beginning, or a given name its end.
    public static let truncated = TraceFlags(rawValue: 1 << 0)
    /// A name that the process gave could not be read.
    public static let unreadable = TraceFlags(rawValue: 1 << 1)
    /// The path is the name as the process gave it, joined to where it started: links on the way are not resolved.
    public static let given = TraceFlags(rawValue: 1 << 2)
    public static let directory = TraceFlags(rawValue: 1 << 3)
    /// The file had no name any more.
    public static let unlinked = TraceFlags(rawValue: 1 << 4)
    /// Seen before it was done.
    public static let early = TraceFlags(rawValue: 1 << 5)
    /// A system call told its result: `result` means something.
    public static let call = TraceFlags(rawValue: 1 << 6)

    static let named: [(flag: TraceFlags, name: StaticString)] = [
        (.truncated, "truncated"), (.unreadable, "unreadable"), (.given, "given"), (.directory, "directory"),
        (.unlinked, "unlinked"), (.early, "early"),
    ]
}

/// Where a file lies: a ZFS dataset, or another file system by its type.
public struct TracePlace: Hashable, Sendable {
    public var name: [UInt8]
    public var isDataset: Bool

    public init(name: [UInt8], isDataset: Bool) {
        self.name = name
        self.isDataset = isDataset
    }
}

/// One event of a trace, with its paths as this mount namespace sees them: what is printed, recorded and replayed.
public struct TraceEvent: Hashable, Sendable {
    /// CLOCK_MONOTONIC, nanoseconds.
    public var time: UInt64
    /// The wall clock, nanoseconds since 1970.
    public var wall: Int64
    public var operation: Operations
    public var flags: TraceFlags
    public var pid: UInt32
    public var thread: UInt32
    public var parent: UInt32
    public var user: UInt32
    public var command: CommandName
    public var device: DeviceNumber
    /// Nil where only names are known.
    public var inode: UInt64?
    public var generation: UInt32?
    public var place: TracePlace
    /// Of a rename the new one. Nil: unknown.
    public var path: [UInt8]?
    public var oldPath: [UInt8]?
    /// Written, allocated or mapped.
    public var bytes: UInt64?
    /// Where in the file; of a truncation the new size.
    public var offset: Int64?
    /// What the system call returned, negative for an error number. With `TraceFlags.call`.
    public var result: Int64
    /// Of the dataset's slot; nil in a trace of its own, which has none.
    public var epoch: UInt64?
    public var probe: Probe

    /// The error number of a call that failed.
    public var errno: Int32? { result < 0 ? Int32(clamping: result.magnitude) : nil }
}

extension TraceEvent {
    static let sized: Operations = [.write, .map]
    static let placed: Operations = [.write, .truncate, .map]

    /// - Parameter clock: what to add to CLOCK_MONOTONIC to have the wall clock, nanoseconds.
    public init(_ record: Record, _ places: inout TracePlaces, clock: Int64) {
        time = record.time
        wall = Int64(bitPattern: record.time) &+ clock
        operation = record.operation
        pid = record.process.pid
        thread = record.process.thread
        parent = record.process.parent
        user = record.process.user
        command = record.process.name
        device = record.device
        result = record.result
        probe = record.probe
        epoch = record.epoch == 0 ? nil : record.epoch
        bytes = Self.sized.contains(record.operation) && (record.bytes > 0 || record.result < 0) ? record.bytes : nil
        offset = Self.placed.contains(record.operation) ? record.offset : nil
        flags = []
        if record.isTruncated { flags.insert(.truncated) }
        if record.hasFault { flags.insert(.unreadable) }
        if record.isDirectory { flags.insert(.directory) }
        if record.isUnlinked { flags.insert(.unlinked) }
        if record.isEarly { flags.insert(.early) }
        if record.systemCall != nil { flags.insert(.call) }
        if record.name == nil {
            place = places.place(of: record.device)
            let known = record.inode != 0
            inode = known ? record.inode : nil
            generation = known ? record.generation : nil
            let there = record.path.flatMap { places.path(record, $0) }
            if let newPath = record.newPath {
                path = places.path(record, newPath)
                oldPath = there
            } else {
                path = there
            }
        } else {
            // What is known of a call on names is where they start, and not the file.
            flags.insert(.given)
            let first = record.name.flatMap {
                places.path($0, isTruncated: record.isTruncated, hasOtherRoot: record.hasOtherRoot)
            }
            if let newName = record.newName {
                path = places.path(newName, isTruncated: record.isTruncated, hasOtherRoot: record.hasOtherRoot)
                oldPath = first
            } else {
                path = first
            }
            // One component lies where it starts; longer ones may lead elsewhere.
            if record.kind == .candidate, let path { device = places.device(of: path) ?? device }
            place = places.place(of: device)
        }
    }
}
