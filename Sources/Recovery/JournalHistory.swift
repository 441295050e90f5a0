import Datasets
import Journal
import Snapshots

/// The journal of `kairos run`, as those who look back ask it.
public struct JournalHistory: ChangeHistory {
    private let reader: JournalReader

    public init(_ reader: JournalReader) { self.reader = reader }

    public func changes(of path: [UInt8], in dataset: UInt64) throws -> [RecordedChange] {
        try reader.changes(of: path, in: dataset).map(RecordedChange.init)
    }

    public func deletions(below directory: [UInt8], in dataset: UInt64, since: Timestamp?) throws -> [RecordedChange] {
        try reader.deletions(below: directory, in: dataset, since: since?.milliseconds).map(RecordedChange.init)
    }

    public func snapshots(movedOutOf directory: [UInt8], in dataset: UInt64) throws -> Set<String> {
        try reader.snapshots(movedOutOf: directory, in: dataset)
    }

    public func snapshots(changedBelow directory: [UInt8], in dataset: UInt64) throws -> Set<String>? {
        try reader.snapshots(changedBelow: directory, in: dataset)
    }

    public func snapshotsKnownInFull(in dataset: UInt64) throws -> [String: Bool] {
        try reader.snapshots(in: dataset)
    }

    public func stamps(ofDatasetNamed name: String) throws -> SnapshotStamps? {
        try reader.stamps(ofDatasetNamed: name)
    }
}

extension RecordedChange {
    init(_ recorded: JournalReader.Recorded) {
        let change = recorded.change
        self.init(
            snapshot: recorded.snapshot, path: change.path, newPath: change.newPath, kinds: change.kinds.all,
            inode: change.inode, generation: change.generation, command: change.command, pid: change.pid,
            user: change.user, first: Timestamp(milliseconds: change.first / 1_000_000),
            last: Timestamp(milliseconds: change.last / 1_000_000))
        (isMade, isMovedHere) = (recorded.isMade, recorded.isMovedHere)
    }
}
