import Datasets
import Glibc
import SystemPackage

/// What two states of a path differ in, of all that a restore brings back: kinds, contents, owners, permissions, extended attributes (ACLs
/// among them). Inode numbers and times alone are no difference.
public struct ContentComparison {
    /// A path below the top of what is compared that differs.
    public struct Change: Sendable, Hashable {
        public enum What: String, Sendable, Hashable {
            /// In the older state alone, with all below it.
            case removed
            /// In the newer state alone, with all below it.
            case added
            case changed
        }

        /// From the top; empty: the top itself.
        public var path: [UInt8]
        public var what: What
        /// In the older state, if it is there.
        public var kind: FileKind
    }

    let old: any FileTree
    let new: any FileTree
    /// Seconds since 1970. A file that changed then or later is read, whatever its times say.
    let settled: Int64
    /// A file with several names was met: it may change under a name that lies elsewhere.
    private(set) var hasLinks = false

    public init(_ old: any FileTree, _ new: any FileTree, settled: Int64 = .max) {
        self.old = old
        self.new = new
        self.settled = settled
    }

    /// Reports what differs at a path and below it, in the order of names.
    ///
    /// - Parameters:
    ///   - other: what the path is called in the newer state.
    ///   - body: false ends the comparison.
    public mutating func compare(
        _ path: [UInt8], with other: [UInt8], _ body: (Change) throws(TreeFault) -> Bool
    ) throws(TreeFault) {
        guard let left = try old.status(of: path), let right = try new.status(of: other) else { return }
        if try differs(path, left, other, right), try !body(Change(path: [], what: .changed, kind: left.kind)) {
            return
        }
        guard left.kind == .directory, right.kind == .directory else { return }
        var waiting: [[UInt8]] = [[]]
        while let directory = waiting.popLast() {
            let (here, there) = (PathBytes.join(path, directory), PathBytes.join(other, directory))
            // Another file system may be mounted there by now.
            guard let before = try old.entries(of: here), let after = try new.entries(of: there) else { continue }
            let (names, others) = (Set(before.map(\.name)), Set(after.map(\.name)))
            var below: [[UInt8]] = []
            for name in names.union(others).sorted(by: { $0.lexicographicallyPrecedes($1) }) {
                let own = PathBytes.join(directory, name)
                let left = names.contains(name) ? try old.status(of: PathBytes.join(here, name)) : nil
                let right = others.contains(name) ? try new.status(of: PathBytes.join(there, name)) : nil
                if let left, let right {
                    let isChanged = try differs(PathBytes.join(path, own), left, PathBytes.join(other, own), right)
                    if isChanged, try !body(Change(path: own, what: .changed, kind: left.kind)) { return }
                    if left.kind == .directory, right.kind == .directory { below.append(own) }
                } else if let left, !others.contains(name) {
                    if try !body(Change(path: own, what: .removed, kind: left.kind)) { return }
                } else if let right, !names.contains(name) {
                    if try !body(Change(path: own, what: .added, kind: right.kind)) { return }
                }
            }
            waiting += below.reversed()
        }
    }

    /// All that differs.
    public static func changes(
        of path: [UInt8], in old: any FileTree, and other: [UInt8], in new: any FileTree, settled: Int64 = .max
    ) throws(TreeFault) -> [Change] {
        var changes: [Change] = []
        var comparison = ContentComparison(old, new, settled: settled)
        try comparison.compare(path, with: other) { change in
            changes.append(change)
            return true
        }
        return changes.sorted { $0.path.lexicographicallyPrecedes($1.path) }
    }

    /// The most names that `copy(of:in:beside:names:)` looks at.
    static let copyTries = 10

    /// The first of the names 0, 1, ... that is a copy of what is at a path.
    ///
    /// The directory's owner can put anything under these names, such as many files of the same size. So it looks at a few names only,
    /// and reads each up to the first difference.
    ///
    /// - Parameter names: looked for in the root of `new`, up to the first that does not exist.
    public static func copy(
        of path: [UInt8], in old: any FileTree, beside new: any FileTree, names: (Int) -> [UInt8]
    ) -> [UInt8]? {
        for number in 0..<copyTries {
            let name = names(number)
            guard (try? new.status(of: name)) != nil else { return nil }
            var comparison = ContentComparison(old, new)
            var isSame = true
            do throws(TreeFault) {
                try comparison.compare(path, with: name) { _ in
                    isSame = false
                    return false
                }
                if isSame { return name }
            } catch { continue }
        }
        return nil
    }

    /// Whether a restore would bring anything back: what is there now alone is no reason for one.
    mutating func wouldRestore(_ path: [UInt8], over other: [UInt8]) throws(TreeFault) -> Bool {
        var result = false
        try compare(path, with: other) { change in
            result = change.what != .added
            return !result
        }
        return result
    }

    /// Of a directory its own attributes alone.
    private mutating func differs(
        _ path: [UInt8], _ left: FileStatus, _ other: [UInt8], _ right: FileStatus
    ) throws(TreeFault) -> Bool {
        if left.kind != .directory, left.links > 1 || right.links > 1 { hasLinks = true }
        // A change of any of these changes the time of change, and no call can set that.
        if left.isSameVersion(as: right), left.changed.seconds < settled { return false }
        guard left.kind == right.kind, left.mode == right.mode, left.user == right.user, left.group == right.group
        else { return true }
        do throws(TreeFault) {
            switch left.kind {
            case .file:
                guard left.size == right.size, try hasSameBytes(path, other) else { return true }
            case .symlink: return try old.target(of: path) != new.target(of: other)
            case .blockDevice, .characterDevice: if left.node != right.node { return true }
            case .directory, .fifo, .socket: break
            }
            return try old.attributes(of: path) != new.attributes(of: other)
        } catch {
            if error == .stopped { throw error }
            // What cannot be read may differ.
            return true
        }
    }

    private func hasSameBytes(_ path: [UInt8], _ other: [UInt8]) throws(TreeFault) -> Bool {
        guard let left = try old.open(path) else { return false }
        defer { try? left.close() }
        guard let right = try new.open(other) else { return false }
        defer { try? right.close() }
        var one = [UInt8](repeating: 0, count: 256 << 10)
        var two = one
        var offset: off_t = 0
        while true {
            try old.checkStopped()
            let count = try Self.fill(&one, left, offset, path)
            guard try Self.fill(&two, right, offset, other) == count, memcmp(one, two, count) == 0 else { return false }
            if count < one.count { return true }
            offset += off_t(count)
        }
    }

    /// Reads up to the end of the buffer or of the file.
    private static func fill(
        _ buffer: inout [UInt8], _ file: FileDescriptor, _ offset: off_t, _ path: [UInt8]
    ) throws(TreeFault) -> Int {
        var done = 0
        while done < buffer.count {
            let count = buffer.withUnsafeMutableBytes { bytes in
                pread(file.rawValue, bytes.baseAddress?.advanced(by: done), bytes.count - done, offset + off_t(done))
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw TreeReader.fault("read", path) }
            if count == 0 { break }
            done += count
        }
        return done
    }
}
