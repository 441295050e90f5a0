import CLinux
import Datasets
import Glibc
import SystemPackage

/// The file `owner` of a scratch directory. Its owner holds a lock on it as long as it lives: a process ID alone does
/// not tell whether it does, since another process may have it by now.
struct OwnerNote: ~Copyable {
    /// What is known of a scratch directory's owner.
    enum State: Hashable {
        case alive
        case dead
        /// Dead, and wanted it to stay.
        case kept
    }

    private static let keptMark = "kept"
    private let file: FileDescriptor

    /// Makes the note and takes the lock.
    init(directory: String) throws {
        file = try FileDescriptor.open(
            FilePath(Self.path(directory)), .readWrite, options: [.create, .exclusiveCreate, .noFollow, .closeOnExec],
            permissions: .ownerReadWrite)
        _ = kairos_lock(file.rawValue)
    }

    deinit { try? file.close() }

    /// From now on the directory outlives its owner.
    func keep() { _ = try? file.writeAll(Self.keptMark.utf8) }

    private static func path(_ directory: String) -> String { directory + "/owner" }

    /// - Parameter pid: the owner's, for the moment in which there is no note yet.
    static func state(of directory: String, pid: pid_t) -> State {
        guard
            let file = try? FileDescriptor.open(
                FilePath(path(directory)), .readOnly, options: [.noFollow, .closeOnExec])
        else { return kill(pid, 0) != 0 && errno == ESRCH ? .dead : .alive }
        defer { try? file.close() }
        guard kairos_lock(file.rawValue) == 0 else { return .alive }
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = (try? bytes.withUnsafeMutableBytes { try file.read(into: $0) }) ?? 0
        return String(decoding: bytes[..<count], as: UTF8.self) == keptMark ? .kept : .dead
    }
}

/// What processes with scratch pools do one after the other: starting and stopping the daemon that they share.
enum Turn {
    static let directory = "/run/kairos"

    /// Waits until no other process is at it; others' turns take a second or two.
    static func take<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
        _ = mkdir(directory, 0o755)
        let path = directory + "/scratch.lock"
        let file = try FileDescriptor.open(
            FilePath(path), .readWrite, options: [.create, .noFollow, .closeOnExec], permissions: .ownerReadWrite)
        defer { try? file.close() }
        for _ in 0..<1200 {
            if kairos_lock(file.rawValue) == 0 { return try await body() }
            try? await Task.sleep(for: .milliseconds(50))
        }
        throw ScratchError(
            operation: "make or remove a scratch pool", reason: "another process has held \(path) for a minute")
    }
}
