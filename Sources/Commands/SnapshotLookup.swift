import Background
import CLinux
import Datasets
import Glibc
import Restore
import Retention
import Synchronization
import SystemPackage
import Tracing

/// Finds versions of files in the snapshots that there are, whoever made them.
struct SnapshotLookup: VersionLookup {
    let command: ZFSCommand
    let utc: Bool

    func version(of path: [UInt8], _ selector: VersionSelector) async throws -> FoundVersion {
        let place = try PathPlace(path)
        guard let flavour = ZFSFlavour(fsType: place.mount.fsType) else {
            throw LookupError(
                description:
                    "\(SafeText.line(path)) lies on no ZFS dataset but on \(SafeText.line(place.mount.fsType)), which has no snapshots; if a symbolic link leads to it, give the real path"
            )
        }
        let dataset = String(decoding: place.mount.source, as: UTF8.self)
        let snapshots = try await SnapshotCatalog(command).snapshots(of: dataset)
        guard !snapshots.isEmpty else {
            throw LookupError(
                description: "\(SafeText.line(dataset)), on which \(SafeText.line(path)) lies, has no snapshots")
        }
        let reader = SnapshotOpener(
            command: command, dataset: dataset, flavour: flavour, mounts: place.mounts, device: place.mount.device)
        try await reader.removeLeftovers()
        // Where a part of the dataset is mounted, the rest of the way is in the mount.
        let inside = Array(place.mount.root.drop { $0 == UInt8(ascii: "/") })
        let slash = UInt8(ascii: "/")
        let own = inside.isEmpty ? place.relative : place.relative.isEmpty ? inside : inside + [slash] + place.relative
        func found(_ snapshot: RetainedSnapshot, _ root: OpenSnapshot) -> FoundVersion {
            FoundVersion(
                source: RestoreSource(root: root.descriptor, path: own, owner: root), dataset: dataset,
                flavour: flavour, mountPoint: place.mount.mountPoint, device: place.mount.device.stDevice,
                path: place.relative, time: snapshot.time, snapshot: snapshot.name)
        }
        func missing(_ what: String) -> LookupError {
            LookupError(
                description:
                    "\(SafeText.line(path)) is not \(what); 'zfs list -t snapshot \(SafeText.line(dataset))' shows which there are"
            )
        }
        switch place.snapshot.map(VersionSelector.snapshot) ?? selector {
        case .snapshot(let name):
            let short = name.hasPrefix(dataset + "@") ? String(name.dropFirst(dataset.utf8.count + 1)) : name
            guard let snapshot = snapshots.first(where: { $0.name == short }) else {
                throw LookupError(
                    description:
                        "\(SafeText.line(dataset)) has no snapshot \(SafeText.line(short)); 'zfs list -t snapshot \(SafeText.line(dataset))' shows which there are"
                )
            }
            let root = try await reader.open(snapshot)
            guard try root.status(of: own) != nil else { throw missing("in the snapshot \(SafeText.line(short))") }
            return found(snapshot, root)
        case .at(let text):
            let time: Int64
            do throws(TimeText.Fault) { time = try LocalTime.seconds(text, utc: utc) } catch {
                throw LookupError(description: "--at: \(error)")
            }
            // Within the second that was named counts.
            guard let snapshot = snapshots.last(where: { $0.time / 1_000_000_000 <= time }) else {
                throw LookupError(
                    description:
                        "\(SafeText.line(dataset)) has no snapshot as old as \(LocalTime.date(time &* 1_000_000_000, utc: utc)); its first is of \(LocalTime.date(snapshots[0].time, utc: utc))"
                )
            }
            let root = try await reader.open(snapshot)
            guard try root.status(of: own) != nil else {
                throw missing("in the snapshot of that time, \(SafeText.line(snapshot.name)): it was not there then")
            }
            return found(snapshot, root)
        case .newest:
            let live = try place.status()
            for snapshot in snapshots.reversed() {
                let root: OpenSnapshot
                do { root = try await reader.open(snapshot) } catch let error as ZFSError
                    where error.kind == .datasetMissing
                {
                    // Destroyed since it was listed.
                    continue
                }
                guard let status = try root.status(of: own) else { continue }
                // What is in a directory may differ where it does not itself: the newest, then.
                if live == nil || live != status || status.isDirectory { return found(snapshot, root) }
            }
            guard live == nil else {
                throw LookupError(
                    description:
                        "\(SafeText.line(path)) is now as it is in each of the \(snapshots.count) snapshots of \(SafeText.line(dataset)) that has it: nothing to restore; --snapshot NAME takes one all the same"
                )
            }
            throw missing("in any of the \(snapshots.count) snapshots of \(SafeText.line(dataset))")
        }
    }
}

/// Where a path leads, as far as it exists.
struct PathPlace {
    var mounts: MountTable
    var mount: MountEntry
    /// From the mount point; raw.
    var relative: [UInt8]
    /// A snapshot that the path itself names.
    var snapshot: String?

