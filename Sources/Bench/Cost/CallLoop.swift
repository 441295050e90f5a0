import CLinux
import Glibc
import SystemPackage

/// A system call, again and again: in a process of its own, since Kairos does not look at its own.
public enum CallLoop: String, Sendable, CaseIterable {
    case pwrite
    case getppid

    /// - Parameter directory: where the file is made that is written, one byte at its beginning.
    /// - Returns: the median of the batches, picoseconds a call.
    public func run(in directory: String, calls: Int) throws(Errno) -> Int64 {
        let path = directory + "/written"
        let file = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw Errno(rawValue: kairos_errno_value()) }
        defer {
            close(file)
            unlink(path)
        }
        let batches = 21
        let each = max(calls / batches, 1)
        var times: [UInt64] = []
        for _ in 0..<batches {
            let start = kairos_monotonic_ns()
            switch self {
            case .pwrite:
                guard kairos_pwrite_again(file, UInt64(each)) == 0 else { throw Errno(rawValue: kairos_errno_value()) }
            case .getppid: kairos_getppid_again(UInt64(each))
            }
            times.append(kairos_monotonic_ns() - start)
        }
        return Int64(times.sorted()[batches / 2] * 1000 / UInt64(each))
    }
}
