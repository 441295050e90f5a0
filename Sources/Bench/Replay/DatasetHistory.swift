import Tracing

/// What happened to one dataset (or other file system), in the order of time: the ground truth of a comparison. All times are
/// nanoseconds of CLOCK_MONOTONIC.
public struct DatasetHistory: Sendable, Hashable {
    /// One change. Several may have the same time.
    public struct Change: Sendable, Hashable {
        public var time: UInt64
        /// How much was written. A change of names or attributes has none.
        public var bytes: UInt64
        /// Whether a version was complete then: a close after a write, a sync, a rename, an unlink. A commit point that is
        /// no change stands with 0 bytes in `commits` alone.
        public var commit: Bool

        public init(time: UInt64, bytes: UInt64, commit: Bool = false) {
            self.time = time
            self.bytes = bytes
            self.commit = commit
        }
    }

    /// A file's content from one modification of it to the next.
    public struct Version: Sendable, Hashable {
        public enum End: Sendable, Hashable {
            /// Modified again.
            case modified
            /// The last content of a file that was deleted, or that another one was renamed over.
            case deleted
            /// Still there when the history ended.
            case open
        }

        public var born: UInt64
        /// The first moment at which it was not there any more; for `.open` the history's end.
        public var ended: UInt64
        public var end: End

        public init(born: UInt64, ended: UInt64, end: End) {
            self.born = born
            self.ended = ended
            self.end = end
        }
    }

    public var name: String
    public var start: UInt64
    public var end: UInt64
    /// By time.
    public var changes: [Change]
    /// Times of commit points that are no change themselves (closes, syncs), by time.
    public var commits: [UInt64]
    public var versions: [Version]

    public init(
        name: String, start: UInt64, end: UInt64, changes: [Change], commits: [UInt64] = [], versions: [Version]
    ) {
        self.name = name
        self.start = start
        self.end = end
        self.changes = changes
        self.commits = commits
        self.versions = versions
    }
}

/// Follows files by their names from event to event, and so makes histories of a trace.
///
/// A file is known by its name, since with `syscalls` a deletion tells no inode. What has several names is a file for each that
/// it is written by. A file that was there before has no versions until it is written.
struct HistoryBuilder {
    fileprivate struct File {
        /// When its content was last modified; nil: not within the history.
        var born: UInt64?
    }

    fileprivate struct Tree {
        var name: String
        var changes: [DatasetHistory.Change] = []
        var commits: [UInt64] = []
        var versions: [DatasetHistory.Version] = []
        /// By path.
        var files: [[UInt8]: Int] = [:]
        var known: [File] = []
    }

    private var trees: [[UInt8]: Tree] = [:]
    private var first: UInt64?
    private var last: UInt64 = 0
    /// The bytes of a page: what a store to a mapping puts at risk at least.
    static let page: UInt64 = 4096

    mutating func take(_ event: TraceFacts) {
        first = min(first ?? event.time, event.time)
        last = max(last, event.time)
        guard !event.failed else { return }
        trees[event.place, default: Tree(name: String(decoding: event.place, as: UTF8.self))].take(event)
    }

    /// - Parameters:
    ///   - start: where it begins earlier than with its first event.
    ///   - end: where it ends later than with its last one.
    func histories(from start: UInt64? = nil, to end: UInt64? = nil) -> [DatasetHistory] {
        let start = min(start ?? .max, first ?? 0)
        let end = max(end ?? 0, last)
        return trees.values.map { $0.history(start, end) }.sorted { $0.name < $1.name }
    }
}

/// What a history takes of an event.
struct TraceFacts {
    var time: UInt64
    var operation: Operations
    var place: [UInt8]
    var path: [UInt8]?
    var oldPath: [UInt8]?
    var bytes: UInt64
    var isDirectory: Bool
    /// The file had no name any more: no snapshot holds what is done to it.
    var isUnlinked: Bool
    var failed: Bool
}

extension HistoryBuilder.Tree {
    fileprivate mutating func take(_ event: TraceFacts) {
        if event.isUnlinked { return }
        guard !event.operation.isDisjoint(with: .changes) else {
            if !event.operation.isDisjoint(with: .commits) { commits.append(event.time) }
            return
        }
        let bytes = event.operation == .store ? max(event.bytes, HistoryBuilder.page) : event.bytes
        changes.append(
            DatasetHistory.Change(
                time: event.time, bytes: bytes, commit: !event.operation.isDisjoint(with: .commits)))
        guard let path = event.path else { return }
        switch event.operation {
        case .create, .write, .truncate, .store: modify(path, at: event.time)
        case .unlink: remove(path, at: event.time)
        case .rename:
            guard let old = event.oldPath else { return }
            event.isDirectory ? moveTree(old, path) : move(old, path, at: event.time)
        default: break
        }
    }

    private mutating func modify(_ path: [UInt8], at time: UInt64) {
        let file: Int
        if let known = files[path] {
            file = known
        } else {
            file = known.count
            known.append(HistoryBuilder.File())
            files[path] = file
        }
        close(file, at: time, .modified)
        known[file].born = time
    }

    private mutating func close(_ file: Int, at time: UInt64, _ end: DatasetHistory.Version.End) {
        guard let born = known[file].born else { return }
        // Several modifications in one moment are one.
        if born < time || end != .modified {
            // Records of several CPUs come only nearly in order.
            versions.append(DatasetHistory.Version(born: born, ended: max(born, time), end: end))
        }
        known[file].born = nil
    }

    private mutating func remove(_ path: [UInt8], at time: UInt64) {
        guard let file = files.removeValue(forKey: path) else { return }
        close(file, at: time, .deleted)
    }

    private mutating func move(_ old: [UInt8], _ new: [UInt8], at time: UInt64) {
        guard old != new else { return }
        guard let file = files.removeValue(forKey: old) else {
            // A directory, or a file that was not touched before: what it replaces is gone all the same.
            remove(new, at: time)
            return moveTree(old, new)
        }
        remove(new, at: time)
        files[new] = file
    }

    private mutating func moveTree(_ old: [UInt8], _ new: [UInt8]) {
        let prefix = old + [UInt8(ascii: "/")]
        let below = files.keys.filter { $0.starts(with: prefix) }
        for path in below {
            guard let file = files.removeValue(forKey: path) else { continue }
            files[new + path.dropFirst(old.count)] = file
        }
    }

    fileprivate func history(_ start: UInt64, _ end: UInt64) -> DatasetHistory {
        var versions = versions
        for file in known {
            guard let born = file.born else { continue }
            versions.append(DatasetHistory.Version(born: born, ended: end, end: .open))
        }
        // Records of several CPUs come nearly in order.
        return DatasetHistory(
            name: name, start: start, end: end, changes: changes.sorted { $0.time < $1.time },
            commits: commits.sorted(), versions: versions.sorted { $0.born < $1.born })
    }
}
