import CLinux
import Glibc
import SystemPackage
import Trace
import Tracing

/// Writes what a trace shows to stdout. A reader that is slow is waited for, since what piles up meanwhile is for the ring
/// to lose and count; but not when it is time to end.
struct TraceOutput {
    private let file: FileDescriptor
    /// Readable when the trace is to end.
    private let interrupt: FileDescriptor?
    /// CLOCK_MONOTONIC, nanoseconds.
    private var deadline: UInt64?
    /// Not so for a regular file, which takes everything at once.
    private let mayBlock: Bool
    /// Nobody reads any more, or it was time to end.
    private(set) var isClosed = false
    /// Why nothing can be written, other than that nobody reads.
    private(set) var problem: String?

    /// What a pipe that takes anything takes without waiting.
    private static let piece = 4096

    init(interrupt: FileDescriptor?, deadline: UInt64?) {
        self.interrupt = interrupt
        self.deadline = deadline
        mayBlock = !kairos_is_regular_file(STDOUT_FILENO)
        // A terminal that is paused takes nothing, whatever poll(2) said. Opened anew, not to wait is this one's alone:
        // whoever else has the terminal or the pipe open does not notice.
        let own = mayBlock ? kairos_reopen_writing(STDOUT_FILENO) : -1
        file = own >= 0 ? FileDescriptor(rawValue: own) : .standardOutput
    }

    /// It is time to end: who has not read by then does not.
    mutating func hurry() {
        let soon = SystemClock.monotonic() &+ 1_000_000_000
        deadline = min(deadline ?? soon, soon)
    }

    mutating func write(_ bytes: RawSpan) {
        var done = 0
        while !isClosed, done < bytes.byteCount {
            if mayBlock, !waits() {
                isClosed = true
                break
            }
            let end = mayBlock ? min(done + Self.piece, bytes.byteCount) : bytes.byteCount
            do {
                done += try bytes.extracting(done..<end).withUnsafeBytes { try file.write($0) }
            } catch Errno.wouldBlock {
                // Room for less than it asked for: poll again, but not at once.
                usleep(2000)
            } catch Errno.brokenPipe {
                isClosed = true
            } catch {
                isClosed = true
                problem = "cannot write to stdout: \(error); what is shown ends there"
            }
        }
    }

    /// False when it is time to end before anybody reads.
    private func waits() -> Bool {
        var timeout: Int32 = -1
        if let deadline {
            let left = Int64(bitPattern: deadline &- SystemClock.monotonic())
            timeout = Int32(clamping: max(left / 1_000_000 + 1, 0))
            if left <= 0 { return false }
        }
        return kairos_wait_writable(file.rawValue, interrupt?.rawValue ?? -1, timeout) > 0
    }
}
