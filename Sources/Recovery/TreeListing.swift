import Datasets

/// The names below a directory of one state, by directory.
struct TreeListing {
    struct Directory {
        var status: FileStatus
        var entries: [DirectoryEntry]
    }

    private(set) var directories: [[UInt8]: Directory] = [:]

    /// Reads a directory and all below it, but for what is here already.
    ///
    /// What is below a directory may change without it, so each is looked at; its names are taken from a listing of another state where its
    /// times, its size and its links say that none came or went.
    ///
    /// - Parameters:
    ///   - settled: seconds since 1970; a directory that changed then or later is read, whatever its times say.
    ///   - sparing: such a directory is not read either if a look at each name of the other listing shows that it holds
    ///     the same. With zfs-fuse and `atime=on` each reading changes the dataset.
    mutating func add(
        _ top: [UInt8], of tree: any FileTree, like other: TreeListing?, settled: Int64, sparing: Bool = false
    ) throws(TreeFault) {
        var left = [top]
        while let path = left.popLast() {
            var directory = directories[path]
            if directory == nil {
                // Another file system may be mounted on it, whose root this would be: then it has no entries either.
                guard let status = try tree.status(of: path), status.kind == .directory else { continue }
                var same = other?.directories[path]
                if let known = same, !known.status.isSameDirectory(as: status) { same = nil }
                if let known = same, status.changed.seconds >= settled {
                    if !sparing { same = nil } else if try !Self.holds(known.entries, path, status, tree) { same = nil }
                }
                if let same {
                    directory = Directory(status: status, entries: same.entries)
                } else {
                    guard let entries = try tree.entries(of: path) else { continue }
                    directory = Directory(status: status, entries: entries)
                }
            }
            guard var directory else { continue }
            for index in directory.entries.indices {
                let place = PathBytes.join(path, directory.entries[index].name)
                if directory.entries[index].kind == nil {
                    directory.entries[index].kind = try tree.status(of: place)?.kind
                }
                if directory.entries[index].kind == .directory { left.append(place) }
            }
            directories[path] = directory
        }
    }

    /// Whether a directory of ZFS holds these entries and no others: its size is the number of its names, `.` and `..` among them.
    private static func holds(
        _ entries: [DirectoryEntry], _ path: [UInt8], _ status: FileStatus, _ tree: any FileTree
    ) throws(TreeFault) -> Bool {
        guard status.size == UInt64(entries.count) + 2 else { return false }
        for entry in entries {
            guard let found = try tree.status(of: PathBytes.join(path, entry.name)), found.inode == entry.inode,
                entry.kind == nil || entry.kind == found.kind
            else { return false }
        }
        return true
    }

    subscript(path: [UInt8]) -> Directory? { directories[path] }

    /// Each file and directory by its inode; of several names any.
    var places: [UInt64: [UInt8]] {
        var result: [UInt64: [UInt8]] = [:]
        for (path, directory) in directories {
            for entry in directory.entries { result[entry.inode] = PathBytes.join(path, entry.name) }
        }
        return result
    }
}

extension FileStatus {
    fileprivate func isSameDirectory(as other: FileStatus) -> Bool {
        isSameVersion(as: other) && links == other.links
    }
}

/// What two listings of one directory differ in, names that are missing from the newer one.
struct TreeComparison {
    let old: TreeListing
    var new: TreeListing
    /// Names that are gone, or stand for something of another kind.
    private(set) var candidates: [(path: [UInt8], entry: DirectoryEntry)] = []

    init(old: TreeListing, new: TreeListing) {
        self.old = old
        self.new = new
    }

    /// - Parameter other: what the directory is called in the newer one.
    mutating func compare(_ directory: [UInt8], with other: [UInt8]) {
        var left = [(directory, other)]
        while let (path, other) = left.popLast() {
            guard let before = old[path] else { continue }
            // With the directory itself missing, everything is. One that is there and could not be read tells nothing.
            let after = new[other]
            if after == nil, isThere(other) { continue }
            let names = Dictionary(
                (after?.entries ?? []).map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
            for entry in before.entries {
                let place = PathBytes.join(path, entry.name)
                guard let same = names[entry.name], same.kind == entry.kind else {
                    candidates.append((place, entry))
                    continue
                }
                if entry.kind == .directory { left.append((place, PathBytes.join(other, entry.name))) }
            }
        }
    }

    private func isThere(_ path: [UInt8]) -> Bool {
        let name = PathBytes.name(path)
        return new[PathBytes.parent(path)]?.entries.contains { $0.name == name && $0.kind == .directory } ?? false
    }

    /// The candidates that are nowhere in the newer state, with all that is nowhere of what was below them.
    mutating func deleted(
        _ tree: any FileTree, _ newTree: any FileTree
    ) throws(TreeFault) -> [(path: [UInt8], status: FileStatus)] {
        let places = new.places
        var result: [(path: [UInt8], status: FileStatus)] = []
        while let (path, entry) = candidates.popLast() {
            guard let status = try tree.status(of: path) else { continue }
            if let place = places[entry.inode], let found = try newTree.status(of: place),
                Identity.isSame(status, tree.generation(of: path), found, newTree.generation(of: place))
            {
                // Renamed. What was taken out of it since is not.
                if status.kind == .directory { compare(path, with: place) }
                continue
            }
            result.append((path, status))
            for entry in old[path]?.entries ?? [] { candidates.append((PathBytes.join(path, entry.name), entry)) }
        }
        return result
    }
}
