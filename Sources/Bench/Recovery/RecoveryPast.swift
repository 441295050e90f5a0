import Journal
import Snapshots

/// What happened between the snapshots of a benchmark of looking back: now and then `docs/report` gets another version, and a few of the
/// files in `files` are deleted with it; all else is elsewhere.
public struct RecoveryPast: Sendable {
    public var snapshots = 2000
    /// In the journal, besides those of the versions.
    public var changes = 1_000_000
    public var versions = 20
    public var files = 1000

    public init() {}

    private static let deletedEach = 10

    private var step: Int { max(snapshots / versions, 1) }

    /// That a snapshot has.
    func version(in snapshot: Int) -> Int { min(snapshot / step, versions - 1) }

    /// Of the snapshots that have a version the first one has it new; nil for the others.
    func newVersion(in snapshot: Int) -> Int? {
        snapshot % step == 0 && snapshot / step < versions ? snapshot / step : nil
    }

    /// The numbers of the files that a version still has.
    func files(of version: Int) -> Range<Int> { version * Self.deletedEach..<files }

    /// The numbers of the files that were deleted with a version; none with the first.
    func deleted(with version: Int) -> Range<Int> {
        max(version - 1, 0) * Self.deletedEach..<version * Self.deletedEach
    }

    /// What `kairos run` would have written down.
    ///
    /// - Parameter time: of all changes, nanoseconds since 1970.
    func entry(
        _ snapshot: Int, called name: String, taken: Int64, of dataset: String, _ guid: UInt64, time: Int64
    ) -> JournalEntry {
        func change(_ path: String, _ kind: ChangeKind) -> JournalChange {
            JournalChange(
                path: Array(path.utf8), inode: 1, generation: 1, kinds: ChangeKinds(kind),
                command: Array("bench".utf8), pid: 1, user: 0, first: time, last: time)
        }
        var rows = (0..<changes / snapshots).map { number in
            // One in ten is a deletion, somewhere else.
            change("other/d\(number % 50)/f\(snapshot)-\(number)", number % 10 == 0 ? .unlink : .write)
        }
        if let version = newVersion(in: snapshot), version > 0 {
            rows.append(change("docs/report", .write))
            rows += deleted(with: version).map { change("files/file-\($0)", .unlink) }
        }
        return JournalEntry(
            dataset: dataset, guid: guid, snapshot: name, taken: taken, trigger: "quiet", isWhole: true, changes: rows,
            clock: 0)
    }
}
