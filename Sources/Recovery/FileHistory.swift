import Datasets

/// The versions of a path that the snapshots of its dataset have.
public struct FileHistory: Sendable {
    /// What became of the path, in the order of time.
    public enum Row: Sendable, Hashable {
        case version(FileVersion)
        case gone(Disappearance)
        /// The live file, which is in no snapshot yet.
        case unsaved(FileStatus, renamedFrom: [UInt8]?)
    }

    /// From the dataset's root.
    public let path: [UInt8]
    /// In ZFS's order, the oldest first.
    public let snapshots: [Snapshot]
    public let rows: [Row]
    /// The oldest first.
    public let versions: [FileVersion]
    /// What is there now.
    public let live: FileStatus?
    /// The snapshots that could not be looked at, and why. Printable.
    public let passedOver: [Int: String]
    /// So many names were looked at for where a file came from or went to, and then no more.
    public let searchBound: Int?
    /// How many snapshots were looked at; of the others it was written down what they have.
    public let looked: Int

    init(
        path: [UInt8], snapshots: [Snapshot], rows: [Row], live: FileStatus?, passedOver: [Int: String],
        searchBound: Int?, looked: Int
    ) {
        self.path = path
        self.snapshots = snapshots
        self.rows = rows
        versions = rows.compactMap { if case .version(let version) = $0 { version } else { nil } }
        self.live = live
        self.passedOver = passedOver
        self.searchBound = searchBound
        self.looked = looked
    }

    /// The version that a snapshot has of the path: under its own name rather than one that it had before.
    public func version(in snapshot: Int) -> FileVersion? {
        guard passedOver[snapshot] == nil else { return nil }
        let there = versions.filter { $0.first <= snapshot && snapshot <= $0.last }
        return there.first { $0.path == path } ?? there.first
    }

    /// The version that is meant, and the snapshot to take it from.
    public func resolve(_ selector: VersionSelector) throws(SelectionFault) -> (version: FileVersion, snapshot: Int) {
        let name = path.isEmpty ? "the dataset's root" : SafeText.line(path, limit: 200)
        let there =
            versions.isEmpty
            ? "no snapshot has it"
            : "there are versions 1 to \(versions.count): see 'kairos log'"
        switch selector {
        case .number(let number):
            guard let version = versions.first(where: { $0.number == number }) else {
                throw SelectionFault(description: "\(name) has no version \(number): \(there)")
            }
            return (version, version.last)
        case .time(let time):
            guard let snapshot = snapshots.indices.last(where: { snapshots[$0].time <= time }) else {
                let oldest = snapshots.first.map { ", the oldest is of \($0.time.rfc3339)" } ?? ""
                throw SelectionFault(description: "there is no snapshot as old as \(time.rfc3339)\(oldest)")
            }
            return try resolve(in: snapshot, name, there)
        case .snapshot(let text):
            guard let snapshot = Self.place(of: text, in: snapshots) else {
                throw SelectionFault(
                    description:
                        "the dataset has no snapshot \(SafeText.line(text, limit: 300)): 'kairos list --all' shows those that there are"
                )
            }
            return try resolve(in: snapshot, name, there)
        }
    }

    private func resolve(
        in snapshot: Int, _ name: String, _ there: String
    ) throws(SelectionFault) -> (version: FileVersion, snapshot: Int) {
        if let why = passedOver[snapshot] {
            throw SelectionFault(description: "the snapshot \(SafeText.line(snapshots[snapshot].name)): \(why)")
        }
        guard let version = version(in: snapshot) else {
            throw SelectionFault(
                description:
                    "\(name) is not in the snapshot \(SafeText.line(snapshots[snapshot].name)) of \(snapshots[snapshot].time.rfc3339): \(there)"
            )
        }
        return (version, snapshot)
    }
}
