import CLinux
import Datasets
import Glibc
import Journal
import Policy
import Recovery
import Snapshots
import SystemPackage

/// How long it takes to look back: from the journal, without one, and beside a plain loop over the snapshots.
///
/// Directories stand for the snapshots, so what is measured is Kairos and not the mounting of `.zfs/snapshot/NAME`, which all that look
/// there pay alike.
public struct RecoveryBench: Sendable {
    public struct Failure: Error, CustomStringConvertible {
        public var description: String
    }

    public struct Row: Sendable {
        public var name: String
        /// A round each, as they came.
        public var times: [Duration] = []
        /// Of snapshots that were looked at.
        public var looked = 0
        /// What was found.
        public var found = 0
    }

    public var past = RecoveryPast()
    public var rounds = 11
    public var seed: UInt64
    /// Where the directories are made.
    public var directory: String
    public var note: @Sendable (String) -> Void = { _ in }

    public init(directory: String, seed: UInt64) {
        self.directory = directory
        self.seed = seed
    }

    private static let guid: UInt64 = 1

    public func run() throws -> [Row] {
        try Interruption.shared.begin()
        let place = "\(directory)/kairos-bench-recovery-\(getpid())"
        guard mkdir(place, 0o700) == 0 else {
            throw Failure(description: "cannot make \(SafeText.line(place)): \(Errno(rawValue: errno))")
        }
        defer { TraceBench.remove(place) }
        note("making \(past.versions) trees, and a journal of \(past.changes) changes in \(past.snapshots) snapshots")
        try makeTrees(place)
        let journal = place + "/journal.db"
        try writeJournal(journal)
        let store = try DirectoryStore(place, list, past)
        let (file, below) = (Array("docs/report".utf8), Array("files".utf8))
        var rows = [
            Row(name: "kairos log FILE, from the journal"), Row(name: "kairos log FILE, without a journal"),
            Row(name: "stat of FILE in each snapshot"), Row(name: "kairos deleted DIR, from the journal"),
            Row(name: "kairos deleted DIR, without a journal"), Row(name: "names in DIR of each snapshot"),
        ]
        var random = SplitMix(state: seed)
        // The first round does not count.
        for round in 0...rounds {
            for index in rows.indices.shuffled(using: &random) {
                try Interruption.shared.check()
                store.looked = []
                let clock = ContinuousClock()
                var found = 0
                let time = try clock.measure {
                    switch index {
                    case 0, 1:
                        let history = index == 0 ? JournalHistory(try JournalReader(journal)) : nil
                        found = try FileHistory.read(file, from: store, dataset: Self.guid, history: history).versions
                            .count
                    case 2: found = statLoop(place, "docs/report")
                    case 3, 4:
                        let history = index == 3 ? JournalHistory(try JournalReader(journal)) : nil
                        found = try DeletedFiles.read(
                            below: below, from: store, dataset: Self.guid, history: history, all: true
                        ).entries.count
                    default: found = try namesLoop(store, below)
                    }
                }
                guard round > 0 else { continue }
                rows[index].times.append(time)
                (rows[index].looked, rows[index].found) = (store.looked.count, found)
            }
        }
        return rows
    }

    /// The same question of a real dataset, whose snapshots are below `.zfs`: without a journal, and by a plain loop.
    ///
    /// - Parameter path: of a file, absolute, on OpenZFS.
    public func run(on path: String, _ command: ZFSCommand) throws -> [Row] {
        let place = try PlaceFinder(try MountTable.read(), directory: []).find(Array(path.utf8))
        guard place.flavour == .kernel else {
            throw Failure(description: "\(SafeText.line(path)): zfs-fuse has no .zfs to loop over")
        }
        try Interruption.shared.begin()
        let view = try DatasetView(place, command, isStopped: { Interruption.shared.isSet })
        defer { view.close() }
        var rows = [Row(name: "kairos log FILE, without a journal"), Row(name: "stat of FILE in each snapshot")]
        let root = String(decoding: place.mountPoint, as: UTF8.self) + "/.zfs/snapshot/"
        let relative = "/" + String(decoding: place.path, as: UTF8.self)
        let paths = view.snapshots.map { root + $0.name + relative }
        var random = SplitMix(state: seed)
        // The first round has the snapshots mounted, and does not count.
        for round in 0...rounds {
            for index in rows.indices.shuffled(using: &random) {
                var (found, looked) = (0, 0)
                let time = try ContinuousClock().measure {
                    try Interruption.shared.check()
                    if index == 0 {
                        let history = try FileHistory.read(place.path, from: view)
                        (found, looked) = (history.versions.count, history.looked)
                    } else {
                        var seen: Set<UInt64> = []
                        var status = stat()
                        for path in paths where lstat(path, &status) == 0 { seen.insert(UInt64(status.st_ino)) }
                        found = seen.count
                    }
                }
                guard round > 0 else { continue }
                rows[index].times.append(time)
                (rows[index].looked, rows[index].found) = (looked, found)
            }
        }
        return rows
    }

