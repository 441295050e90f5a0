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
            let file = try FileDescriptor.open(
                FilePath(path), .readWrite, options: [.create, .noFollow, .closeOnExec],
                permissions: [.ownerReadWrite, .groupRead, .otherRead])
            guard kairos_lock(file.rawValue) == 0 else {
                let holder = Self.holder(file)
                try? file.close()
                throw InstanceLockError.taken(dataset: dataset, holder: holder)
            }
            try file.resize(to: 0)
            try file.writeAll(Array("\(getpid())\n".utf8))
            self.file = file
            self.path = path
        } catch let error as InstanceLockError {
            throw error
        } catch {
            throw .impossible(path: path, error as? Errno ?? .ioError)
        }
    }

    deinit {
        // The file stays: removing it would let a third process lock a new one while a second waits on this one.
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
