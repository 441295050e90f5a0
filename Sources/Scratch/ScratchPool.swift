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

/// A throw-away pool in a file, for the demo, the benchmark and tests: with the kernel's OpenZFS when it is loaded,
/// else with zfs-fuse, whose daemon is started when none runs.
///
/// `destroy()` removes the pool, its files and, with the last pool on it, the daemon that was started; and nothing
/// else. When this process dies first, `removeLeftovers()` of the next one does.
public final class ScratchPool: Sendable {
    public let name: String
    /// A directory of its own, readable by root alone, that holds everything.
    public let directory: String
    public let command: ZFSCommand
    public let flavour: ZFSFlavour
    /// Whether no ZFS ran before this pool.
    public let startedDaemon: Bool
    private let note: OwnerNote

    /// Where the pool is mounted. A dataset `NAME/a` is mounted at `mountPoint/a`.
    public var mountPoint: String { directory + "/mnt" }
    /// The daemon that is to be stopped with the last pool, while it runs.
    public var daemonPID: Int? { ZFSFuseDaemon.pid.map(Int.init) }

    private static let parent = "/var/tmp"
    private static let directoryPrefix = "kairos-scratch-"

    /// Makes a pool in a sparse file.
    ///
    /// - Parameters:
    ///   - purpose: letters; the pool is called `kairos-PURPOSE-PID`.
    ///   - datasets: below the pool, parents first: `["a", "a/nested"]`.
    ///   - size: of the file, bytes; at least 64 MiB.
    public init(purpose: String, datasets: [String], size: Int = 256 << 20) async throws {
        _ = mkdir(Self.parent, 0o1777)
        let name = "kairos-\(purpose)-\(getpid())"
        let directory = "\(Self.parent)/\(Self.directoryPrefix)\(name)"
        guard mkdir(directory, 0o700) == 0 else {
            throw ScratchError(operation: "make \(directory)", reason: "\(Errno(rawValue: errno))")
        }
        self.name = name
        self.directory = directory
        do {
            note = try OwnerNote(directory: directory)
            (command, startedDaemon) = try await Turn.take { try await Self.make(name, in: directory, size: size) }
        } catch {
            Self.removeTree(directory)
            throw error
        }
        flavour = access("/sys/module/zfs/version", F_OK) == 0 ? .kernel : .fuse
        do {
            for dataset in datasets { try await command.run(["create", "\(name)/\(dataset)"]) }
        } catch {
            await destroy()
            throw error
        }
    }

    /// From the look for a ZFS to the pool on it is one turn: who has a pool keeps the daemon from being stopped.
    private static func make(
        _ name: String, in directory: String, size: Int
    ) async throws -> (ZFSCommand, startedDaemon: Bool) {
        let command = try ZFSCommand.find()
        let answers = await answers(command)
        if !answers { try await ZFSFuseDaemon.start(directory: directory, command: command) }
        do {
            let image = directory + "/pool.img"
            let file = try FileDescriptor.open(
                FilePath(image), .readWrite, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
            try file.closeAfter { try file.resize(to: Int64(size)) }
            // Not in the cache of pools to import at boot: one that a crash left there would be missed ever after.
            try await command.runPool(["create", "-o", "cachefile=none", "-m", directory + "/mnt", name, image])
        } catch {
            if !answers { await ZFSFuseDaemon.stopIfUnused(command) }
            throw error
        }
        return (command, !answers)
    }

    /// Removes everything that was made. Safe to repeat; what cannot be removed is returned as a line each.
    @discardableResult
    public func destroy() async -> [String] {
        if let line = await Self.destroyPool(name, command) { return [line] }
        // There are some when its ZFS died: then the pool is as good as destroyed, but nobody unmounted it.
        Self.detachMounts(below: directory)
        Self.removeTree(directory)
        let left = access(directory, F_OK) == 0 ? ["\(directory) is still there"] : []
        return await left + Self.stopDaemon(command)
    }

    /// Leaves all as it is, for good: `removeLeftovers()` will not touch it as long as the pool is there.
    public func keep() { note.keep() }

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

    private static func stopDaemon(_ command: ZFSCommand) async -> [String] {
        guard ZFSFuseDaemon.pid != nil else { return [] }
        do {
            try await Turn.take { await ZFSFuseDaemon.stopIfUnused(command) }
            return []
        } catch {
            return ["\(error)"]
        }
    }

    /// Whether a ZFS, in the kernel or as a daemon, answers the command.
    public static func answers(_ command: ZFSCommand) async -> Bool {
        (try? await command.runPool(["list", "-H", "-o", "name"], timeLimit: .seconds(10))) != nil
    }
}

// MARK: - Leftovers

extension ScratchPool {
    /// Removes pools, files and daemons of processes that died before they could. Returns the names of the pools.
    public static func removeLeftovers() async -> [String] {
        guard let command = try? ZFSCommand.find() else { return [] }
        var removed: [String] = []
        for entry in entries(of: parent) where entry.hasPrefix(directoryPrefix) {
            let directory = "\(parent)/\(entry)"
            let pool = String(entry.dropFirst(directoryPrefix.count))
            guard isOurs(directory), pool.hasPrefix("kairos-"),
                let pid = pool.split(separator: "-").last.flatMap({ pid_t($0) })
            else { continue }
            let state = OwnerNote.state(of: directory, pid: pid)
            if state == .alive { continue }
            guard let answers = await answersForCertain(command) else { continue }
            if answers {
                if state == .kept, (try? await command.runPool(["list", "-H", pool])) != nil { continue }
                // What cannot be destroyed keeps its files: the next one tries again.
                if await destroyPool(pool, command) != nil { continue }
            } else {
                detachMounts(below: directory)
            }
            removeTree(directory)
            if state == .dead { removed.append(pool) }
        }
        // Also after a process that died while it had a daemon and no pool.
        _ = await stopDaemon(command)
        return removed
    }

    /// As `answers(_:)`; nil when it is not certain, as with a daemon that hangs: its pools are in use then.
    private static func answersForCertain(_ command: ZFSCommand) async -> Bool? {
        do throws(ZFSError) {
            _ = try await command.runPool(["list", "-H", "-o", "name"], timeLimit: .seconds(10))
            return true
        } catch {
            return error.kind == .notRunning ? false : nil
        }
    }

    /// Whether root made it: /var/tmp is everybody's.
    private static func isOurs(_ directory: String) -> Bool {
        var status = stat()
        return lstat(directory, &status) == 0 && status.st_uid == 0 && status.st_mode & S_IFMT == S_IFDIR
            && status.st_mode & 0o077 == 0
    }

    /// Takes away what a zfs-fuse that was killed left mounted: nothing answers there any more.
    private static func detachMounts(below directory: String) {
        guard let table = try? MountTable.read(from: "/proc/self/mountinfo") else { return }
        let prefix = Array((directory + "/").utf8)
        for entry in table.entries.reversed() where entry.mountPoint.starts(with: prefix) {
            umount2(String(decoding: entry.mountPoint, as: UTF8.self), CInt(MNT_DETACH))
        }
    }

    private static func entries(of directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    /// Removes a directory of ours: it holds files and empty mount points. Never follows links, never leaves the disk.
    private static func removeTree(_ directory: String) {
        guard let device = device(directory) else { return }
        for name in entries(of: directory) {
            let path = directory + "/" + name
            if unlink(path) != 0, Self.device(path) == device { removeTree(path) }
        }
        rmdir(directory)
    }

    private static func device(_ path: String) -> dev_t? {
        var status = stat()
        return lstat(path, &status) == 0 ? status.st_dev : nil
    }
}
