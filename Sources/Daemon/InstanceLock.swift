import CLinux
import Datasets
import Glibc
import SystemPackage

/// The right to watch a dataset: one Kairos at a time, whatever the dataset is called by then. Held as long as it lives.
struct InstanceLock: ~Copyable {
    static let directory = "/run/kairos"
    private let file: FileDescriptor
    private let path: String

    /// - Throws: `InstanceLockError` when another Kairos holds it, or it cannot be made.
    init(dataset: String, guid: UInt64, directory: String = Self.directory) throws(InstanceLockError) {
        if mkdir(directory, 0o755) != 0, errno != EEXIST {
            throw .impossible(path: directory, Errno(rawValue: kairos_errno_value()))
        }
        let path = "\(directory)/\(guid).lock"
        do {
            file = try Self.take(path, dataset)
            self.path = path
        } catch let error as InstanceLockError {
            throw error
        } catch {
            throw .impossible(path: path, error as? Errno ?? .ioError)
        }
    }

    private static func take(_ path: String, _ dataset: String) throws -> FileDescriptor {
        while true {
            let file = try FileDescriptor.open(
                FilePath(path), .readWrite, options: [.create, .noFollow, .closeOnExec],
                permissions: [.ownerReadWrite, .groupRead, .otherRead])
            guard kairos_lock(file.rawValue) == 0 else {
                let holder = Self.holder(file)
                try? file.close()
                throw InstanceLockError.taken(dataset: dataset, holder: holder)
            }
            // The holder before removes the file with its lock on it: what was locked here may have no name any more.
            guard FileIdentity(path: path) == FileIdentity(descriptor: file.rawValue) else {
                try file.close()
                continue
            }
            try file.resize(to: 0)
            _ = try file.writeAll(Array("\(getpid())\n".utf8))
            return file
        }
    }

    deinit {
        // Before the lock goes with the descriptor, so that nobody removes the file of the next holder.
        unlink(path)
        try? file.close()
    }

    private static func holder(_ file: FileDescriptor) -> Int? {
        var bytes = [UInt8](repeating: 0, count: 32)
        let count = (try? bytes.withUnsafeMutableBytes { try file.read(fromAbsoluteOffset: 0, into: $0) }) ?? 0
        return Int(String(decoding: bytes[..<count].prefix { $0 != 0x0A }, as: UTF8.self))
    }
}

/// Why a dataset may not be watched by this process.
public enum InstanceLockError: Error, Hashable, Sendable, CustomStringConvertible {
    case taken(dataset: String, holder: Int?)
    case impossible(path: String, Errno)

    public var description: String {
        switch self {
        case .taken(let dataset, let holder):
            "\(dataset) is watched by another Kairos already"
                + (holder.map { " (process \($0)): stop that one first, kill -TERM \($0)" } ?? ": stop that one first")
        case .impossible(let path, let errno):
            "cannot make the lock \(path): \(errno); Kairos keeps its locks there and needs to write to it as root"
        }
    }
}
