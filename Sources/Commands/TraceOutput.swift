import CLinux
import SystemPackage
import Trace
import Tracing

/// Writes what a trace shows to stdout. A reader that is slow is waited for, since what piles up meanwhile is for the ring
/// to lose and count; but not when it is time to end.
struct TraceOutput {
    private let file = FileDescriptor.standardOutput
    /// Readable when the trace is to end.
    private let interrupt: FileDescriptor?
    /// CLOCK_MONOTONIC, nanoseconds.
    private let deadline: UInt64?
    /// Not so for a regular file, which takes everything at once.
    private let mayBlock: Bool
    /// Nobody reads any more, or it was time to end.
    private(set) var isClosed = false

    /// What a pipe that takes anything takes without waiting.
    private static let piece = 4096

    init(interrupt: FileDescriptor?, deadline: UInt64?) {
        self.interrupt = interrupt
        self.deadline = deadline
        mayBlock = !Self.isRegular(file)
    }

    private static func isRegular(_ file: FileDescriptor) -> Bool { kairos_is_regular_file(file.rawValue) }

    mutating func write(_ bytes: RawSpan) {
        var done = 0
        while !isClosed, done < bytes.byteCount {
            if mayBlock, !waits() {
                isClosed = true
                break
            }
            let end = mayBlock ? min(done + Self.piece, bytes.byteCount) : bytes.byteCount
            do { done += try bytes.extracting(done..<end).withUnsafeBytes { try file.write($0) } } catch {
                isClosed = true
            }
        }
    }

    /// False when it is time to end before anybody reads.
    private func waits() -> Bool {
        var timeout: Int32 = -1
        if let deadline {
            let left = Int64(bitPattern: deadline &- SystemClock.monotonic())
            timeout = Int32(clamping: max(left / 1_000_000 + 1, 0))
        }
        return kairos_wait_writable(file.rawValue, interrupt?.rawValue ?? -1, timeout) > 0
    }
}
