import CRestoreSupport
import Glibc
import SystemPackage
import Testing

@testable import Restore

/// A directory of its own for a test, on a file system on disk or in memory, gone at the end however deep it is.
struct Scratch: ~Copyable {
    static let disk = "/var/tmp"
    static let memory = "/dev/shm"

    let path: String

    init(on place: String = disk) throws {
        var template = Array("\(place)/kairos-restore-test-XXXXXX\0".utf8CString)
        guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
        path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        chmod(path, 0o755)
    }

    deinit {
        if let opened = try? open(path) { _ = Removal.empty(opened) }
        rmdir(path)
    }

    func callAsFunction(_ name: String) -> String { path + "/" + name }

    func directory(_ name: String) throws -> String {
        guard mkdir(self(name), 0o755) == 0 else { throw Errno(rawValue: errno) }
        return self(name)
    }
}

func open(_ path: String) throws -> Opened {
    let fd = try FileDescriptor.open(FilePath(path), .readOnly, options: [.closeOnExec, .noFollow])
    return Opened(owning: fd.rawValue, .destination)
}

func write(_ text: String, to path: String, mode: mode_t = 0o644) throws {
    let file = try FileDescriptor.open(
        FilePath(path), .writeOnly, options: [.create, .truncate, .closeOnExec],
        permissions: FilePermissions(rawValue: mode))
    try file.closeAfter { _ = try file.writeAll(text.utf8) }
}

func read(_ path: String) -> String? {
    guard let file = try? FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec) else { return nil }
    defer { try? file.close() }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    guard let count = try? bytes.withUnsafeMutableBytes({ try file.read(into: $0) }) else { return nil }
    return String(decoding: bytes[..<count], as: UTF8.self)
}

func names(in path: String) throws -> [String] {
    var names: [String] = []
    var list = try open(path).names()
    while let name = list.popLast() { names.append(String(decoding: name, as: UTF8.self)) }
    return names.sorted()
}

/// What a tree is, line by line, by the independent writer.
func record(_ path: String, plain: Bool = false) throws -> String {
    guard let text = plain ? tree_record_plain(path) : tree_record(path) else { throw Errno(rawValue: errno) }
    defer { free(text) }
    return String(cString: text)
}

/// The first lines that differ.
func difference(_ left: String, _ right: String) -> String {
    if left == right { return "" }
    let (left, right) = (left.split(separator: "\n"), right.split(separator: "\n"))
    let (only, other) = (left.filter { !right.contains($0) }, right.filter { !left.contains($0) })
    return
        "only left:\n\(only.prefix(5).joined(separator: "\n"))\nonly right:\n\(other.prefix(5).joined(separator: "\n"))"
}

struct Restoring {
    var root: String
    var path: String
    var directory: String
    var name: String
    var options = RestoreOptions(mode: .beside)

    @discardableResult
    func run(progress: @escaping (RestoreProgress) -> Void = { _ in }) throws -> RestoreReport {
        let root = try FileDescriptor.open(FilePath(root), .readOnly, options: .closeOnExec)
        let directory = try FileDescriptor.open(FilePath(directory), .readOnly, options: .closeOnExec)
        defer {
            try? root.close()
            try? directory.close()
        }
        return try Restorer.copy(
            RestoreSource(root: root, path: Array(path.utf8)),
            to: RestoreDestination(parent: directory, name: Array(name.utf8)), options, progress: progress)
    }

    func compare() throws -> TreeComparison {
        let root = try FileDescriptor.open(FilePath(root), .readOnly, options: .closeOnExec)
        let directory = try FileDescriptor.open(FilePath(directory), .readOnly, options: .closeOnExec)
        defer {
            try? root.close()
            try? directory.close()
        }
        return try Restorer.compare(
            RestoreSource(root: root, path: Array(path.utf8)),
            with: RestoreDestination(parent: directory, name: Array(name.utf8)))
    }
}

func inPlace(keepsOld: Bool = false) -> RestoreOptions {
    RestoreOptions(mode: .inPlace(keepsOld: keepsOld), names: { Array("kept-\($0)".utf8) })
}

/// The program that restores without end.
struct Child {
    private let pid: pid_t

    init(_ arguments: [String]) throws {
        var path = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &path, path.count)
        let runner = FilePath(String(decoding: path[..<max(count, 0)], as: UTF8.self))
        let places = ([runner] + CommandLine.arguments.map { FilePath($0) }).map {
            $0.removingLastComponent().appending("kairos-restore-child").string
        }
        let program = try #require(places.first { access($0, X_OK) == 0 })
        var words: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        var pid: pid_t = 0
        let number = posix_spawn(&pid, program, &actions, nil, &words, environ)
        guard number == 0 else { throw Errno(rawValue: number) }
        self.pid = pid
    }

    func kill() {
        Glibc.kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
    }

    /// Waits for its end.
    ///
    /// - Returns: whether SIGKILL was its end.
    func isKilled() -> Bool {
        var status: CInt = 0
        waitpid(pid, &status, 0)
        #expect(status == SIGKILL || status == 0)
        return status == SIGKILL
    }
}