    private var list: [Snapshot] {
        (0..<past.snapshots).map { index in
            let time = Timestamp(milliseconds: 1_700_000_000_000 + Int64(index) * 60_000)
            return Snapshot(
                name: "s\(index)", createtxg: UInt64(index + 1), time: time,
                isNamedByKairos: true)
        }
    }

    private func makeTrees(_ place: String) throws {
        for version in 0..<past.versions {
            let tree = "\(place)/\(version)"
            for name in ["", "/docs", "/files"] where mkdir(tree + name, 0o755) != 0 {
                throw Failure(description: "cannot make \(SafeText.line(tree + name)): \(Errno(rawValue: errno))")
            }
            try make("\(tree)/docs/report", "version \(version)\n")
            for file in past.files(of: version) {
                let path = "/files/file-\(file)"
                if version == 0 {
                    try make(tree + path, "\(file)\n")
                } else if link("\(place)/\(version - 1)\(path)", tree + path) != 0 {
                    throw Failure(description: "cannot link \(SafeText.line(tree + path)): \(Errno(rawValue: errno))")
                }
            }
        }
    }

    private func make(_ path: String, _ text: String) throws {
        let file = try FileDescriptor.open(
            FilePath(path), .writeOnly, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
        _ = try file.closeAfter { try file.writeAll(text.utf8) }
    }

    private func writeJournal(_ path: String) throws {
        let journal = try Journal(
            path,
            report: { [note] report in
                // It has nowhere to write any longer.
                if !Interruption.shared.isSet { note("\(report)") }
            })
        for index in 0..<past.snapshots {
            try Interruption.shared.check()
            let taken = Int64(1_700_000_000_000 + index * 60_000)
            journal.add(
                past.entry(index, called: "s\(index)", taken: taken, of: "bench", Self.guid, time: taken * 1_000_000))
        }
        let isWritten = journal.end(within: .seconds(600), unless: { Interruption.shared.isSet })
        try Interruption.shared.check()
        guard isWritten else { throw Failure(description: "the journal was not written") }
    }

    /// What somebody does without Kairos: `stat /tank/.zfs/snapshot/*/FILE`.
    private func statLoop(_ place: String, _ name: String) -> Int {
        var found: Set<UInt64> = []
        var status = stat()
        for index in 0..<past.snapshots {
            let path = "\(place)/\(past.version(in: index))/\(name)"
            if lstat(path, &status) == 0 { found.insert(UInt64(status.st_ino)) }
        }
        return found.count
    }

    private func namesLoop(_ store: DirectoryStore, _ directory: [UInt8]) throws -> Int {
        var names: Set<[UInt8]> = []
        for index in 0..<past.snapshots {
            let entries = try store.look(into: .snapshot(index)) { (tree) throws(TreeFault) in
                try tree.entries(of: directory)
            }
            for entry in entries ?? [] { names.insert(entry.name) }
        }
        return names.count
    }
}

/// Directories in the place of snapshots: each stands for as many as are alike.
private final class DirectoryStore: SnapshotStore {
    let snapshots: [Snapshot]
    let hasCoarseTimes = false
    var looked: Set<Int> = []
    private let place: String
    private let past: RecoveryPast
    /// Of the directory that holds them all, as `.zfs/snapshot` does.
    private let root: FileDescriptor

    init(_ place: String, _ snapshots: [Snapshot], _ past: RecoveryPast) throws {
        let raw = open(place, kairos_open_only_path | O_DIRECTORY | O_CLOEXEC)
        guard raw >= 0 else { throw RecoveryBench.Failure(description: "cannot open \(SafeText.line(place))") }
        root = FileDescriptor(rawValue: raw)
        self.place = place
        self.snapshots = snapshots
        self.past = past
    }

    deinit { try? root.close() }

    func look<Value>(
        into place: Place, _ body: (any FileTree) throws(TreeFault) -> Value
    ) throws(TreeFault) -> Value {
        var version = past.versions - 1
        if case .snapshot(let index) = place {
            looked.insert(index)
            version = past.version(in: index)
        }
        let raw = open("\(self.place)/\(version)", kairos_open_only_path | O_DIRECTORY | O_CLOEXEC)
        guard raw >= 0 else { throw .failed("open a tree", Errno(rawValue: errno)) }
        let root = FileDescriptor(rawValue: raw)
        defer { try? root.close() }
        return try body(TreeReader(root: root, isFuse: false))
    }

    func glance(at path: [UInt8], in snapshot: Int) -> FileStatus? {
        looked.insert(snapshot)
        return TreeReader.glance(at: path, in: "\(past.version(in: snapshot))", below: root)
    }
}
