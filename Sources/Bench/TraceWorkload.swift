import CLinux
import Glibc
import SystemPackage

/// What the tracers are measured on: files that are made, written in small pieces, renamed and deleted, one after the other.
public struct TraceWorkload: Sendable {
    public var directory: String
    public var files: Int
    /// To each file, of 512 bytes.
    public static let writes = 8
    /// What is done with a file: open, the writes, close, rename, unlink.
    public static let operations = writes + 4

    public init(directory: String, files: Int) {
        self.directory = directory
        self.files = files
    }

    /// Does it, and returns how long it took.
    public func run() throws(Errno) -> Duration {
        guard chdir(directory) == 0 else { throw Errno(rawValue: kairos_errno_value()) }
        let block = [UInt8](repeating: 1, count: 512)
        let new = "renamed"
        let start = ContinuousClock.now
        for number in 0..<files {
            let name = "file\(number)"
            let file = open(name, O_CREAT | O_WRONLY | O_EXCL, 0o644)
            guard file >= 0 else { throw Errno(rawValue: kairos_errno_value()) }
            for _ in 0..<Self.writes where write(file, block, block.count) != block.count {
                throw Errno(rawValue: kairos_errno_value())
            }
            guard close(file) == 0, rename(name, new) == 0, unlink(new) == 0 else {
                throw Errno(rawValue: kairos_errno_value())
            }
        }
        return ContinuousClock.now - start
    }
}
