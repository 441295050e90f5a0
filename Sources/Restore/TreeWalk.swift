import SystemPackage

/// What a tree holds.
public struct TreeCount: Hashable, Sendable {
    /// Files, directories and all other entries, the top included.
    public var entries = 0
    /// Of files' contents.
    public var bytes: UInt64 = 0

    public init() {}

    mutating func add(_ status: Status) {
        entries += 1
        if status.kind == .file { bytes.addSize(status.size) }
    }
}

extension UInt64 {
    /// Adds a file's size, up to the most that there is: users give files any size, and three sparse ones may be more than 64 bits hold.
    mutating func addSize(_ size: some BinaryInteger) {
        let (sum, over) = addingReportingOverflow(UInt64(clamping: size))
        self = over ? .max : sum
    }
}

/// What replacing a tree by that of a snapshot comes to.
public struct TreeComparison: Hashable, Sendable {
    /// In the snapshot alone.
    public var added = TreeCount()
    /// In both, changed or not. A directory that is one in both stays what it is called, and counts too.
    public var replaced = TreeCount()
    /// Of now alone: not there afterwards.
    public var removed = TreeCount()
    /// Where other file systems are mounted in the tree of now, raw: it cannot be replaced. At most 20.
    public var mounts: [[UInt8]] = []

    public init() {}
}

/// Walks trees of any depth with one open directory, and counts.
enum TreeWalk {
    static func count(_ parent: Opened, _ name: [UInt8], isStopped: () -> Bool) throws(CallFailure) -> TreeCount {
        var count = TreeCount()
        try walk(parent, name, beside: nil, isStopped: isStopped) { status, _ in
            count.add(status)
        } mounted: { _ in
        }
        return count
    }

    static func compare(
        _ source: (Opened, [UInt8]), _ live: (Opened, [UInt8]), isStopped: () -> Bool
    ) throws(CallFailure) -> TreeComparison {
        var result = TreeComparison()
        try walk(source.0, source.1, beside: live, isStopped: isStopped) { status, isBeside in
            if isBeside { result.replaced.add(status) } else { result.added.add(status) }
        } mounted: { _ in
        }
        guard try live.0.statusIfThere(live.1) != nil else { return result }
        try walk(live.0, live.1, beside: source, isStopped: isStopped) { status, isBeside in
            if !isBeside { result.removed.add(status) }
        } mounted: { path in
            if result.mounts.count < 20 { result.mounts.append(path) }
        }
        return result
    }

    /// Where other file systems are mounted in a tree.
    static func mounts(_ parent: Opened, _ name: [UInt8], isStopped: () -> Bool) throws(CallFailure) -> [[UInt8]] {
        var mounts: [[UInt8]] = []
        try walk(parent, name, beside: nil, isStopped: isStopped) { _, _ in
        } mounted: { path in
            mounts.append(path)
        }
        return mounts
    }

    /// Goes through a tree, and through another one beside it as far as that has the same directories.
    ///
    /// What vanishes while it is walked is passed over: the tree of now has its users in it.
    private static func walk(
        _ parent: Opened, _ name: [UInt8], beside: (Opened, [UInt8])?, isStopped: () -> Bool,
        _ visit: (Status, _ isBeside: Bool) -> Void, mounted: ([UInt8]) -> Void
    ) throws(CallFailure) {
        let top = name.isEmpty ? try parent.status() : try parent.status(of: name)
        let other = try beside.map { beside throws(CallFailure) in try beside.0.statusIfThere(beside.1) } ?? nil
        visit(top, other != nil)
        guard top.kind == .directory else { return }
        let cursor = Cursor(try parent.directory(name.isEmpty ? here : name, crossing: name.isEmpty))
        // The tree beside, and how many directories of this one it is behind.
        var shadow: Cursor?
        if let beside, other?.kind == .directory, let opened = try? beside.0.directory(beside.1) {
            shadow = Cursor(opened)
        }
        var missing = 0
        var path = WalkPath()
        var pending: [NameList] = []

        func list() throws(CallFailure) {
            var directories = NameList()
            try cursor.here.forEachName { name throws(CallFailure) in
                guard !isStopped(), let status = try cursor.here.statusIfThere(name), !isControl(name, status) else {
                    return
                }
                if status.kind == .directory {
                    directories.append(name)
                } else {
                    let isBeside = missing == 0 && (try? shadow?.here.status(of: name)) != nil
                    visit(status, isBeside)
                }
            }
            pending.append(directories)
        }

        try list()
        while !pending.isEmpty {
            if isStopped() { throw .called(off: parent) }
            guard let name = pending[pending.count - 1].popLast() else {
                pending.removeLast()
                guard !pending.isEmpty else { return }
                try cursor.up()
                path.pop()
                if missing > 0 { missing -= 1 } else { try shadow?.up() }
                continue
            }
            let status = try cursor.here.statusIfThere(name)
            do throws(CallFailure) { try cursor.down(name) } catch {
                if error.errno == .improperLink { mounted(path.with(name)) }
                continue
            }
            let besideStatus = missing == 0 ? try? shadow?.here.status(of: name) : nil
            if let status { visit(status, besideStatus != nil) }
            path.push(name)
            if missing > 0 || shadow == nil {
                missing += shadow == nil ? 0 : 1
            } else if besideStatus?.kind == .directory, (try? shadow?.down(name)) != nil {
            } else {
                missing = 1
            }
            try list()
        }
        if isStopped() { throw .called(off: parent) }
    }

    static let here: [UInt8] = [UInt8(ascii: ".")]

    /// `.zfs` where it can be seen (snapdir=visible): not the tree's, and not to be copied.
    static func isControl(_ name: [UInt8], _ status: Status) -> Bool {
        // ZFSCTL_INO_ROOT of OpenZFS's sys/zfs_ctldir.h.
        status.identity.inode == 0x0000_FFFF_FFFF_FFFF && name == Array(".zfs".utf8)
    }
}
