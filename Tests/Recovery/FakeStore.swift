import Datasets
import Glibc
import Snapshots
import SystemPackage
import TestSupport

@testable import Recovery

/// The states of a model, as a store shows them: inode numbers are used again, generations are not.
final class FakeStore: SnapshotStore {
    let snapshots: [Snapshot]
    var hasCoarseTimes = false
    /// Snapshots that cannot be looked at.
    var faults: [Int: TreeFault] = [:]
    private(set) var looks: [Place] = []
    /// The size of every file, in place of its content's.
    var fileSize: UInt64? {
        didSet { for index in trees.indices { trees[index].fileSize = fileSize } }
    }
    private var trees: [FakeTree] = []
    /// Counts what is asked of all trees.
    let reads = FakeTree.Reads()

    init(_ model: HistoryModel, names: (Int) -> String = { "s\($0)" }, hasGenerations: Bool = true) {
        snapshots = model.snapshots.indices.map { index in
            Snapshot(
                name: names(index), createtxg: UInt64(index * 10 + 10),
                time: Timestamp(milliseconds: Int64(index) * 60_000 + 1_000_000_000), isNamedByKairos: false)
        }
        var inodes: [Int: UInt64] = [:]
        var born: [Int: UInt32] = [:]
        var before: Set<Int> = []
        for (place, tree) in (model.snapshots + [model.live]).enumerated() {
            let here = Set(tree.values.map(\.id))
            var used = Set((here.union(before)).compactMap { inodes[$0] })
            for id in here.sorted() where inodes[id] == nil {
                var inode: UInt64 = 2
                while used.contains(inode) { inode += 1 }
                inodes[id] = inode
                used.insert(inode)
                // Between the group of the snapshot before and that of this one.
                born[id] = UInt32(place * 10 + 5)
            }
            before = here
            trees.append(FakeTree(tree: tree, inodes: inodes, generations: hasGenerations ? born : [:], reads: reads))
        }
    }

    /// What a path shows where a link on the way is followed, by place.
    var glances: [Int: FileStatus] = [:]

    func glance(at path: [UInt8], in snapshot: Int) -> FileStatus? {
        glances[snapshot] ?? (faults[snapshot] == nil ? trees[snapshot].status(of: path) : nil)
    }

    func look<Value>(
        into place: Place, _ body: (any FileTree) throws(TreeFault) -> Value
    ) throws(TreeFault) -> Value {
        looks.append(place)
        switch place {
        case .live: return try body(trees[trees.count - 1])
        case .snapshot(let index):
            if let fault = faults[index] { throw fault }
            return try body(trees[index])
        }
    }
}

struct FakeTree: FileTree {
    final class Reads {
        var statuses = 0
    }

    var tree: HistoryModel.Tree
    var inodes: [Int: UInt64]
    var generations: [Int: UInt32]
    var reads = Reads()
    var fileSize: UInt64?

    func status(of path: [UInt8]) -> FileStatus? {
        reads.statuses += 1
        if path.isEmpty {
            // Its times change with its names, as any directory's do.
            var hash: UInt32 = 2_166_136_261
            for (path, node) in tree.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) })
            where HistoryModel.parent(path).isEmpty {
                for byte in path + [UInt8(truncatingIfNeeded: node.id), 0] {
                    hash = (hash ^ UInt32(byte)) &* 16_777_619
                }
            }
            let time = FileTime(seconds: Int64(hash))
            return FileStatus(kind: .directory, inode: 1, modified: time, changed: time)
        }
        guard let node = tree[path], let inode = inodes[node.id] else { return nil }
        let kind: FileKind
        var size = 0
        switch node.kind {
        case .file(let bytes): (kind, size) = (.file, bytes.count)
        case .directory: kind = .directory
        case .symlink(let target): (kind, size) = (.symlink, target.count)
        }
        let time = FileTime(seconds: Int64(node.id) * 1000 + Int64(node.version))
        let bytes = kind == .file ? fileSize ?? UInt64(size) : UInt64(size)
        return FileStatus(kind: kind, inode: inode, size: bytes, mode: node.mode, modified: time, changed: time)
    }

    func entries(of directory: [UInt8]) -> [DirectoryEntry]? {
        guard directory.isEmpty || tree[directory]?.kind.isDirectory == true else { return nil }
        return tree.compactMap { path, node in
            guard HistoryModel.parent(path) == directory, let inode = inodes[node.id] else { return nil }
            let kind: FileKind =
                switch node.kind {
                case .file: .file
                case .directory: .directory
                case .symlink: .symlink
                }
            return DirectoryEntry(name: PathBytes.name(path), inode: inode, kind: kind)
        }
    }

    func generation(of path: [UInt8]) -> UInt32? { tree[path].flatMap { generations[$0.id] } }

    func target(of path: [UInt8]) -> [UInt8]? {
        if case .symlink(let target)? = tree[path]?.kind { target } else { nil }
    }

    func open(_ path: [UInt8]) throws(TreeFault) -> FileDescriptor? {
        guard case .file(let bytes)? = tree[path]?.kind else { return nil }
        var template = Array("/tmp/kairos-fake-XXXXXX\0".utf8CString)
        let raw = mkstemp(&template)
        unlink(template)
        guard raw >= 0, write(raw, bytes, bytes.count) == bytes.count else { throw .impossible("no file in /tmp") }
        return FileDescriptor(rawValue: raw)
    }
    func openDirectory(_ path: [UInt8]) throws(TreeFault) -> FileDescriptor? { throw .impossible("on paper only") }
}

