import Datasets
import Glibc
import SystemPackage

/// A directory whose files could not be read.
struct FileTreeError: Error, Sendable, CustomStringConvertible {
    let description: String
}

/// Reads what lies in a directory of the demo: a few small files.
enum FileTree {
    /// What is read of a file, in bytes: the demo's files are far smaller.
    private static let limit = 64 << 10

    /// The content of each regular file by its path from there.
    static func files(in directory: String) throws(FileTreeError) -> [String: [UInt8]] {
        var files: [String: [UInt8]] = [:]
        try add(to: &files, directory, prefix: "")
        return files
    }

    private static func add(
        to files: inout [String: [UInt8]], _ directory: String, prefix: String
    ) throws(FileTreeError) {
        guard let stream = opendir(directory) else { throw failure("open", directory, Errno(rawValue: errno)) }
        defer { closedir(stream) }
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard name != ".", name != ".." else { continue }
            let path = directory + "/" + name
            var status = stat()
            guard lstat(path, &status) == 0 else { throw failure("look at", path, Errno(rawValue: errno)) }
            switch status.st_mode & S_IFMT {
            case S_IFDIR: try add(to: &files, path, prefix: prefix + name + "/")
            case S_IFREG: files[prefix + name] = try content(of: path)
            default: break
            }
        }
    }

    private static func content(of path: String) throws(FileTreeError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: limit)
        do {
            let file = try FileDescriptor.open(FilePath(path), .readOnly, options: [.noFollow, .closeOnExec])
            let count = try file.closeAfter { try bytes.withUnsafeMutableBytes { try file.read(into: $0) } }
            return Array(bytes[..<count])
        } catch {
            throw failure("read", path, error as? Errno ?? .ioError)
        }
    }

    private static func failure(_ operation: String, _ path: String, _ errno: Errno) -> FileTreeError {
        FileTreeError(description: "cannot \(operation) \(SafeText.line(path)): \(errno)")
    }
}
