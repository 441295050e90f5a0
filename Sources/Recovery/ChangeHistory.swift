import Datasets
import Snapshots

/// A change that somebody wrote down when it happened.
public struct RecordedChange: Sendable, Hashable {
    /// The snapshot that captured it, after `@`.
    public var snapshot: String
    /// From the dataset's root, without a slash in front; of a rename the old name. Hostile bytes.
    public var path: [UInt8]
    /// Of a rename.
    public var newPath: [UInt8]?
    public var kinds: Set<ChangeKind>
    public var inode: UInt64
    /// 0: not known.
    public var generation: UInt32
    /// The process's name: hostile bytes.
    public var command: [UInt8]
    public var pid: UInt32
    public var user: UInt32
    public var first: Timestamp
    public var last: Timestamp
    /// Of a deletion: a file of that name was made before the same snapshot was taken.
    public var isMade = false
    /// Of a deletion: a file was renamed to that name before the same snapshot was taken.
    public var isMovedHere = false

    public init(
        snapshot: String, path: [UInt8], newPath: [UInt8]? = nil, kinds: Set<ChangeKind>, inode: UInt64,
        generation: UInt32 = 0, command: [UInt8], pid: UInt32, user: UInt32, first: Timestamp, last: Timestamp
    ) {
        self.snapshot = snapshot
        self.path = path
        self.newPath = newPath
        self.kinds = kinds
        self.inode = inode
        self.generation = generation
        self.command = command
        self.pid = pid
        self.user = user
        self.first = first
        self.last = last
    }
}

/// What was written down about a dataset's changes. A dataset is named by its GUID, a snapshot by what follows the `@`.
public protocol ChangeHistory: Sendable {
    /// What was changed at a path, or led to it or away from it by the renaming or removal of a directory above it; the oldest first.
    func changes(of path: [UInt8], in dataset: UInt64) throws -> [RecordedChange]
    /// The names that went away below a directory (empty: all of the dataset), the newest first.
    func deletions(below directory: [UInt8], in dataset: UInt64, since: Timestamp?) throws -> [RecordedChange]
    /// The snapshots that captured a renaming of something below a directory to a place outside it.
    func snapshots(movedOutOf directory: [UInt8], in dataset: UInt64) throws -> Set<String>
    /// The snapshots that captured a change below a directory; nil: that cannot be told.
    func snapshots(changedBelow directory: [UInt8], in dataset: UInt64) throws -> Set<String>?
    /// The snapshots that are known: true where nothing changed since the snapshot of Kairos's that was taken before it but what is
    /// recorded, also when that one has been destroyed since.
    func snapshotsKnownInFull(in dataset: UInt64) throws -> [String: Bool]
    /// What ZFS said of Kairos's snapshots of the dataset that had this name last; nil: nothing is known.
    func stamps(ofDatasetNamed name: String) throws -> SnapshotStamps?
}

extension ChangeHistory {
    public func stamps(ofDatasetNamed name: String) throws -> SnapshotStamps? { nil }
    public func snapshots(changedBelow directory: [UInt8], in dataset: UInt64) throws -> Set<String>? { nil }
}
