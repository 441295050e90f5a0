import Datasets
import SystemPackage
import Testing

@testable import Recovery

/// Which directories of the live files are read where reading one changes the dataset.
@Suite("A listing like another one")
struct TreeListingTests {
    /// One directory below the root, of a file system whose directories have the size that ZFS gives them.
    private final class Tree: FileTree {
        var names: [String: UInt64]
        var size: UInt64
        /// Directories whose entries were read.
        private(set) var read: [[UInt8]] = []

        init(_ names: [String: UInt64]) {
            self.names = names
            size = UInt64(names.count) + 2
        }

        func status(of path: [UInt8]) -> FileStatus? {
            let time = FileTime(seconds: 100)
            if path.isEmpty { return FileStatus(kind: .directory, inode: 4, size: 3, modified: time, changed: time) }
            if path == Array("d".utf8) {
                return FileStatus(kind: .directory, inode: 5, size: size, modified: time, changed: time)
            }
            guard let inode = names[String(decoding: PathBytes.name(path), as: UTF8.self)] else { return nil }
            return FileStatus(kind: .file, inode: inode, modified: time, changed: time)
        }

        func entries(of directory: [UInt8]) -> [DirectoryEntry]? {
            read.append(directory)
            if directory.isEmpty { return [DirectoryEntry(name: Array("d".utf8), inode: 5, kind: nil)] }
            return names.map { DirectoryEntry(name: Array($0.key.utf8), inode: $0.value, kind: nil) }
        }

        func generation(of path: [UInt8]) -> UInt32? { nil }
        func target(of path: [UInt8]) -> [UInt8]? { nil }
        func open(_ path: [UInt8]) -> FileDescriptor? { nil }
        func openDirectory(_ path: [UInt8]) -> FileDescriptor? { nil }
    }

    /// The directories that are read of `live` after `old`, and the names then known.
    private func listing(
        _ live: Tree, after old: Tree, settled: Int64 = 0, sparing: Bool = true
    ) throws -> (read: [[UInt8]], names: Set<String>) {
        var before = TreeListing()
        try before.add([], of: old, like: nil, settled: .max)
        var listing = TreeListing()
        try listing.add([], of: live, like: before, settled: settled, sparing: sparing)
        let names = listing[Array("d".utf8)]?.entries.map { String(decoding: $0.name, as: UTF8.self) } ?? []
        return (live.read, Set(names))
    }

    @Test("what holds the same is not read, though its times are too coarse to tell")
    func same() throws {
        let names: [String: UInt64] = ["a": 7, "b": 8]
        let spared = try listing(Tree(names), after: Tree(names))
        #expect(spared.read.isEmpty)
        #expect(spared.names == ["a", "b"])
        let read = try listing(Tree(names), after: Tree(names), sparing: false)
        #expect(read.read.count == 2)
        #expect(try listing(Tree(names), after: Tree(names), settled: 101, sparing: false).read.isEmpty)
    }

    @Test(
        "what may differ is read",
        arguments: [["a": 7, "b": 9], ["a": 7, "c": 8], ["a": 7], ["a": 7, "b": 8, "c": 9]])
    func different(_ names: [String: UInt64]) throws {
        let result = try listing(Tree(names), after: Tree(["a": 7, "b": 8]))
        #expect(result.read == [Array("d".utf8)])
        #expect(result.names == Set(names.keys))
    }

    @Test("a directory whose size is no count of names is read")
    func otherSize() throws {
        let (live, old) = (Tree(["a": 7]), Tree(["a": 7]))
        (live.size, old.size) = (4096, 4096)
        #expect(try listing(live, after: old).read == [Array("d".utf8)])
    }
}
