import Background
import CLinux
import CRecovery
import Datasets
import Glibc
import SystemPackage

/// Clones of snapshots to read them by, where ZFS has no other way: `POOL/kairos-view-PID-NUMBER`, read-only, mounted in a directory that only root
/// can enter.
///
/// A few are there at once. Those of a process that was killed are destroyed by the next one that makes some: name, `kairos:view` (process
/// and its start) and being a clone must agree, and the process must be gone.
struct ViewClones {
    /// Of a process: `PID:START`, in ticks since the machine's start.
    static let property = "kairos:view"
    /// For root alone, and never removed. `kairos run` resolves the path of each removed mount point a moment later: if the
    /// directory above it were gone too, the path could lead anywhere, and every watched dataset would have to be checked.
    private static let directory = "/run/kairos/views"
    private static let most = 4

    private struct Clone {
        var snapshot: String
        var name: String
        var mountPoint: String
        /// Something of it is kept open: it stays until all go.
        var isHeld = false
    }

    private let command: ZFSCommand
    private let dataset: String
    private let isFuse: Bool
    private var number = 0
    /// The one that was used last is the last.
    private var clones: [Clone] = []
    private var isTidy = false
    private let owner: String
    private let willClone: @Sendable () -> Void
    private let isStopped: @Sendable () -> Bool

    init(
        _ command: ZFSCommand, dataset: String, isFuse: Bool, willClone: @escaping @Sendable () -> Void,
        isStopped: @escaping @Sendable () -> Bool
    ) {
        self.willClone = willClone
        self.isStopped = isStopped
        self.command = command
        self.dataset = dataset
        self.isFuse = isFuse
        owner = "\(getpid()):\(ProcessStart.of(getpid()) ?? "0")"
    }

    /// The root of a snapshot's clone, open.
    ///
    /// - Parameter isHeld: it is not to make room for others.
    mutating func root(
        of snapshot: String, isHeld: Bool, _ problems: inout [String]
    ) throws(TreeFault) -> FileDescriptor {
        if let place = clones.firstIndex(where: { $0.snapshot == snapshot }) {
            var clone = clones.remove(at: place)
            clone.isHeld = clone.isHeld || isHeld
            clones.append(clone)
            return try Self.open(clones[clones.count - 1].mountPoint, nil)
        }
        if !isTidy {
            isTidy = true
            problems += removeLeftovers()
        }
        while clones.count(where: { !$0.isHeld }) >= Self.most, let first = clones.firstIndex(where: { !$0.isHeld }) {
            destroy(clones.remove(at: first), &problems)
        }
        return try make(snapshot, isHeld, &problems)
    }

    mutating func destroyAll(_ problems: inout [String]) {
        while let clone = clones.popLast() { destroy(clone, &problems) }
    }

    private mutating func make(
        _ snapshot: String, _ isHeld: Bool, _ problems: inout [String]
    ) throws(TreeFault) -> FileDescriptor {
        willClone()
        number += 1
        let own = "\(DatasetInfo.viewPrefix)\(getpid())-\(number)"
        var clone = Clone(
            snapshot: snapshot, name: DatasetName.pool(of: dataset) + "/" + own, mountPoint: "\(Self.directory)/\(own)")
        _ = mkdir("/run/kairos", 0o755)
        guard mkdir(Self.directory, 0o700) == 0 || errno == EEXIST, chmod(Self.directory, 0o700) == 0 else {
            throw .failed("make \(Self.directory), to mount a clone in", Errno(rawValue: errno))
        }
        let options = [
            "readonly=on", "canmount=noauto", "mountpoint=\(clone.mountPoint)", "\(Self.property)=\(owner)",
            // Nobody is to snapshot it.
            "\(KairosProperty.enabled)=off", "\(KairosProperty.autoSnapshot)=false",
        ]
        do throws(ZFSError) {
            try run(["clone"] + options.flatMap { ["-o", $0] } + ["\(dataset)@\(snapshot)", clone.name])
        } catch {
            if error.kind == .datasetMissing { throw .gone }
            throw .impossible("it can be read by a clone alone here, and that failed: \(error)")
        }
        clone.isHeld = isHeld
        clones.append(clone)
        // zfs-fuse mounts it by itself, and complains of a second time.
        if !isFuse { _ = try? run(["mount", clone.name]) }
        var parent = recovery_status()
        guard recovery_status(AT_FDCWD, Self.directory, &parent) == 0 else {
            throw .failed("look at \(Self.directory)", Errno(rawValue: errno))
        }
        return try Self.open(clone.mountPoint, parent)
    }

    /// - Parameter parent: what must not be on the same device, else nothing is mounted there.
    private static func open(_ path: String, _ parent: recovery_status?) throws(TreeFault) -> FileDescriptor {
        let raw = kairos_openat2(AT_FDCWD, path, kairos_open_path_directory, recovery_no_symlinks)
        guard raw >= 0 else { throw .failed("open the clone's mount point \(path)", Errno(rawValue: errno)) }
        var status = recovery_status()
        if let parent,
            recovery_status(raw, "", &status) != 0 || (status.major, status.minor) == (parent.major, parent.minor)
        {
            try? FileDescriptor(rawValue: raw).close()
            throw .impossible("its clone was not mounted on \(path): is this a container?")
        }
        return FileDescriptor(rawValue: raw)
    }

