import Snapshots

/// One kind of change of one file, as a record told of it.
public struct JournalChange: Sendable, Hashable {
    /// From the dataset's root, without a leading slash; of a rename the old name. Hostile bytes.
    public var path: [UInt8]
    /// Of a rename.
    public var newPath: [UInt8]?
    public var inode: UInt64
    public var generation: UInt32
    public var kinds: ChangeKinds
    /// `comm`: hostile bytes.
    public var command: [UInt8]
    public var pid: UInt32
    public var user: UInt32
    /// Nanoseconds by the clock of `JournalEntry.clock`; read back: since 1970.
    public var first: Int64
    public var last: Int64

    public init(
        path: [UInt8], newPath: [UInt8]? = nil, inode: UInt64, generation: UInt32, kinds: ChangeKinds,
        command: [UInt8], pid: UInt32, user: UInt32, first: Int64, last: Int64
    ) {
        self.path = path
        self.newPath = newPath
        self.inode = inode
        self.generation = generation
        self.kinds = kinds
        self.command = command
        self.pid = pid
        self.user = user
        self.first = first
        self.last = last
    }
}

/// Kinds of changes together. The bits are in journals: a new kind gets a new one.
public struct ChangeKinds: OptionSet, Sendable, Hashable {
    public let rawValue: Int64
    public init(rawValue: Int64) { self.rawValue = rawValue }

    /// In the order of their bits.
    private static let order: [ChangeKind] = [
        .create, .write, .truncate, .store, .mkdir, .unlink, .rmdir, .rename, .link, .attr,
    ]

    public init(_ kind: ChangeKind) {
        rawValue = Self.order.firstIndex(of: kind).map { 1 << Int64($0) } ?? 0
    }

    public var all: Set<ChangeKind> {
        Set(Self.order.enumerated().lazy.filter { self.rawValue & 1 << Int64($0.offset) != 0 }.map(\.element))
    }

    /// A name went away. The index `change_gone` is made for these bits.
    public static let deletions: ChangeKinds = [ChangeKinds(.unlink), ChangeKinds(.rmdir)]
}

/// A snapshot, and what it captured.
public struct JournalEntry: Sendable {
    public var dataset: String
    /// Of the dataset.
    public var guid: UInt64
    /// After `@`.
    public var snapshot: String
    /// Milliseconds since 1970.
    public var taken: Int64
    public var trigger: String
    /// Nothing changed since the snapshot of Kairos's before it but what `changes` says.
    public var isWhole: Bool
    public var changes: [JournalChange]
    /// What their times lack to be nanoseconds since 1970.
    public var clock: Int64

    public init(
        dataset: String, guid: UInt64, snapshot: String, taken: Int64, trigger: String, isWhole: Bool,
        changes: [JournalChange], clock: Int64
    ) {
        self.dataset = dataset
        self.guid = guid
        self.snapshot = snapshot
        self.taken = taken
        self.trigger = trigger
        self.isWhole = isWhole
        self.changes = changes
        self.clock = clock
    }

    /// Changes of one file by one process together, in the order of their beginnings.
    var merged: [JournalChange] {
        struct Key: Hashable {
            var path: [UInt8]
            var newPath: [UInt8]?
            var inode: UInt64
            var generation: UInt32
            var pid: UInt32
            var command: [UInt8]
            var user: UInt32
        }
        var places: [Key: Int] = [:]
        var result: [JournalChange] = []
        for change in changes {
            let key = Key(
                path: change.path, newPath: change.newPath, inode: change.inode, generation: change.generation,
                pid: change.pid, command: change.command, user: change.user)
            if let place = places[key] {
                result[place].kinds.formUnion(change.kinds)
                result[place].first = min(result[place].first, change.first)
                result[place].last = max(result[place].last, change.last)
            } else {
                places[key] = result.count
                result.append(change)
            }
        }
        return result
    }
}
