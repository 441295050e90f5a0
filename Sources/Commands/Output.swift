import ArgumentParser
import Bench
import CLinux
import Datasets
import FoundationEssentials
import Glibc
import Synchronization
import SystemPackage
import Tracing

/// Data goes to stdout, messages to stderr.
enum Output {
    /// A reader that went away (`kairos trace | head`) ends the program in order, not by SIGPIPE.
    static func ignoreBrokenPipe() { signal(SIGPIPE, SIG_IGN) }

    private struct State {
        var isClosed = false
        var problem: Errno?
        var isTold = false
    }

    private static let state = Mutex(State())

    /// Why not everything was written to stdout; nil also where its reader went away, which is the reader's choice.
    static var problem: Errno? { state.withLock(\.problem) }

    /// Writes bytes to stdout. False when they cannot be written: then nothing is any more, and the program fails at its end (`Kairos.start`).
    @discardableResult
    static func write(_ bytes: some Sequence<UInt8>) -> Bool {
        if state.withLock(\.isClosed) { return false }
        do {
            try FileDescriptor.standardOutput.writeAll(bytes)
            return true
        } catch {
            note(error as? Errno ?? .ioError)
            return false
        }
    }

    /// Takes note of a failed write to stdout.
    static func note(_ error: Errno) {
        state.withLock { state in
            state.isClosed = true
            if error != .brokenPipe, state.problem == nil { state.problem = error }
        }
    }

    /// Says once why not everything was written to stdout, if that is so.
    ///
    /// - Parameter consequence: what that means.
    static func reportProblem(_ consequence: String) {
        let problem = state.withLock { state in
            defer { state.isTold = state.problem != nil }
            return state.isTold ? nil : state.problem
        }
        if let problem { message("cannot write to stdout: \(problem); \(consequence)") }
    }

    @discardableResult
    static func line(_ text: String) -> Bool { write((text + "\n").utf8) }

    /// One line for people, on stderr.
    static func message(_ text: String) {
        _ = try? FileDescriptor.standardError.writeAll(("kairos: " + text + "\n").utf8)
    }

    /// Text of the argument parser, on stderr as it is.
    static func plainMessage(_ text: String) {
        _ = try? FileDescriptor.standardError.writeAll((text + "\n").utf8)
    }

    /// Says why nothing was done, in one line, and gives the exit status to throw.
    static func failure(_ text: String, status: Int32 = 1) -> ExitCode {
        message(text)
        return ExitCode(status)
    }

    /// This program's file, to start it again.
    static func ownPath() throws(TraceBench.Failure) -> String {
        guard let pointer = realpath("/proc/self/exe", nil) else {
            throw TraceBench.Failure(description: "cannot find this program's file: \(Errno(rawValue: errno))")
        }
        defer { free(pointer) }
        return String(cString: pointer)
    }

    /// Before long work: that a file can be made where its result is to be.
    static func requireReplaceable(_ path: String) throws {
        let directory = FilePath(path).removingLastComponent()
        let parent = directory.isEmpty ? "." : directory.string
        var status = stat()
        guard stat(parent, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, access(parent, W_OK) == 0 else {
            throw failure("--html: no file can be made in \(SafeText.line(parent)): make it first", status: 64)
        }
        if stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
            throw failure("--html: \(SafeText.line(path)) is a directory: name a file", status: 64)
        }
    }

    /// Puts a whole file in a path's place, or leaves the old one there.
    static func replace(_ path: String, with text: String) throws {
        let new = path + ".new-\(getpid())"
        do {
            let file = try FileDescriptor.open(
                FilePath(new), .writeOnly, options: [.create, .exclusiveCreate, .noFollow, .closeOnExec],
                permissions: [.ownerReadWrite, .groupRead, .otherRead])
            try file.closeAfter { _ = try file.writeAll(text.utf8) }
            guard rename(new, path) == 0 else { throw Errno(rawValue: errno) }
        } catch {
            unlink(new)
            throw failure("cannot write \(SafeText.line(path)): \(error)")
        }
    }

    static func json(_ value: some Encodable) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        // A ratio to nothing is no number, and JSON has no word for it.
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        guard let data = try? encoder.encode(value) else { return "{}" }
        return String(decoding: data, as: UTF8.self)
    }
}

