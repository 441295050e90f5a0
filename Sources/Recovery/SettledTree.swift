import Datasets
import SystemPackage

/// The live files, read from the newest snapshot as far as they have not changed since.
///
/// With zfs-fuse and `atime=on` each read of a live file or directory changes the dataset's figures, with O_NOATIME too. A
/// check then finds a difference, and an empty snapshot follows. What has changed since the newest snapshot, or so close to
/// it that whole seconds cannot tell, is read where it is.
private struct SettledTree: FileTree {
    let live: any FileTree
    let newest: any FileTree
    /// Seconds since 1970. What changed then or later may have changed again after the snapshot.
    let settled: Int64

    private func isSettled(_ path: [UInt8]) throws(TreeFault) -> Bool {
        guard let now = try live.status(of: path), let before = try newest.status(of: path) else { return false }
        return now.isSameVersion(as: before) && now.links == before.links && now.changed.seconds < settled
    }

    func status(of path: [UInt8]) throws(TreeFault) -> FileStatus? { try live.status(of: path) }
    func generation(of path: [UInt8]) -> UInt32? { live.generation(of: path) }
    func attributes(of path: [UInt8]) throws(TreeFault) -> [[UInt8]: [UInt8]] { try live.attributes(of: path) }
    func checkStopped() throws(TreeFault) { try live.checkStopped() }
    func openDirectory(_ path: [UInt8]) throws(TreeFault) -> FileDescriptor? { try live.openDirectory(path) }

    func entries(of directory: [UInt8]) throws(TreeFault) -> [DirectoryEntry]? {
        if try isSettled(directory), let entries = try newest.entries(of: directory) { return entries }
        return try live.entries(of: directory)
    }

    func target(of path: [UInt8]) throws(TreeFault) -> [UInt8]? {
        try isSettled(path) ? newest.target(of: path) : live.target(of: path)
    }

    func open(_ path: [UInt8]) throws(TreeFault) -> FileDescriptor? {
        if try isSettled(path), let file = try newest.open(path) { return file }
        return try live.open(path)
    }
}

extension SnapshotStore {
    /// Passes the live files, which are read as little as possible where reading changes the dataset.
    public func lookSparingly<Value>(
        _ body: (any FileTree) throws(TreeFault) -> Value
    ) throws(TreeFault) -> Value {
        guard hasCoarseTimes, let newest = snapshots.indices.last else { return try look(into: .live, body) }
        let settled = snapshots[newest].time.milliseconds / 1000 - 1
        var isOpen = false
        do throws(TreeFault) {
            return try look(into: .snapshot(newest)) { (tree) throws(TreeFault) in
                isOpen = true
                return try look(into: .live) { (live) throws(TreeFault) in
                    try body(SettledTree(live: live, newest: tree, settled: settled))
                }
            }
        } catch {
            // The newest cannot be looked at.
            guard !isOpen, error != .stopped else { throw error }
            return try look(into: .live, body)
        }
    }
}
