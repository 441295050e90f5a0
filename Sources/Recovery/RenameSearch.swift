/// Finds a file by its inode in a state that does not have it at its path: in the same directory, in directories above that were renamed
/// themselves, and then everywhere, up to a bound.
struct RenameSearch {
    var status: FileStatus
    /// Nil: not known; then its size and time must agree too.
    var generation: UInt32?
    var path: [UInt8]
    /// The directories above it and their inodes, the nearest first.
    var above: [(path: [UInt8], inode: UInt64)]

    /// - Parameter tree: the one that has it.
    init(_ status: FileStatus, _ path: [UInt8], in tree: any FileTree) throws(TreeFault) {
        self.status = status
        self.path = path
        generation = tree.generation(of: path)
        above = []
        for directory in PathBytes.above(path) {
            if let status = try tree.status(of: directory) { above.append((directory, status.inode)) }
        }
    }

    struct Result {
        var path: [UInt8]?
        /// It was not looked everywhere.
        var isBounded = false
    }

    /// - Parameter left: how many names may be looked at still, everywhere else than in the directories that are most likely.
    func find(in tree: any FileTree, hints: [[UInt8]], left: inout Int) throws(TreeFault) -> Result {
        for hint in hints where hint != path {
            if try isIt(hint, in: tree) { return Result(path: hint) }
        }
        let parent = PathBytes.parent(path)
        if let found = try find(status.inode, in: parent, rest: [], of: tree) { return Result(path: found) }
        for (directory, inode) in above {
            let rest = Array(path.dropFirst(directory.count + 1))
            if let found = try find(inode, in: PathBytes.parent(directory), rest: rest, of: tree) {
                return Result(path: found)
            }
        }
        var directories: [[UInt8]] = [[]]
        var next = 0
        while next < directories.count {
            let directory = directories[next]
            next += 1
            guard let entries = try tree.entries(of: directory) else { continue }
            left -= entries.count
            guard left >= 0 else {
                left = 0
                return Result(isBounded: true)
            }
            for entry in entries {
                let place = PathBytes.join(directory, entry.name)
                if entry.inode == status.inode, try isIt(place, in: tree) { return Result(path: place) }
                var kind = entry.kind
                if kind == nil { kind = try tree.status(of: place)?.kind }
                if kind == .directory { directories.append(place) }
            }
        }
        return Result()
    }

    /// Looks for an inode among the names in a directory, and for the file itself below what has it.
    private func find(
        _ inode: UInt64, in directory: [UInt8], rest: [UInt8], of tree: any FileTree
    ) throws(TreeFault) -> [UInt8]? {
        for entry in try tree.entries(of: directory) ?? [] where entry.inode == inode {
            let place = PathBytes.join(PathBytes.join(directory, entry.name), rest)
            if try isIt(place, in: tree) { return place }
        }
        return nil
    }

    private func isIt(_ place: [UInt8], in tree: any FileTree) throws(TreeFault) -> Bool {
        guard place != path, let found = try tree.status(of: place) else { return false }
        return Identity.isSame(status, generation, found, tree.generation(of: place))
    }
}

/// Whether two states' inodes of one number are one file: ZFS gives a number to another file when the first one is gone.
enum Identity {
    static func isSame(
        _ left: FileStatus, _ leftGeneration: UInt32?, _ right: FileStatus, _ rightGeneration: UInt32?
    ) -> Bool {
        guard left.inode == right.inode, left.kind == right.kind else { return false }
        if let leftGeneration, let rightGeneration { return leftGeneration == rightGeneration }
        if let leftBorn = left.born, let rightBorn = right.born { return leftBorn == rightBorn }
        // Nobody to ask. A file that was written to meanwhile is taken for another one: better told of twice than not at all.
        return left.kind == .directory || (left.size == right.size && left.modified == right.modified)
    }
}
