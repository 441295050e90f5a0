import Background
import CLinux
import Glibc
import SystemPackage

/// A tracer that runs beside the workload, its output in files.
final class TracerProcess {
    private let pid: pid_t
    private let output: String
    private let errors: String
    private var status: Int32?

    init(_ command: [String], in directory: String, outputs: String) throws(TraceBench.Failure) {
        output = outputs + "/stdout"
        errors = outputs + "/stderr"
        unlink(output)
        unlink(errors)
        let (out, err) = (output, errors)
        do {
            pid = try ChildProcess.spawn(command[0], Array(command.dropFirst()), directory: directory) { actions in
                for (file, path) in [(STDOUT_FILENO, out), (STDERR_FILENO, err)] {
                    posix_spawn_file_actions_addopen(&actions, file, path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
                }
            }
        } catch { throw TraceBench.Failure(description: "cannot start \(command[0]): \(error)") }
    }

    deinit { end() }

    /// Waits until it shows what it is probed with. False when it ended before.
    func isReady(probing probe: () -> Void) throws(TraceBench.Failure) -> Bool {
        // Some print a line of headings before they see anything; a second probe that shows tells more.
        var seen = 0
        for _ in 0..<600 {
            if hasEnded { return false }
            try Interruption.shared.check()
            let before = size
            probe()
            Self.pause(milliseconds: 50)
            seen += size > before ? 1 : 0
            if seen == 2 { return true }
        }
        return false
    }

    /// Waits until it prints no more.
    func settle() throws(TraceBench.Failure) {
        var last = -1
        while last != size, !hasEnded {
            try Interruption.shared.check()
            last = size
            Self.pause(milliseconds: 300)
        }
    }

    /// In order, and if that takes too long by force. Safe to repeat.
    func end() {
        guard !hasEnded else { return }
        kill(pid, SIGINT)
        for _ in 0..<200 where !hasEnded { Self.pause(milliseconds: 50) }
        guard !hasEnded else { return }
        kill(pid, SIGKILL)
        var ended: Int32 = 0
        while waitpid(pid, &ended, 0) < 0, kairos_errno_value() == EINTR {}
        status = ended
    }

    /// How many lines of its output are wanted.
    func lines(where wanted: (Substring) -> Bool) -> Int {
        Self.text(output, limit: .max).split(separator: "\n").count(where: wanted)
    }

    /// The last thing that it said, for a report.
    var lastWords: String {
        let said = Self.text(errors, limit: 4096).split(separator: "\n").last { !$0.isEmpty }
        return said.map { String($0.prefix(200)) } ?? (hasEnded ? "it ended without a word" : "it showed nothing")
    }

    /// Of the closing line of `kairos trace`.
    func kairosCounts() -> (shown: Int, lost: Int)? {
        guard let line = Self.text(errors, limit: 1 << 16).split(separator: "\n").last(where: { $0.contains(" shown") })
        else {
            return nil
        }
        func number(before words: String) -> Int? {
            line.firstRange(of: words).flatMap { line[..<$0.lowerBound].split(separator: " ").last }.flatMap { Int($0) }
        }
        guard let shown = number(before: " event"), let full = number(before: " ring full"),
            let busy = number(before: " program busy")
        else { return nil }
        return (shown, full + busy)
    }

    var hasEnded: Bool {
        if status != nil { return true }
        var ended: Int32 = 0
        guard waitpid(pid, &ended, WNOHANG) == pid else { return false }
        status = ended
        return true
    }

    private var size: Int {
        var status = stat()
        return stat(output, &status) == 0 ? Int(status.st_size) : 0
    }

    private static func pause(milliseconds: UInt32) { usleep(milliseconds * 1000) }

    private static func text(_ path: String, limit: Int) -> String {
        guard let file = try? FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec) else { return "" }
        defer { try? file.close() }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 1 << 20)
        while bytes.count < limit,
            case let count = (try? piece.withUnsafeMutableBytes({ try file.read(into: $0) })) ?? 0,
            count > 0
        { bytes += piece[..<count] }
        return String(decoding: bytes, as: UTF8.self)
    }
}