    private func destroy(_ clone: Clone, _ problems: inout [String]) {
        if let why = destroy(clone.name, clone.mountPoint) {
            problems.append(
                "the temporary clone \(SafeText.line(clone.name)) is still there (the next look removes it): \(why)")
        }
    }

    /// Nil when it is gone.
    private func destroy(_ name: String, _ mountPoint: String) -> String? {
        var last = ""
        // zfs-fuse calls a file system busy for a moment after a file in it was closed.
        for pause in [1, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 4000, 0] as [UInt32] {
            do throws(ZFSError) {
                try run(["destroy", name])
                last = ""
            } catch {
                last = error.kind == .datasetMissing ? "" : error.description
                // After a signal a clone that stays busy is left to the next look.
                if error.kind == .busy, !(isStopped() && pause > 100) {
                    usleep(pause * 1000)
                    continue
                }
            }
            break
        }
        guard last.isEmpty else { return last }
        rmdir(mountPoint)
        return nil
    }

    @discardableResult
    private func run(_ arguments: [String]) throws(ZFSError) -> [UInt8] {
        let command = command
        let result: Result<[UInt8], ZFSError> = blocking {
            do throws(ZFSError) { return .success(try await command.run(arguments)) } catch { return .failure(error) }
        }
        return try result.get()
    }

    // MARK: Leftovers

    /// Destroys the clones of processes that are gone. Returns what is worth telling.
    private func removeLeftovers() -> [String] {
        Self.removeMountPoints()
        let pool = DatasetName.pool(of: dataset)
        guard let bytes = try? run(["list", "-H", "-d", "1", "-t", "filesystem", "-o", "name", pool]) else { return [] }
        let names = ZFSOutput.table(bytes, columns: 1).rows.map { $0[0] }.filter { Self.process(of: $0, pool) != nil }
        guard !names.isEmpty else { return [] }
        let command = command
        let read: Result<[String: [String: PropertyValue]], ZFSError> = blocking {
            do throws(ZFSError) {
                return .success(try await DatasetCatalog(command).properties([Self.property, "origin"], of: names))
            } catch { return .failure(error) }
        }
        guard let values = try? read.get() else { return [] }
        var told: [String] = []
        for name in names where !isStopped() {
            guard let pid = Self.process(of: name, pool), let own = values[name],
                let mark = own[Self.property], mark.source == .local,
                let origin = own["origin"]?.value, origin.contains("@"),
                Self.isDead(mark.value, pid)
            else { continue }
            let why = destroy(name, "\(Self.directory)/" + name.dropFirst(pool.count + 1))
            told.append(
                "the temporary clone \(SafeText.line(name)), which a Kairos that was killed left, "
                    + (why.map { "cannot be removed: \($0)" } ?? "was removed"))
        }
        return told
    }

    /// Removes the mount points of processes that are gone, unless something is mounted on them still.
    private static func removeMountPoints() {
        guard let stream = opendir(directory) else { return }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if let pid = process(of: "/" + name, ""), kill(pid, 0) != 0, errno == ESRCH { names.append(name) }
        }
        for name in names { rmdir("\(directory)/\(name)") }
    }

    /// The process that a clone's name tells of.
    static func process(of name: String, _ pool: String) -> pid_t? {
        let start = pool + "/" + DatasetInfo.viewPrefix
        guard name.hasPrefix(start) else { return nil }
        let parts = name.dropFirst(start.count).split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let pid = pid_t(parts[0]), pid > 0, let number = Int(parts[1]), number > 0,
            "\(pid)-\(number)" == parts.joined(separator: "-")
        else { return nil }
        return pid
    }

    /// Whether the process that a mark tells of is gone: another one may have its number.
    static func isDead(_ mark: String, _ pid: pid_t) -> Bool {
        let parts = mark.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0] == String(pid), UInt64(parts[1]) != nil else { return false }
        guard let start = ProcessStart.of(pid) else { return kill(pid, 0) != 0 && errno == ESRCH }
        return start != String(parts[1])
    }
}

/// When a process began, as /proc tells it.
enum ProcessStart {
    /// Ticks since the machine's start; nil when there is no such process.
    static func of(_ pid: pid_t) -> String? {
        guard let file = try? FileDescriptor.open(FilePath("/proc/\(pid)/stat"), .readOnly, options: .closeOnExec)
        else {
            return nil
        }
        defer { try? file.close() }
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = (try? bytes.withUnsafeMutableBytes { try file.read(into: $0) }) ?? 0
        // The process's name, in parentheses, may hold any: the last one ends it. The start is the 22nd field, proc_pid_stat(5).
        let fields = String(decoding: bytes[..<count], as: UTF8.self).split(separator: ")").last?.split(separator: " ")
        guard let fields, fields.count > 19 else { return nil }
        return String(fields[19])
    }
}
