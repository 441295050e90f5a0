import Datasets
import Testing

@testable import Daemon

@Suite("Files with stores through mappings")
struct MappedFilesTests {
    private func files(_ paths: String...) throws -> MappedFiles {
        let device = try #require(DeviceNumber(major: 0, minor: 40))
        var files = MappedFiles()
        for (index, path) in paths.enumerated() {
            files.add(MappedFiles.File(device: device, inode: UInt64(index), path: Array(path.utf8)))
        }
        return files
    }

    private func paths(_ files: MappedFiles) -> [String] {
        files.files.sorted { $0.key < $1.key }.map { String(decoding: $0.value.path ?? [], as: UTF8.self) }
    }

    @Test("a rename takes the file along, or all that are in the directory, and no others")
    func rename() throws {
        var files = try files("/a/b", "/a/b/c", "/a/bc", "/d")
        files.rename(from: Array("/a/b".utf8), to: Array("/x".utf8))
        #expect(paths(files) == ["/x", "/x/c", "/a/bc", "/d"])
    }
}
