import Datasets
import Glibc
import SystemPackage
import Trace
import Tracing

/// The file of `--record`. It never writes over another one.
struct TraceRecorder {
    enum Failure: Error, CustomStringConvertible {
        case exists(String)
        case cannotMake(String, Errno)

        var description: String {
            switch self {
            case .exists(let path): "--record: \(path) is there already: name another file, or remove it"
            case .cannotMake(let path, let errno): "--record: cannot make \(path): \(errno)"
            }
        }
    }

    private let path: String
    private let file: FileDescriptor
    private var writer = RecordingWriter()
    /// Why it ended early.
    private(set) var problem: String?

    init(_ path: String) throws(Failure) {
        self.path = path
        do {
            file = try FileDescriptor.open(
                FilePath(path), .writeOnly, options: [.create, .exclusiveCreate, .closeOnExec],
                permissions: .ownerReadWrite)
        } catch {
            let errno = error as? Errno ?? .ioError
            throw errno == .fileExists ? .exists(SafeText.line(path)) : .cannotMake(SafeText.line(path), errno)
        }
        write(RecordingWriter.header())
    }

    mutating func add(_ event: TraceEvent) {
        if let block = writer.add(event) { write(block) }
    }

    /// A block that is a second old is written, so that a trace that is killed loses no more than that.
    mutating func tick(lost: UInt64) {
        writer.note(lost: lost)
        if let block = writer.flush(olderThan: SystemClock.monotonic() &- 1_000_000_000) { write(block) }
    }

    mutating func finish(lost: UInt64) {
        writer.note(lost: lost)
        if let block = writer.flush() { write(block) }
        try? file.close()
    }

    /// Nothing was recorded.
    func discard() {
        try? file.close()
        unlink(path)
    }

    private mutating func write(_ bytes: [UInt8]) {
        guard problem == nil else { return }
        do { try file.writeAll(bytes) } catch {
            problem = "cannot write the recording \(SafeText.line(path)): \(error); the last events shown are not in it"
        }
    }
}
