import CLinux
import Datasets
import Glibc
import Synchronization
import SystemPackage

/// Why there is no scratch pool. What had been made is removed again.
public struct ScratchError: Error, Sendable, CustomStringConvertible {
    public var operation: String
    public var reason: String
    public var description: String { "cannot \(operation): \(reason)" }
}

/// A throw-away pool in a file, for the demo, the benchmark and tests: with the kernel's OpenZFS when it is loaded, else
/// with zfs-fuse, whose daemon is started when none runs.
///
/// `destroy()` removes the pool, its files and the daemon that was started, and nothing else. When this process dies
/// first, `removeLeftovers()` of the next one does.
public final class ScratchPool: Sendable {
    public let name: String
    /// A directory of its own, readable by root alone, that holds everything.
    public let directory: String
    public let command: ZFSCommand
    public let flavour: ZFSFlavour
    /// The zfs-fuse that this process started.
    private let daemon: ZFSFuseDaemon?

    /// Where the pool is mounted. A dataset `NAME/a` is mounted at `mountPoint/a`.
    public var mountPoint: String { directory + "/mnt" }

    private static let parent = "/var/tmp"
    private static let directoryPrefix = "kairos-scratch-"

    /// Makes a pool in a sparse file.
    ///
    /// - Parameters:
    ///   - purpose: letters; the pool is called `kairos-PURPOSE-PID`.
    ///   - datasets: below the pool, parents first: `["a", "a/nested"]`.
    ///   - size: of the file, bytes; at least 64 MiB.
    public init(purpose: String, datasets: [String], size: Int = 256 << 20) async throws {
        Self.requireDirectory()
        name = "kairos-\(purpose)-\(getpid())"
        directory = "\(Self.parent)/\(Self.directoryPrefix)\(name)"
        guard mkdir(directory, 0o700) == 0 else {
            throw ScratchError(operation: "make \(directory)", reason: "\(Errno(rawValue: errno))")
        }
        let command: ZFSCommand
        var started: ZFSFuseDaemon?
        do {
            command = try ZFSCommand.find()
            if !(await Self.answers(command)) {
                started = try await ZFSFuseDaemon.start(directory: directory, command: command)
            }
        } catch {
            Self.removeTree(directory)
            throw error
        }
        self.command = command
        daemon = started
        flavour = access("/sys/module/zfs/version", F_OK) == 0 ? .kernel : .fuse
        do {
            try await fill(datasets, size: size)
        } catch {
            await destroy()
            throw error
        }
    }

    private func fill(_ datasets: [String], size: Int) async throws {
        let image = directory + "/pool.img"
        let file = try FileDescriptor.open(
            FilePath(image), .readWrite, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
        try file.closeAfter { try file.resize(to: Int64(size)) }
        // The owner's PID tells a later process whether it is left over.
        let note = try FileDescriptor.open(
            FilePath(directory + "/owner"), .writeOnly, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
        try note.closeAfter { _ = try note.writeAll("\(name) \(getpid()) \(daemon?.pid ?? 0)\n".utf8) }
        try await command.runPool(["create", "-m", mountPoint, name, image])
        for dataset in datasets { try await command.run(["create", "\(name)/\(dataset)"]) }
    }

    /// Removes everything that was made. Safe to repeat; what cannot be removed is returned as a line each.
    @discardableResult
    public func destroy() async -> [String] {
        var left: [String] = []
        if let line = await Self.destroyPool(name, command) { left.append(line) }
        await daemon?.stop()
        if left.isEmpty { Self.removeTree(directory) }
        return left
    }

    /// Destroys the pool, however busy it still is. Nil when it is gone.
    private static func destroyPool(_ name: String, _ command: ZFSCommand) async -> String? {
        var last = ""
        // zfs-fuse calls a file system busy for seconds after it was written; there is nothing to wait for but that.
        for attempt in 0..<120 {
            do throws(ZFSError) {
                _ = try await command.runPool(attempt < 3 ? ["destroy", name] : ["destroy", "-f", name])
                return nil
            } catch {
                if error.stderr.contains(where: { $0.contains("no such pool") }) { return nil }
                if error.kind == .notRunning { return nil }
                last = error.description
            }
            try? await Task.sleep(for: .milliseconds(250))
        }
        return last
    }

    /// Whether a ZFS, in the kernel or as a daemon, answers the command.
    public static func answers(_ command: ZFSCommand) async -> Bool {
        (try? await command.runPool(["list", "-H", "-o", "name"], timeLimit: .seconds(10))) != nil
    }

    // MARK: Leftovers

    /// Removes pools, files and daemons of processes that died before they could. Returns the names of the pools.
    public static func removeLeftovers() async -> [String] {
        guard let command = try? ZFSCommand.find() else { return [] }
        var removed: [String] = []
        for entry in entries(of: parent) where entry.hasPrefix(directoryPrefix) {
            let directory = "\(parent)/\(entry)"
            guard let owner = owner(of: directory), kill(owner.pid, 0) != 0, errno == ESRCH else { continue }
            if await answers(command) { _ = await destroyPool(owner.pool, command) }
            if owner.daemon > 0 { ZFSFuseDaemon.end(owner.daemon) }
            removeTree(directory)
            removed.append(owner.pool)
        }
        return removed
    }

    /// What the file `owner` says, if root wrote it: /var/tmp is everybody's.
    private static func owner(of directory: String) -> (pool: String, pid: pid_t, daemon: pid_t)? {
        var status = stat()
        guard lstat(directory, &status) == 0, status.st_uid == 0, status.st_mode & S_IFMT == S_IFDIR,
            status.st_mode & 0o077 == 0,
            let file = try? FileDescriptor.open(FilePath(directory + "/owner"), .readOnly, options: .noFollow)
        else { return nil }
        var bytes = [UInt8](repeating: 0, count: 512)
        let count = (try? file.closeAfter { try bytes.withUnsafeMutableBytes { try file.read(into: $0) } }) ?? 0
        let words = String(decoding: bytes[..<count], as: UTF8.self).split(whereSeparator: \.isWhitespace)
        guard words.count == 3, words[0].hasPrefix("kairos-"), let pid = pid_t(words[1]), let daemon = pid_t(words[2])
        else { return nil }
        return (String(words[0]), pid, daemon)
    }

    private static func requireDirectory() { _ = mkdir(parent, 0o1777) }

    static func entries(of directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    /// Removes a directory of ours: it holds files and empty mount points. Never follows links, never leaves the disk.
    private static func removeTree(_ directory: String) {
        for name in entries(of: directory) {
            let path = directory + "/" + name
            if unlink(path) != 0 { removeTree(path) }
        }
        rmdir(directory)
    }
}
