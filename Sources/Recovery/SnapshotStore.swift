import Datasets
import SystemPackage

/// A snapshot of a dataset.
public struct Snapshot: Sendable, Hashable {
    /// After `@`.
    public var name: String
    /// The transaction group that it ended; nil where ZFS does not tell.
    public var createtxg: UInt64?
    /// When it was taken: by its name where that is one of Kairos's and ZFS's own time is near it, else ZFS's.
    public var time: Timestamp
    /// Its name is one of Kairos's.
    public var isNamedByKairos: Bool

    public init(name: String, createtxg: UInt64?, time: Timestamp, isNamedByKairos: Bool) {
        self.name = name
        self.createtxg = createtxg
        self.time = time
        self.isNamedByKairos = isNamedByKairos
    }
}

/// A state of a dataset.
public enum Place: Sendable, Hashable {
    /// By its place in the store's list.
    case snapshot(Int)
    /// The files as they are now.
    case live
}

/// Why a state could not be looked at, or something in it.
public enum TreeFault: Error, Sendable, Hashable, CustomStringConvertible {
    /// It was destroyed since it was listed.
    case gone
    /// A signal came.
    case stopped
    /// What was tried and on what, printable; and what the kernel said.
    case failed(String, Errno)
    /// Printable, with what to do.
    case impossible(String)

    public var description: String {
        switch self {
        case .gone: "it was destroyed meanwhile"
        case .stopped: "stopped"
        case .failed(let what, let errno): "cannot \(what): \(errno)"
        case .impossible(let why): why
        }
    }
}

/// The files of one state. Paths are relative to the dataset's root, without a slash in front; empty: the root.
public protocol FileTree {
    /// Nil when nothing is there: no such name, or something on the way is no directory. The link itself, where it is one.
    func status(of path: [UInt8]) throws(TreeFault) -> FileStatus?
    /// The names in a directory, in no order, without `.` and `..`; nil when there is no such directory, or another file system is mounted on it.
    func entries(of directory: [UInt8]) throws(TreeFault) -> [DirectoryEntry]?
    /// Tells two files that had one inode number one after the other. With either ZFS it is the transaction group that the file was made in.
    func generation(of path: [UInt8]) -> UInt32?
    /// Of a symbolic link.
    func target(of path: [UInt8]) throws(TreeFault) -> [UInt8]?
    /// The extended attributes of a file or directory, ACLs among them.
    func attributes(of path: [UInt8]) throws(TreeFault) -> [[UInt8]: [UInt8]]
    /// Before what takes long.
    ///
    /// - Throws: `.stopped`.
    func checkStopped() throws(TreeFault)
    /// A regular file, for reading; nil when there is none.
    func open(_ path: [UInt8]) throws(TreeFault) -> FileDescriptor?
    /// A directory; nil when there is none. The caller closes it.
    func openDirectory(_ path: [UInt8]) throws(TreeFault) -> FileDescriptor?
}

extension FileTree {
    public func attributes(of path: [UInt8]) throws(TreeFault) -> [[UInt8]: [UInt8]] { [:] }
    public func checkStopped() throws(TreeFault) {}

    /// What is at each of these paths; those where nothing is are left out.
    ///
    /// Where many of them were in one directory, its names are read instead of asking for each: of a directory that lost
    /// thousands of files that is one call in place of thousands.
    func kinds(of paths: Set<[UInt8]>) throws(TreeFault) -> [[UInt8]: FileKind] {
        var kinds: [[UInt8]: FileKind] = [:]
        for (directory, beside) in Dictionary(grouping: paths, by: PathBytes.parent) {
            var asked = beside
            if beside.count >= 8, let entries = try entries(of: directory) {
                let named = Dictionary(entries.map { ($0.name, $0.kind) }, uniquingKeysWith: { first, _ in first })
                asked = []
                for path in beside {
                    guard let kind = named[PathBytes.name(path)] else { continue }
                    // Where the file system does not tell it with the name, the file is asked.
                    if let kind { kinds[path] = kind } else { asked.append(path) }
                }
            }
            for path in asked { kinds[path] = try status(of: path)?.kind }
        }
        return kinds
    }
}

/// A dataset's snapshots and its live files.
public protocol SnapshotStore {
    /// In ZFS's order, the oldest first.
    var snapshots: [Snapshot] { get }
    /// Files' times are whole seconds, as with zfs-fuse: two changes in one of them cannot be told apart by their times.
    var hasCoarseTimes: Bool { get }
    /// Passes the files of a state. What is opened from it may be kept longer.
    ///
    /// - Throws: `.gone` and others of a snapshot that cannot be looked at; and what `body` throws.
    func look<Value>(
        into place: Place, _ body: (any FileTree) throws(TreeFault) -> Value
    ) throws(TreeFault) -> Value
    /// What a path shows in a snapshot, in one system call: symbolic links on the way are followed, even out of it. Nil: `look` can tell.
    func glance(at path: [UInt8], in snapshot: Int) -> FileStatus?
}

extension SnapshotStore {
    public func glance(at path: [UInt8], in snapshot: Int) -> FileStatus? { nil }

    public func status(of path: [UInt8], in place: Place) throws(TreeFault) -> FileStatus? {
        try look(into: place) { (tree) throws(TreeFault) in try tree.status(of: path) }
    }
}
