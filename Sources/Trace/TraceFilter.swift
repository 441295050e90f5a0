import Datasets
import Tracing

/// Which events are wanted, by what is known in user space. The programs have left out most of what is not; a replay has
/// only this.
public struct TraceFilter: Sendable {
    public var operations: Operations
    public var users: Set<UInt32>
    public var commands: Set<CommandName>
    public var showsFailures: Bool
    /// Trees by their paths; nil: everywhere.
    public var trees: [[UInt8]]?
    public var datasets: Set<[UInt8]>
    private var processes: Set<UInt32>
    private let followsChildren: Bool

    public init(
        _ selection: TraceSelection, trees: [[UInt8]]? = nil, datasets: Set<[UInt8]> = []
    ) {
        operations = selection.operations
        users = Set(selection.users)
        commands = Set(selection.commands)
        showsFailures = selection.showsFailures
        processes = Set(selection.processes)
        followsChildren = selection.followsChildren
        self.trees = trees
        self.datasets = datasets
    }

    /// Of an event that the programs let through: they know trees by their inodes, and leave what they could not tell.
    public func shows(_ event: TraceEvent, isBelow: Bool) -> Bool {
        // One that lost its beginning, and so what would tell: it is on a file system that a tree lies on.
        isBelow || event.flags.contains(.truncated) || lies(event)
    }

    /// Whether one of the trees has got, or lost, its name: it may be another file from now on.
    public func touchesTree(_ event: TraceEvent) -> Bool {
        guard let trees, !Self.naming.isDisjoint(with: event.operation) else { return false }
        return trees.contains { $0 == event.path || $0 == event.oldPath }
    }

    private static let naming: Operations = [.create, .mkdir, .unlink, .rmdir, .rename, .link]

    /// Of an event of a recording.
    public mutating func shows(_ event: TraceEvent) -> Bool {
        guard operations.contains(event.operation), showsFailures || event.errno == nil else { return false }
        if !processes.isEmpty, !processes.contains(event.pid) {
            guard followsChildren, processes.contains(event.parent) else { return false }
            processes.insert(event.pid)
        }
        if !users.isEmpty, !users.contains(event.user) { return false }
        if !commands.isEmpty, !commands.contains(event.command) { return false }
        return lies(event)
    }

    private func lies(_ event: TraceEvent) -> Bool {
        guard let trees else { return true }
        if event.place.isDataset, datasets.contains(event.place.name) { return true }
        return trees.contains { tree in
            [event.path, event.oldPath].contains { $0.map { Self.isBelow($0, tree) } ?? false }
        }
    }

    static func isBelow(_ path: [UInt8], _ tree: [UInt8]) -> Bool {
        let slash = UInt8(ascii: "/")
        return path.starts(with: tree) && (tree == [slash] || path.count == tree.count || path[tree.count] == slash)
    }
}
