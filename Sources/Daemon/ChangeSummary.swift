import Policy
import Snapshots
import Tracing

/// What is known of the changes that a snapshot will hold: counted, and a few of them named.
public struct ChangeSummary: Hashable, Sendable {
    /// A process that changed something.
    public struct Actor: Hashable, Sendable {
        public var pid: UInt32
        public var user: UInt32
        /// `comm`: hostile bytes.
        public var command: [UInt8]
    }

    /// How many paths and processes are named; the others are only counted.
    public static let samples = 5

    /// Files by kind of change: a file written a thousand times counts once.
    public private(set) var counts = ChangeCounts()
    /// The first few paths, from the dataset's root and without a leading slash: hostile bytes.
    public private(set) var paths: [[UInt8]] = []
    /// Changes whose path is not among `paths`, those without a path too.
    public private(set) var morePaths = 0
    public private(set) var actors: [Actor] = []
    public private(set) var hasMoreActors = false
    /// Records that were lost: the counts are too low by up to so many.
    public var lostRecords: UInt64 = 0

    public init() {}

    public var isEmpty: Bool { counts.isEmpty && lostRecords == 0 }

    /// - Parameter path: from the dataset's root, or nil when it is not known.
    mutating func add(_ operation: Operations, path: [UInt8]?, actor: Actor) {
        guard let kind = ChangeKind(operation) else { return }
        counts.add(kind)
        if let path, paths.contains(path) {
            // Created, then written: one path.
        } else if let path, paths.count < Self.samples {
            paths.append(path)
        } else {
            morePaths += 1
        }
        if !actors.contains(actor) {
            if actors.count < Self.samples { actors.append(actor) } else { hasMoreActors = true }
        }
    }

    /// Both together; `earlier` first.
    static func joined(_ earlier: ChangeSummary, _ later: ChangeSummary) -> ChangeSummary {
        var sum = earlier
        for kind in ChangeKind.allCases { sum.counts.add(kind, later.counts[kind]) }
        let new = later.paths.filter { !sum.paths.contains($0) }
        let room = Self.samples - sum.paths.count
        sum.paths += new.prefix(room)
        sum.morePaths += later.morePaths + max(0, new.count - room)
        for actor in later.actors where !sum.actors.contains(actor) {
            if sum.actors.count < Self.samples { sum.actors.append(actor) } else { sum.hasMoreActors = true }
        }
        sum.hasMoreActors = sum.hasMoreActors || later.hasMoreActors
        sum.lostRecords += later.lostRecords
        return sum
    }
}

extension ChangeKind {
    /// The kind of a change, nil for what changes nothing by itself.
    init?(_ operation: Operations) {
        switch operation {
        case .create: self = .create
        case .write: self = .write
        case .truncate: self = .truncate
        case .store: self = .store
        case .mkdir: self = .mkdir
        case .unlink: self = .unlink
        case .rmdir: self = .rmdir
        case .rename: self = .rename
        case .link: self = .link
        case .attr: self = .attr
        default: return nil
        }
    }
}
