import Datasets
import Foundation
import Glibc
import TestSupport
import Testing

@testable import Recovery

/// A directory that passes for one of a dataset: the mount table says so.
private struct Dataset {
    let directory: [UInt8]
    let finder: PlaceFinder
    /// The directory's path from the mount point.
    let below: [UInt8]

    init() throws {
        var template = Array("/tmp/kairos-place-XXXXXX\0".utf8CString)
        try #require(mkdtemp(&template) != nil)
        directory = template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        let path = directory
        var entries = try MountTable.read().entries
        // The last one that covers it is what is seen.
        let place = try #require(
            entries.indices.filter { PlaceFinder.isWithin(path, entries[$0].mountPoint) }
                .max { entries[$0].mountPoint.count <= entries[$1].mountPoint.count })
        entries[place].fsType = "zfs"
        entries[place].source = Array("tank/test".utf8)
        entries[place].root = [PathBytes.slash]
        below = PlaceFinder.trimmed(
            Array(path.dropFirst(entries[place].mountPoint == [PathBytes.slash] ? 0 : entries[place].mountPoint.count)))
        finder = PlaceFinder(MountTable(entries: entries), directory: [])
    }

    func remove() { try? FileManager.default.removeItem(atPath: String(decoding: directory, as: UTF8.self)) }

    private static func characters(_ bytes: [UInt8]) -> [CChar] { (bytes + [0]).map { CChar(bitPattern: $0) } }

    private func whole(_ path: [UInt8]) -> [CChar] { Self.characters(PathBytes.join(directory, path)) }

    func make(_ tree: HistoryModel.Tree) {
        for (path, node) in tree.sorted(by: { $0.key.count < $1.key.count }) {
            let result =
                switch node.kind {
                case .directory: mkdir(whole(path), 0o755)
                case .file: mknod(whole(path), S_IFREG | 0o600, 0)
                case .symlink(let target): symlink(Self.characters(target), whole(path))
                }
            #expect(result == 0, "\(SafeText.line(path)): \(String(cString: strerror(errno)))")
        }
    }

    /// What a path may mean, from the directory.
    func places(_ path: [UInt8]) throws -> [[UInt8]] {
        try finder.places(of: PathBytes.join(directory, path)).map {
            $0.path == below ? [] : Array($0.path.dropFirst(below.count + 1))
        }
    }
}

@Suite("The place of a path")
struct PlaceTests {
    @Test(
        "is among others the path itself, whatever is a link by now",
        arguments: TestSeeds.of([2_825_104_952, 3_584_258] + Array(0..<200)))
    func formerNames(seed: UInt64) throws {
        let past = RandomPast(seed: seed)
        let dataset = try Dataset()
        defer { dataset.remove() }
        dataset.make(past.model.live)
        for path in past.paths {
            let places = try dataset.places(path)
            #expect(places.contains(path), "\(SafeText.line(path, limit: 600))")
            // What is there now under the name comes first.
            if past.model.live[path] != nil { #expect(places.first == path, "\(SafeText.line(path, limit: 600))") }
        }
    }

    @Test("is where a link on the way leads, and then the name for each link")
    func links() throws {
        let dataset = try Dataset()
        defer { dataset.remove() }
        func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
        var model = HistoryModel()
        model.apply(.mkdir(bytes("d")))
        model.apply(.symlink(bytes("d/one"), target: bytes("two")))
        model.apply(.symlink(bytes("d/two"), target: bytes("../e")))
        model.apply(.mkdir(bytes("e")))
        model.apply(.symlink(bytes("loop"), target: bytes("loop")))
        model.apply(.symlink(bytes("out"), target: bytes("/proc")))
        dataset.make(model.live)
        #expect(try dataset.places(bytes("d/one/x")) == ["e/x", "d/one/x", "d/two/x"].map(bytes))
        // The last component is meant itself.
        #expect(try dataset.places(bytes("d/one")) == ["d/one"].map(bytes))
        #expect(try dataset.places(bytes("d/one/../x")) == ["x"].map(bytes))
        // Links that lead nowhere are names.
        for name in ["loop/x", "out/x"] { #expect(try dataset.places(bytes(name)) == [name].map(bytes)) }
        #expect(throws: PlaceError.self) { try dataset.finder.find(bytes("/proc/self/stat")) }
    }
}