    /// - Parameter path: absolute or from the working directory; its end need not be there.
    init(_ path: [UInt8]) throws {
        let slash = UInt8(ascii: "/")
        var absolute = path
        if path.first != slash {
            guard let pointer = getcwd(nil, 0) else {
                throw LookupError(
                    description:
                        "there is no working directory any more: give the absolute path of \(SafeText.line(path))")
            }
            absolute =
                UnsafeBufferPointer(start: pointer, count: strlen(pointer)).map { UInt8(bitPattern: $0) } + [slash]
                + path
            free(pointer)
        }
        let parts = absolute.split(separator: slash).map { Array($0) }.filter { $0 != [0x2E] }
        guard !parts.contains([0x2E, 0x2E]), !path.contains(0), !path.isEmpty else {
            throw LookupError(description: "'\(SafeText.line(path))' is no path to look for: give it without '..'")
        }
        // Links are not followed: who owns a directory on the way could lead root elsewhere by one.
        absolute = [slash] + parts.joined(separator: [slash])
        mounts = try MountTable.read()
        let above = mounts.entries.filter { entry in
            entry.mountPoint == [slash] || absolute == entry.mountPoint
                || absolute.starts(with: entry.mountPoint + [slash])
        }
        // The last of the longest is on top.
        guard let longest = above.map(\.mountPoint.count).max(),
            let mount = above.last(where: { $0.mountPoint.count == longest })
        else { throw LookupError(description: "\(SafeText.line(path)) lies in no file system") }
        self.mount = mount
        relative = Array(absolute.dropFirst(mount.mountPoint == [slash] ? 1 : mount.mountPoint.count + 1))
        // OpenZFS mounts a snapshot at its place below .zfs: the file there is meant, and that snapshot.
        let marker = Array("/.zfs/snapshot/".utf8)
        if let at = mount.mountPoint.lastRange(of: marker),
            let dataset = mounts.entries.last(where: { $0.mountPoint == Array(mount.mountPoint[..<at]) })
        {
            snapshot = String(decoding: mount.mountPoint[(at + marker.count)...], as: UTF8.self)
            self.mount = dataset
        }
    }

    /// What is there now.
    func status() throws -> FileVersion? {
        let root = Glibc.open(
            mount.mountPoint.map { CChar(bitPattern: $0) } + [0], kairos_open_only_path | O_DIRECTORY | O_CLOEXEC)
        guard root >= 0 else {
            throw LookupError(description: "cannot open \(SafeText.line(mount.mountPoint)): \(Errno(rawValue: errno))")
        }
        defer { close(root) }
        return try FileVersion(of: relative, below: root, hasLinks: { throw LookupError(description: $0) })
    }
}

extension [UInt8] {
    fileprivate func lastRange(of other: [UInt8]) -> Int? {
        guard count >= other.count else { return nil }
        return (0...count - other.count).last { Array(self[$0..<$0 + other.count]) == other }
    }
}

/// What tells one content of a file from another.
struct FileVersion: Hashable {
    /// Inode, mode, size, times of modification and change.
    private var numbers = [Int64](repeating: 0, count: 5)

    var isDirectory: Bool { UInt32(truncatingIfNeeded: numbers[1]) & S_IFMT == S_IFDIR }

    /// Nil: nothing is there. No symbolic link is followed, and nothing outside is looked at.
    ///
    /// - Parameter hasLinks: what to do where a link is on the way.
    init?(of path: [UInt8], below root: CInt, hasLinks: (String) throws -> Void = { _ in }) throws {
        let name = path.isEmpty ? Array(".".utf8) : path
        let file = kairos_openat2(
            root, name.map { CChar(bitPattern: $0) } + [0], UInt64(kairos_open_only_path | O_NOFOLLOW | O_CLOEXEC),
            kairos_resolve_beneath | kairos_resolve_no_symlinks)
        guard file >= 0 else {
            let error = kairos_errno_value()
            if error == ELOOP {
                try hasLinks(
                    "a symbolic link is on the way to \(SafeText.line(path)): give the real path ('realpath' shows it)")
            }
            // A directory on the way that is a file or a link in the snapshot: the path is not there.
            if [ENOENT, ENOTDIR, ELOOP].contains(error) { return nil }
            throw LookupError(description: "cannot look at \(SafeText.line(path)): \(Errno(rawValue: error))")
        }
        defer { close(file) }
        guard kairos_file_version(file, &numbers) == 0 else {
            throw LookupError(
                description: "cannot look at \(SafeText.line(path)): \(Errno(rawValue: kairos_errno_value()))")
        }
    }
}

/// A snapshot's root directory, open; and with zfs-fuse the clone that shows it, which goes with it.
final class OpenSnapshot: @unchecked Sendable {
    // Only the deinitialiser changes it.
    private var handle: DirectoryHandle?
    private let remove: (@Sendable () -> Void)?

    init(_ handle: DirectoryHandle, remove: (@Sendable () -> Void)? = nil) {
        self.handle = handle
        self.remove = remove
    }

    deinit {
        // An open directory keeps the clone busy.
        handle = nil
        remove?()
    }