/// Local time of day with milliseconds, as people read it: `09:05:00.123`.
enum LocalTime {
    /// What somebody wrote as a time: seconds since 1970.
    static func seconds(_ text: String, utc: Bool) throws(TimeText.Fault) -> Int64 {
        try TimeText.seconds(
            text, now: SystemClock.wall().seconds,
            zone: { civil in
                var parts = tm()
                parts.tm_year = CInt(civil.year - 1900)
                parts.tm_mon = CInt(civil.month - 1)
                parts.tm_mday = CInt(civil.day)
                parts.tm_hour = CInt(civil.hour)
                parts.tm_min = CInt(civil.minute)
                parts.tm_sec = CInt(civil.second)
                // Whether summer time held then, the zone knows.
                parts.tm_isdst = -1
                return Int64(utc ? timegm(&parts) : mktime(&parts))
            },
            today: { time in
                var seconds = time_t(time)
                var parts = tm()
                if utc { gmtime_r(&seconds, &parts) } else { localtime_r(&seconds, &parts) }
                return TimeText.Civil(
                    year: Int(parts.tm_year) + 1900, month: Int(parts.tm_mon) + 1, day: Int(parts.tm_mday))
            })
    }

    /// `2026-11-22 09:05:00`.
    ///
    /// - Parameter time: nanoseconds since 1970.
    static func date(_ time: Int64, utc: Bool) -> String {
        var seconds = time_t(time / 1_000_000_000)
        var parts = tm()
        if utc { gmtime_r(&seconds, &parts) } else { localtime_r(&seconds, &parts) }
        func digits(_ value: Int32, _ width: Int = 2) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(0, width - text.count)) + text
        }
        return "\(digits(parts.tm_year + 1900, 4))-\(digits(parts.tm_mon + 1))-\(digits(parts.tm_mday)) "
            + "\(digits(parts.tm_hour)):\(digits(parts.tm_min)):\(digits(parts.tm_sec))"
    }

    static func text(_ time: (seconds: Int64, nanoseconds: Int64)) -> String {
        var seconds = time_t(time.seconds)
        var parts = tm()
        localtime_r(&seconds, &parts)
        func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let milliseconds = String(1000 + time.nanoseconds / 1_000_000).dropFirst()
        return "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)).\(milliseconds)"
    }
}

/// Numbers as people read them.
enum Human {
    static func milliseconds(_ duration: Duration) -> Int64 {
        let (seconds, attoseconds) = duration.components
        return seconds * 1000 + attoseconds / 1_000_000_000_000_000
    }

    /// `0.53 s`, `12.4 s`.
    static func seconds(_ duration: Duration) -> String {
        let hundredths = (milliseconds(duration) + 5) / 10
        let tenths = (hundredths + 5) / 10
        return hundredths < 1000
            ? "\(hundredths / 100).\(String(hundredths % 100 + 100).dropFirst()) s" : "\(tenths / 10).\(tenths % 10) s"
    }

    /// From thousandths of a second to hours, as one reads them: `0.4 ms`, `35 ms`, `2.10 s`, `5 m 12 s`, `3 h 05 m`.
    static func span(_ duration: Duration) -> String {
        let seconds = duration / .seconds(1)
        func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
        switch seconds {
        case ..<0.01: return "\(factor(seconds * 1000)) ms"
        case ..<1: return "\(Int((seconds * 1000).rounded())) ms"
        case ..<120: return Self.seconds(duration)
        case ..<7200: return "\(Int(seconds.rounded()) / 60) m \(two(Int(seconds.rounded()) % 60)) s"
        default: return "\(Int((seconds / 60).rounded()) / 60) h \(two(Int((seconds / 60).rounded()) % 60)) m"
        }
    }

    /// `512 B`, `1.4 MiB`.
    static func bytes(_ count: UInt64) -> String {
        guard count >= 1024 else { return "\(count) B" }
        // The largest would not bear to be multiplied.
        var (tenths, unit) = (count / 1024 * 10 + count % 1024 * 10 / 1024, 0)
        while tenths >= 10240, unit < 4 { (tenths, unit) = (tenths / 1024, unit + 1) }
        return "\(tenths / 10).\(tenths % 10) \(["KiB", "MiB", "GiB", "TiB", "PiB"][unit])"
    }

    /// `1.49`, `12.3`, `1840`.
    static func factor(_ value: Double) -> String {
        guard value.isFinite, value < 1e15 else { return "-" }
        if value >= 100 { return "\(Int(value.rounded()))" }
        let hundredths = Int((value * (value < 10 ? 100 : 10)).rounded())
        return value < 10
            ? "\(hundredths / 100).\(String(hundredths % 100 + 100).dropFirst())"
            : "\(hundredths / 10).\(hundredths % 10)"
    }

    /// As `factor`, of what may be less than nothing.
    static func signed(_ value: Double) -> String { value < 0 ? "-\(factor(-value))" : factor(value) }

    static func left(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    static func right(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }

    static func count(_ number: some BinaryInteger, _ one: String, _ many: String? = nil) -> String {
        "\(number) \(number == 1 ? one : many ?? one + "s")"
    }
}

/// What every command that loads probes needs.
enum Privileges {
    static func requireRoot(_ command: String) throws {
        guard geteuid() == 0 else {
            throw Output.failure(
                "\(command) loads eBPF programs, which takes root: run 'sudo \(command)'")
        }
    }
}
