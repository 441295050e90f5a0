import CLinux
import Datasets
import Glibc
import SystemPackage
import Tracing

/// Why a step was not done, or not to its end.
public struct WorkloadError: Error, Sendable, CustomStringConvertible {
    public let description: String
}

/// Does the steps, in the process made for it, in one directory of a demo's pool and nowhere else.
public struct Workload {
    /// What pools of demos are called at the beginning.
    static let poolPrefix = "kairos-demo-"

    private let directory: String

    /// Enters the directory: every name that a step uses is one component below it.
    ///
    /// - Throws: when it does not lie in a dataset of a demo's pool.
    public init(directory: String) throws(WorkloadError) {
        let shown = SafeText.line(directory)
        guard directory.hasPrefix("/") else { throw WorkloadError(description: "\(shown) is not an absolute path") }
        let raw = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard raw >= 0 else { throw Self.failure("open \(shown)") }
        defer { close(raw) }
        var status = stat()
        guard fstat(raw, &status) == 0, let device = DeviceNumber(stDevice: UInt64(status.st_dev)) else {
            throw Self.failure("look at \(shown)")
        }
        let mounts: MountTable
        do { mounts = try MountTable.read() } catch { throw WorkloadError(description: error.description) }
        guard let dataset = mounts.dataset(on: device) else {
            throw WorkloadError(description: "\(shown) does not lie on a ZFS: nothing was done")
        }
        guard dataset.name.hasPrefix(Self.poolPrefix) else {
            throw WorkloadError(
                description: "\(shown) belongs to \(SafeText.line(dataset.name)), which is no demo's: nothing was done")
        }
        guard fchdir(raw) == 0 else { throw Self.failure("enter \(shown)") }
        self.directory = directory
    }

    /// Does one step, and says what it left behind.
    public func run(_ step: WorkloadStep) throws(WorkloadError) -> [WorkloadNote] {
        switch step {
        case .prepareDocs:
            [
                try make("report.txt", "Quarterly report, draft 1.\n"), try make("todo.txt", "buy milk\n"),
                try make("ledger.db", "balance: 0100 EUR\n"),
            ] + (try makeLetters())
        case .preparePhotos: [try make("beach.jpg", "(a picture of a beach)\n")]
        case .edit: [try overwrite("report.txt", "Quarterly report, draft 2.\n")]
        case .save: [try save("todo.txt", "buy milk\nread the backup log\n")]
        case .create: [try make(WorkloadStep.deletedFile, "Invoice 42: 1,000 EUR, due on Friday.\n")]
        case .rename: try move("report.txt", to: "report-final.txt", content: "Quarterly report, draft 2.\n")
        case .store: [try store("ledger.db", "balance: 0250 EUR\n")]
        case .delete: [try delete(WorkloadStep.deletedFile)]
        case .deleteDirectory: try deleteLetters()
        case .photo: [try make("sunset.jpg", "(a picture of a sunset)\n")]
        case .read: try readAll()
        }
    }

    private func make(_ name: String, _ content: String) throws(WorkloadError) -> WorkloadNote {
        try write(name, content, options: [.create, .exclusiveCreate])
        return note(name, content)
    }

    private func overwrite(_ name: String, _ content: String) throws(WorkloadError) -> WorkloadNote {
        try write(name, content, options: [])
        return note(name, content)
    }

    private func save(_ name: String, _ content: String) throws(WorkloadError) -> WorkloadNote {
        try write(name + ".tmp", content, options: [.create, .exclusiveCreate], syncs: true)
        guard Glibc.rename(name + ".tmp", name) == 0 else { throw Self.failure("rename \(name).tmp") }
        return note(name, content)
    }

    private func move(_ name: String, to new: String, content: String) throws(WorkloadError) -> [WorkloadNote] {
        guard Glibc.rename(name, new) == 0 else { throw Self.failure("rename \(name)") }
        return [note(name, nil), note(new, content)]
    }

    private func delete(_ name: String) throws(WorkloadError) -> WorkloadNote {
        // By its whole path, as `rm` would be called: user space has to find out which dataset that is.
        guard unlink(directory + "/" + name) == 0 else { throw Self.failure("delete \(name)") }
        return note(name, nil)
    }

    private func makeLetters() throws(WorkloadError) -> [WorkloadNote] {
        let name = WorkloadStep.deletedDirectory
        guard mkdir(name, 0o755) == 0 else { throw Self.failure("make \(name)") }
        var notes: [WorkloadNote] = []
        for letter in WorkloadStep.letters { notes.append(try make(letter.name, letter.content)) }
        return notes
    }

    private func deleteLetters() throws(WorkloadError) -> [WorkloadNote] {
        var notes: [WorkloadNote] = []
        for letter in WorkloadStep.letters { notes.append(try delete(letter.name)) }
        guard rmdir(directory + "/" + WorkloadStep.deletedDirectory) == 0 else {
            throw Self.failure("delete \(WorkloadStep.deletedDirectory)")
        }
        return notes
    }

    private func store(_ name: String, _ content: String) throws(WorkloadError) -> WorkloadNote {
        let raw = open(name, O_RDWR | O_NOFOLLOW | O_CLOEXEC)
        guard raw >= 0 else { throw Self.failure("open \(name)") }
        defer { close(raw) }
        let bytes = Array(content.utf8)
        guard let memory = mmap(nil, bytes.count, PROT_READ | PROT_WRITE, MAP_SHARED, raw, 0), memory != MAP_FAILED
        else {
            throw Self.failure("map \(name)")
        }
        memory.copyMemory(from: bytes, byteCount: bytes.count)
        munmap(memory, bytes.count)
        return note(name, content)
    }

    private func readAll() throws(WorkloadError) -> [WorkloadNote] {
        do { _ = try FileTree.files(in: directory) } catch { throw WorkloadError(description: error.description) }
        return []
    }

    private func write(
        _ name: String, _ content: String, options: FileDescriptor.OpenOptions, syncs: Bool = false
    ) throws(WorkloadError) {
        do {
            let file = try FileDescriptor.open(
                FilePath(name), .writeOnly, options: options.union([.noFollow, .closeOnExec]),
                permissions: .ownerReadWrite)
            defer { try? file.close() }
            try file.writeAll(content.utf8)
            if syncs, fsync(file.rawValue) != 0 { throw Errno(rawValue: errno) }
        } catch {
            throw WorkloadError(description: "cannot write \(name): \(error)")
        }
    }

    private func note(_ name: String, _ content: String?) -> WorkloadNote {
        WorkloadNote(time: SystemClock.monotonic(), file: name, content: content)
    }

    private static func failure(_ operation: String) -> WorkloadError {
        WorkloadError(description: "cannot \(operation): \(Errno(rawValue: errno))")
    }
}
