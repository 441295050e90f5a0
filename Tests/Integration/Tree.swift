import Glibc
import SystemPackage

/// What stands at a path of a tree.
enum Entry: Hashable, CustomStringConvertible {
    case directory
    case file([UInt8])
    case other(UInt32)

    static func file(_ text: String) -> Entry { .file(Array(text.utf8)) }

    var description: String {
        switch self {
        case .directory: "directory"
        case .file(let bytes):
            bytes.count > 60 ? "file of \(bytes.count) bytes" : "file '\(String(decoding: bytes, as: UTF8.self))'"
        case .other(let mode): "mode \(String(mode, radix: 8))"
        }
    }
}

/// The files below a directory, by path from there. Other file systems mounted in it are left out.
struct Tree: Hashable {
    var entries: [String: Entry] = [:]

    subscript(path: String) -> Entry? {
        get { entries[path] }
        set { entries[path] = newValue }
    }

    static func read(_ directory: String) throws -> Tree {
        var tree = Tree()
        let bytes = Array(directory.utf8)
        try tree.add(bytes, below: [], device: status(of: bytes).st_dev)
        return tree
    }

    private mutating func add(_ directory: [UInt8], below prefix: [UInt8], device: dev_t) throws {
        let slash = UInt8(ascii: "/")
        for name in try names(in: directory) {
            let path = directory + [slash] + name
            let status = try status(of: path)
            // A name that is not UTF-8 is none of those that tests look for.
            let key = String(decoding: prefix + name, as: UTF8.self)
            switch status.st_mode & S_IFMT {
            case S_IFDIR:
                entries[key] = .directory
                if status.st_dev == device { try add(path, below: prefix + name + [slash], device: device) }
            case S_IFREG: entries[key] = .file(try contents(of: String(decoding: path, as: UTF8.self)))
            default: entries[key] = .other(status.st_mode)
            }
        }
    }
}

func status(of path: String) throws -> stat { try status(of: Array(path.utf8)) }

func status(of path: [UInt8]) throws -> stat {
    var status = stat()
    let result = (path + [0]).withUnsafeBytes { bytes in
        bytes.bindMemory(to: CChar.self).baseAddress.map { lstat($0, &status) }
    }
    guard result == 0 else {
        throw CallError(call: "lstat \(String(decoding: path, as: UTF8.self))", errno: Errno(rawValue: errno))
    }
    return status
}

/// The names in a directory, without `.` and `..`.
private func names(in directory: [UInt8]) throws -> [[UInt8]] {
    let stream = (directory + [0]).withUnsafeBytes { bytes in
        bytes.bindMemory(to: CChar.self).baseAddress.flatMap { opendir($0) }
    }
    guard let stream else {
        throw CallError(call: "opendir \(String(decoding: directory, as: UTF8.self))", errno: Errno(rawValue: errno))
    }
    defer { closedir(stream) }
    var names: [[UInt8]] = []
    while let entry = readdir(stream) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
        if name != Array(".".utf8), name != Array("..".utf8) { names.append(name) }
    }
    return names
}

func contents(of path: String) throws -> [UInt8] {
    let file = try FileDescriptor.open(FilePath(path), .readOnly)
    return try file.closeAfter {
        var result: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while case let count = try buffer.withUnsafeMutableBytes({ try file.read(into: $0) }), count > 0 {
            result += buffer[..<count]
        }
        return result
    }
}

/// Makes or replaces a file.
func write(_ text: String, to path: String, mode: Int = 0o644) throws {
    let file = try OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC, mode: mode)
    let bytes = Array(text.utf8)
    guard !bytes.isEmpty else { return }
    let count = try call("write", .descriptor(file.raw), .bytes(bytes), .number(bytes.count))
    guard count == bytes.count else { throw CallError(call: "write \(path)", errno: .ioError) }
}

/// Makes a directory and those above it.
func makeDirectory(_ path: String) throws {
    var made = ""
    for part in path.split(separator: "/") {
        made += "/" + part
        do {
            try call("mkdirat", .here, .text(made), 0o755)
        } catch let error as CallError where error.errno == .fileExists {}
    }
}

func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }
