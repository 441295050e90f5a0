import Glibc
import SystemPackage

/// Why a mount table could not be read.
public struct MountTableError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was tried: `open`, `lseek` or `read`.
    public let operation: String
    /// The file, sanitised.
    public let path: String
    /// What the kernel said; nil when the file was larger than `MountTable.largestFile`.
    public let errno: Errno?

    /// The failure and its remedy in one line.
    public var description: String {
        if let errno {
            "cannot \(operation) \(path): \(errno); check that /proc is mounted and readable by this user"
        } else {
            "cannot \(operation) \(path): it is larger than \(MountTable.largestFile) bytes; too many mounts?"
        }
    }
}

extension MountTable {
    /// The largest mountinfo that is read, in bytes: about 300,000 mounts.
    public static let largestFile = 64 << 20

    /// Opens and reads a file in the format of mountinfo.
    public static func read(from path: String = "/proc/self/mountinfo") throws(MountTableError) -> MountTable {
        let file: FileDescriptor
        do {
            // FileDescriptor.open sets no O_CLOEXEC of itself, and every zfs command would inherit the file.
            file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
        } catch {
            throw failure("open", path, error)
        }
        defer { try? file.close() }
        return try read(from: file, path: path)
    }

    /// Reads an open mountinfo from its beginning to its end, and leaves it open.
    ///
    /// Reading to the end is also what re-arms `POLLPRI` on the descriptor. The kernel makes the text piece by piece:
    /// a mount that comes or goes meanwhile may be in it or not, and is reported by the next poll.
    public static func read(
        from file: FileDescriptor, path: String = "mountinfo"
    ) throws(MountTableError) -> MountTable {
        do {
            try file.seek(offset: 0, from: .start)
        } catch {
            throw failure("lseek", path, error)
        }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count: Int
            do {
                count = try buffer.withUnsafeMutableBytes { try file.read(into: $0, retryOnInterrupt: true) }
            } catch {
                throw failure("read", path, error)
            }
            guard count > 0 else { break }
            bytes += buffer[..<count]
            guard bytes.count <= largestFile else {
                throw MountTableError(operation: "read", path: SafeText.line(path), errno: nil)
            }
        }
        // In /sys/module also when it is built in.
        return MountTable(MountInfo(parsing: bytes), hasKernelZFS: access("/sys/module/zfs/version", F_OK) == 0)
    }

    private static func failure(_ operation: String, _ path: String, _ error: any Error) -> MountTableError {
        MountTableError(operation: operation, path: SafeText.line(path), errno: error as? Errno ?? .ioError)
    }
}