/// What a journal would have of a model's operations.
struct FakeHistory: ChangeHistory {
    struct Failure: Error {}
    var records: [RecordedChange] = []
    var known: [String: Bool] = [:]
    var isBroken = false

    /// As `JournalReader` has it.
    func changes(of path: [UInt8], in dataset: UInt64) throws -> [RecordedChange] {
        if isBroken { throw Failure() }
        let above = PathBytes.above(path)
        return records.filter { change in
            change.path == path || change.newPath == path
                || above.contains(change.path) && !change.kinds.isDisjoint(with: [.unlink, .rmdir, .rename, .mkdir])
                || change.newPath.map(above.contains) ?? false
        }
    }

    func deletions(below directory: [UInt8], in dataset: UInt64, since: Timestamp?) throws -> [RecordedChange] {
        if isBroken { throw Failure() }
        return records.reversed().filter { change in
            !change.kinds.isDisjoint(with: [.unlink, .rmdir]) && change.path != directory
                && PathBytes.isWithin(change.path, directory) && (since.map { change.last >= $0 } ?? true)
        }.map { change in
            var change = change
            let beside = records.filter { $0.snapshot == change.snapshot }
            change.isMade = beside.contains {
                $0.path == change.path && !$0.kinds.isDisjoint(with: [.create, .mkdir])
            }
            change.isMovedHere = beside.contains { $0.newPath == change.path }
            return change
        }
    }

    func snapshots(movedOutOf directory: [UInt8], in dataset: UInt64) throws -> Set<String> {
        if isBroken { throw Failure() }
        func isBelow(_ path: [UInt8]) -> Bool { path != directory && PathBytes.isWithin(path, directory) }
        return Set(
            records.filter { isBelow($0.path) && !($0.newPath.map(isBelow) ?? true) }.map(\.snapshot))
    }

    func snapshots(changedBelow directory: [UInt8], in dataset: UInt64) throws -> Set<String>? {
        if isBroken { throw Failure() }
        return Set(
            records.filter { change in
                [change.path, change.newPath ?? change.path].contains {
                    $0 != directory && PathBytes.isWithin($0, directory)
                }
            }.map(\.snapshot))
    }

    func snapshotsKnownInFull(in dataset: UInt64) throws -> [String: Bool] {
        if isBroken { throw Failure() }
        return known
    }

    mutating func note(_ operation: HistoryModel.Operation, _ model: HistoryModel, snapshot: String, _ time: Timestamp)
    {
        func add(_ path: [UInt8], _ kinds: Set<ChangeKind>, to new: [UInt8]? = nil) {
            records.append(
                RecordedChange(
                    snapshot: snapshot, path: path, newPath: new, kinds: kinds, inode: 0, command: Array("test".utf8),
                    pid: 7, user: 0, first: time, last: time))
        }
        switch operation {
        case .write(let path, _): add(path, model.live[path] == nil ? [.create, .write] : [.write])
        case .replace(let path, _): add(path + Array(".tmp".utf8), [.create, .write, .rename], to: path)
        case .mkdir(let path): add(path, [.mkdir])
        case .symlink(let path, _): add(path, [.create])
        case .chmod(let path, _): add(path, [.attr])
        case .rename(let from, let to): add(from, [.rename], to: to)
        case .remove(let path):
            for (key, node) in model.live where PathBytes.isWithin(key, path) {
                add(key, node.kind.isDirectory ? [.rmdir] : [.unlink])
            }
        }
    }
}
