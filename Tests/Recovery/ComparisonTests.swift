import Glibc
import SystemPackage
import Testing

@testable import Recovery

/// On files of this machine.
@Suite("A comparison of contents")
struct ComparisonTests {
    /// A directory of its own, read as a dataset's root is.
    private final class Place {
        let path: String
        let root: FileDescriptor
        var reader: TreeReader { TreeReader(root: root, isFuse: false) }

        init() throws {
            var template = Array("/var/tmp/kairos-comparison-XXXXXX\0".utf8CString)
            try #require(mkdtemp(&template) != nil)
            path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            root = try FileDescriptor.open(FilePath(path), .readOnly, options: [.directory, .closeOnExec])
        }

        deinit {
            for name in (try? reader.entries(of: []))?.map(\.name) ?? [] {
                let file = path + "/" + String(decoding: name, as: UTF8.self)
                if unlink(file) != 0 {
                    for number in 0..<100 { unlink("\(file)/\(number)") }
                    rmdir(file)
                }
            }
            try? root.close()
            rmdir(path)
        }

        func write(_ bytes: String, to name: String) throws {
            let file = try FileDescriptor.open(
                FilePath(path + "/" + name), .writeOnly, options: [.create, .closeOnExec], permissions: .ownerReadWrite)
            try file.closeAfter { _ = try file.writeAll(bytes.utf8) }
        }

        func isSame(_ one: String, _ two: String) throws -> Bool {
            try ContentComparison.changes(of: Array(one.utf8), in: reader, and: Array(two.utf8), in: reader).isEmpty
        }
    }

    /// Counts what is asked for.
    private final class Counting: FileTree {
        let tree: TreeReader
        private(set) var opened = 0
        private(set) var looks = 0

        init(_ tree: TreeReader) { self.tree = tree }

        func status(of path: [UInt8]) throws(TreeFault) -> FileStatus? {
            looks += 1
            return try tree.status(of: path)
        }
        func open(_ path: [UInt8]) throws(TreeFault) -> FileDescriptor? {
            opened += 1
            return try tree.open(path)
        }
        func entries(of path: [UInt8]) throws(TreeFault) -> [DirectoryEntry]? { try tree.entries(of: path) }
        func generation(of path: [UInt8]) -> UInt32? { tree.generation(of: path) }
        func target(of path: [UInt8]) throws(TreeFault) -> [UInt8]? { try tree.target(of: path) }
        func attributes(of path: [UInt8]) throws(TreeFault) -> [[UInt8]: [UInt8]] { try tree.attributes(of: path) }
        func openDirectory(_ path: [UInt8]) throws(TreeFault) -> FileDescriptor? { try tree.openDirectory(path) }
    }

    @Test("device nodes of other numbers differ")
    func devices() throws {
        let place = try Place()
        let nodes: [(String, mode_t, dev_t)] = [
            ("null", S_IFCHR, 0x103), ("again", S_IFCHR, 0x103), ("zero", S_IFCHR, 0x105),
            ("major", S_IFCHR, 0x503), ("block", S_IFBLK, 0x103), ("block-4", S_IFBLK, 0x104),
            ("fifo", S_IFIFO, 0), ("fifo-again", S_IFIFO, 0),
        ]
        for (name, kind, number) in nodes {
            try #require(mknod(place.path + "/" + name, kind | 0o600, number) == 0)
        }
        #expect(try place.isSame("null", "again"))
        #expect(try place.isSame("fifo", "fifo-again"))
        for (one, two) in [("null", "zero"), ("null", "major"), ("null", "block"), ("block", "block-4")] {
            #expect(try !place.isSame(one, two), "\(one) and \(two)")
        }
    }

    @Test("an earlier copy is found, and what others put under its names does not make it read on and on")
    func copies() throws {
        let place = try Place()
        try place.write("version", to: "version")
        for number in 0..<40 { try place.write(number == 2 || number == 30 ? "version" : "planted", to: "c\(number)") }
        let counting = Counting(place.reader)
        func copy(from first: Int) -> [UInt8]? {
            ContentComparison.copy(of: Array("version".utf8), in: place.reader, beside: counting) {
                Array("c\(first + $0)".utf8)
            }
        }
        #expect(copy(from: 0) == Array("c2".utf8))
        #expect(counting.opened == 3)
        #expect(copy(from: 3) == nil)
        #expect(counting.opened <= 3 + 10)
    }

    @Test("of a directory that is no copy nothing is read after the first difference")
    func directories() throws {
        let place = try Place()
        for name in ["version", "planted"] {
            mkdir(place.path + "/" + name, 0o700)
            for number in 0..<50 { try place.write(name, to: "\(name)/\(number)") }
        }
        let counting = Counting(place.reader)
        #expect(
            ContentComparison.copy(of: Array("version".utf8), in: place.reader, beside: counting) {
                Array(($0 == 0 ? "planted" : "none").utf8)
            } == nil)
        #expect(counting.opened == 1 && counting.looks < 10, "\(counting.opened) files, \(counting.looks) looks")
    }
}