    var descriptor: FileDescriptor { handle?.descriptor ?? FileDescriptor(rawValue: -1) }

    func status(of path: [UInt8]) throws -> FileVersion? { try FileVersion(of: path, below: descriptor.rawValue) }
}

/// Opens snapshots: below `.zfs`, or on zfs-fuse, which has none, by a read-only clone that nobody but root gets to see.
struct SnapshotOpener {
    let command: ZFSCommand
    let dataset: String
    let flavour: ZFSFlavour
    let mounts: MountTable
    let device: DeviceNumber

    private static let next = Atomic(0)
    private static let mark = "kairos:view"
    private static let directory = "/run/kairos"

    private var pool: String { DatasetName.pool(of: dataset) }

    func open(_ snapshot: RetainedSnapshot) async throws -> OpenSnapshot {
        flavour == .kernel ? try visible(snapshot) : try await cloned(snapshot)
    }

    private func visible(_ snapshot: RetainedSnapshot) throws -> OpenSnapshot {
        guard let whole = mounts.entries.last(where: { $0.device == device && $0.root == [UInt8(ascii: "/")] }) else {
            throw LookupError(
                description: "\(SafeText.line(dataset)) is mounted only in part: mount it to read its snapshots")
        }
        let path = whole.mountPoint + Array("/.zfs/snapshot/\(snapshot.name)".utf8)
        return OpenSnapshot(try DestinationDirectory.named(path))
    }

    private func cloned(_ snapshot: RetainedSnapshot) async throws -> OpenSnapshot {
        let number = Self.next.wrappingAdd(1, ordering: .relaxed).newValue
        let name = "kairos-view-\(getpid())-\(number)"
        let clone = "\(pool)/\(name)"
        let place = "\(Self.directory)/\(name)"
        mkdir(Self.directory, 0o700)
        guard let started = ProcessStart.of(getpid()) else {
            throw LookupError(description: "cannot read /proc/self/stat: is /proc mounted?")
        }
        let options = [
            "readonly=on", "mountpoint=\(place)", "kairos:enabled=off", "com.sun:auto-snapshot=false",
            "\(Self.mark)=\(getpid()):\(started)",
        ]
        try await command.run(["clone"] + options.flatMap { ["-o", $0] } + ["\(dataset)@\(snapshot.name)", clone])
        let command = command
        let remove: @Sendable () -> Void = {
            Self.destroy(clone, command)
            rmdir(place)
        }
        do { return OpenSnapshot(try DestinationDirectory.named(Array(place.utf8)), remove: remove) } catch {
            remove()
            throw error
        }
    }

    /// Clones of a Kairos that was killed: by name *and* their own property, of a process that is no more.
    func removeLeftovers() async throws {
        guard flavour == .fuse else { return }
        let prefix = "\(pool)/kairos-view-"
        let bytes = try await command.run(["list", "-H", "-o", "name", "-t", "filesystem", "-r", pool])
        for row in ZFSOutput.table(bytes, columns: 1).rows where row[0].hasPrefix(prefix) {
            let value = try await DatasetCatalog(command).properties([Self.mark], of: [row[0]])[row[0]]?[Self.mark]
            guard let value, value.source == .local else { continue }
            let parts = value.value.split(separator: ":")
            guard parts.count == 2, let pid = pid_t(parts[0]), let started = UInt64(parts[1]),
                row[0].dropFirst(prefix.count).hasPrefix("\(pid)-"), ProcessStart.of(pid) != started
            else { continue }
            Self.destroy(row[0], command)
            rmdir("\(Self.directory)/\(row[0].dropFirst(pool.utf8.count + 1))")
        }
    }

    /// It is called busy for a moment after it was read.
    private static func destroy(_ clone: String, _ command: ZFSCommand) {
        var last = ""
        for _ in 0..<100 {
            let failure: ZFSError? = blocking {
                do throws(ZFSError) {
                    try await command.run(["destroy", clone])
                    return nil
                } catch { return error }
            }
            guard let failure, failure.kind != .datasetMissing else { return }
            last = failure.description
            guard failure.kind == .busy else { break }
            usleep(50_000)
        }
        Output.message(
            "the clone \(SafeText.line(clone)) could not be removed: \(last); the next 'kairos restore' tries again")
    }
}

/// When a process began, in the kernel's ticks: together with its number it is nobody else's.
enum ProcessStart {
    static func of(_ pid: pid_t) -> UInt64? {
        guard let file = try? FileDescriptor.open(FilePath("/proc/\(pid)/stat"), .readOnly, options: .closeOnExec)
        else {
            return nil
        }
        var bytes = [UInt8](repeating: 0, count: 1024)
        let count = (try? file.closeAfter { try bytes.withUnsafeMutableBytes { try file.read(into: $0) } }) ?? 0
        let text = String(decoding: bytes[..<count], as: UTF8.self)
        // The name in parentheses may hold anything; from the state on it is words.
        guard let end = text.lastIndex(of: ")") else { return nil }
        let words = text[text.index(after: end)...].split(separator: " ")
        return words.count > 19 ? UInt64(words[19]) : nil
    }
}
