import CLinux
import CRecovery
import Datasets
import Glibc
import SystemPackage

/// Where a path lies: in which dataset, and where in it.
public struct DatasetPlace: Sendable, Hashable {
    public var dataset: String
    public var flavour: ZFSFlavour
    /// Where the dataset's root is mounted.
    public var mountPoint: [UInt8]
    public var device: DeviceNumber
    /// From the dataset's root.
    public var path: [UInt8]
    /// The path that was given, absolute and without links in what exists of it.
    public var absolute: [UInt8]
    /// Something is there now.
    public var exists: Bool
    /// That of a path below `.zfs/snapshot`, after `@`.
    public var snapshot: String?
    /// Those of the dataset's snapshots, after `@`, that ZFS had mounted below `.zfs/snapshot` when the mounts were read.
    public var mountedSnapshots: Set<String> = []
    /// A symbolic link on the way that was taken for the name of a directory that is gone. Absolute.
    public var link: [UInt8]?
}

/// Why a path's dataset cannot be told. Printable, with what to do.
public struct PlaceError: Error, Sendable, Hashable, CustomStringConvertible {
    public var description: String

    public init(description: String) { self.description = description }

    /// - Parameter link: the absolute path of a link that is not followed.
    public init(link: [UInt8]) {
        description =
            "\(SafeText.line(link, limit: 300)) is a symbolic link on the way: give the real path ('realpath' shows it)"
    }
}

/// Finds the dataset of a path that may not exist any more.
///
/// Walks the existing part of the path by component and follows symbolic links, except in the last component. The mount of
/// the last directory names the dataset. A link may now have the name of an earlier directory, so each link on the way adds
/// a further place.
public struct PlaceFinder: Sendable {
    /// What becomes of a symbolic link on the way.
    public enum Links: Sendable {
        case followed
        /// It is the name of a directory that is gone: the owner of a directory on the way could lead elsewhere by a link.
        case refused
    }

    private let table: MountTable
    private let directory: [UInt8]
    private let links: Links

    /// - Parameters:
    ///   - table: of this process.
    ///   - directory: what relative paths are relative to.
    public init(_ table: MountTable, directory: [UInt8], links: Links = .followed) {
        self.table = table
        self.directory = directory
        self.links = links
    }

    /// The working directory, also one that was deleted.
    public static func workingDirectory() throws(PlaceError) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX) + 64)
        let count = readlink("/proc/self/cwd", &buffer, buffer.count)
        guard count > 0 else {
            throw PlaceError(
                description: "the working directory is unknown: \(Errno(rawValue: errno)); give an absolute path")
        }
        let path = Array(buffer[..<count])
        let deleted = Array(" (deleted)".utf8)
        var status = recovery_status()
        // A directory may also be called that.
        let exists = TreeReader.withPath(path[...]) { recovery_status(AT_FDCWD, $0, &status) } == 0
        return !exists && path.reversed().starts(with: deleted.reversed()) ? path.dropLast(deleted.count) : path
    }

    /// Finds a path's place.
    public func find(_ path: [UInt8]) throws(PlaceError) -> DatasetPlace { try places(of: path)[0] }

    /// Finds all that a path may mean, at least one place, the likeliest first.
    ///
    /// That is where the links on the way lead now; then, for each of them, what is called so in the snapshots. Below `.zfs/snapshot/NAME`
    /// a name as it was is likelier than a link of today.
    public func places(of path: [UInt8]) throws(PlaceError) -> [DatasetPlace] {
        guard !path.isEmpty else { throw PlaceError(description: "an empty path: name a file or directory") }
        let whole = path.first == PathBytes.slash ? path : directory + [PathBytes.slash] + path
        var walk = try PathWalk(whole, table, links)
        defer { walk.close() }
        var fault: PlaceError?
        var followed: DatasetPlace?
        do throws(PlaceError) {
            try walk.go()
            followed = try place(walk)
        } catch { fault = error }
        let named = walk.named.compactMap { try? place($0) }
        let all =
            followed?.snapshot == nil ? [followed].compactMap { $0 } + named : named + [followed].compactMap { $0 }
        if all.isEmpty, let fault { throw fault }
        // A link that leads to itself is met many times.
        return all.enumerated().filter { index, place in
            !all[..<index].contains { $0.dataset == place.dataset && $0.path == place.path }
        }.map(\.element)
    }

    private func place(_ walk: PathWalk) throws(PlaceError) -> DatasetPlace {
        do throws(PlaceError) { return try placed(walk) } catch {
            // Beyond a link that is not followed nothing else is worth saying.
            throw links == .refused ? walk.link.map(PlaceError.init(link:)) ?? error : error
        }
    }

    private func placed(_ walk: PathWalk) throws(PlaceError) -> DatasetPlace {
        let shown = SafeText.line(walk.path, limit: 300)
        var status = recovery_status()
        guard recovery_status(walk.directory.rawValue, "", &status) == 0,
            let device = DeviceNumber(major: status.major, minor: status.minor)
        else { throw PlaceError(description: "cannot look at \(shown): \(Errno(rawValue: errno))") }
        let directory = walk.existing
        let entry: MountEntry?
        if status.has_mount {
            entry = table.entry(mountID: Int32(truncatingIfNeeded: status.mount))
        } else {
            entry = table.entries.filter { $0.device == device && Self.isWithin(directory, $0.mountPoint) }
                .max { $0.mountPoint.count < $1.mountPoint.count }
        }
        guard let entry else {
            throw PlaceError(
                description:
                    "\(shown): its mount is not in /proc/self/mountinfo; try again, or from outside a container")
        }
        let live = try dataset(of: entry, shown)
        guard Self.isWithin(directory, entry.mountPoint) else {
            throw PlaceError(
                description: "\(shown): the mount table says that it is not below its mount point; try again")
        }
        // Of a bind mount of a part the root is a directory of the dataset.
        let root = Self.trimmed(entry.root)
        let below = Self.trimmed(Array(directory.dropFirst(Self.trimmed(entry.mountPoint).count + 1)))
        let path = walk.gone.reduce(PathBytes.join(root, below), PathBytes.join)
        let mounts = live.mountIDs.compactMap { table.entry(mountID: $0) }
        guard let mount = mounts.first(where: { $0.root == [PathBytes.slash] }) else {
            throw Self.notMounted(live.name, "is mounted only in part (a bind mount)")
        }
        return DatasetPlace(
            dataset: live.name, flavour: live.flavour, mountPoint: mount.mountPoint, device: live.device, path: path,
            absolute: walk.path, exists: walk.isThere, snapshot: walk.snapshot,
            mountedSnapshots: snapshots(of: live.name, below: mount.mountPoint), link: walk.link)
    }

    /// The dataset whose files, or whose snapshot's files, a mount shows. The device tells, never the name alone: any
    /// user can give a FUSE mount the name of a dataset.
    private func dataset(of entry: MountEntry, _ shown: String) throws(PlaceError) -> MountedDataset {
        if let dataset = table.dataset(on: entry.device) { return dataset }
        if let mount = table.rejected.first(where: { $0.device == entry.device }) {
            let claimants = table.claimants(of: mount.name)
            throw PlaceError(
                description: "\(shown): " + (claimants.isEmpty ? "\(mount)" : MountTable.ambiguity(claimants)))
        }
        guard let flavour = ZFSFlavour(fsType: entry.fsType) else {
            throw PlaceError(
                description:
                    "\(shown) is on \(SafeText.line(entry.fsType, limit: 40)), not on ZFS; name a path on a ZFS dataset"
            )
        }
        let source = String(decoding: entry.source, as: UTF8.self)
        let name = source.split(separator: "@", omittingEmptySubsequences: false).first.map(String.init) ?? source
        if let dataset = table.dataset(named: name), dataset.flavour == flavour { return dataset }
        let claimants = table.claimants(of: name)
        guard claimants.isEmpty else {
            throw PlaceError(description: "\(shown): \(MountTable.ambiguity(claimants))")
        }
        throw Self.notMounted(name, "is not mounted")
    }

    private static func notMounted(_ dataset: String, _ fault: String) -> PlaceError {
        let name = SafeText.line(dataset)
        return PlaceError(description: "\(name) \(fault): 'zfs mount \(name)' first")
    }

    private func snapshots(of dataset: String, below mountPoint: [UInt8]) -> Set<String> {
        let source = Array((dataset + "@").utf8)
        let point = PathBytes.join(mountPoint == [PathBytes.slash] ? [] : mountPoint, Array(".zfs/snapshot/".utf8))
        var names: Set<String> = []
        for entry in table.entries where entry.fsType == "zfs" && entry.source.starts(with: source) {
            let name = entry.source.dropFirst(source.count)
            if entry.mountPoint.elementsEqual(point + name) { names.insert(String(decoding: name, as: UTF8.self)) }
        }
        return names
    }

    /// Of absolute paths.
    static func isWithin(_ path: [UInt8], _ directory: [UInt8]) -> Bool {
        PathBytes.isWithin(trimmed(path), trimmed(directory))
    }

    static func trimmed(_ path: [UInt8]) -> [UInt8] {
        Array(path.drop { $0 == PathBytes.slash })
    }
}

extension PlaceFinder {
    /// The datasets that are to be mounted over a path, or on the way to it, and are not: what was there is theirs.
    ///
    /// - Parameter datasets: all of the host.
    public static func unmounted(over place: [UInt8], among datasets: [DatasetInfo], _ table: MountTable)
        -> [DatasetInfo]
    {
        datasets.filter { dataset in
            guard dataset.kind == .filesystem, !table.isMounted(dataset.name), let point = dataset.mountPoint,
                point.hasPrefix("/"), point != "/"
            else { return false }
            return isWithin(place, Array(point.utf8))
        }
        .sorted { ($0.mountPoint ?? "").utf8.count > ($1.mountPoint ?? "").utf8.count }
    }
}

/// The way along a path.
private struct PathWalk {
    private static let mostLinks = 40
    private let table: MountTable
    private let policy: PlaceFinder.Links
    /// The last directory that exists.
    private(set) var directory: FileDescriptor
    private var done: [[UInt8]] = []
    /// What comes behind it: the last component, and whatever does not exist.
    private(set) var gone: [[UInt8]] = []
    /// Whether the last component exists.
    private(set) var isThere = true
    private var rest: [[UInt8]]
    private var links = 0
    /// Of `.zfs/snapshot/NAME` on the way.
    private(set) var snapshot: String?
    /// The link that was taken for a name.
    private(set) var link: [UInt8]?
    /// The same way with one of the links that were followed taken for a name.
    private(set) var named: [PathWalk] = []

    var existing: [UInt8] { [PathBytes.slash] + done.joined(separator: [PathBytes.slash]) }
    var path: [UInt8] { [PathBytes.slash] + (done + gone).joined(separator: [PathBytes.slash]) }

    init(_ path: [UInt8], _ table: MountTable, _ policy: PlaceFinder.Links) throws(PlaceError) {
        self.table = table
        self.policy = policy
        rest = path.split(separator: PathBytes.slash, omittingEmptySubsequences: false).map { Array($0) }
        directory = try Self.root()
    }

    private static func root() throws(PlaceError) -> FileDescriptor {
        let raw = recovery_open_path(AT_FDCWD, "/", 0)
        guard raw >= 0 else { throw PlaceError(description: "cannot open /: \(Errno(rawValue: errno))") }
        return FileDescriptor(rawValue: raw)
    }

    func close() {
        try? directory.close()
        for walk in named { walk.close() }
    }

    mutating func go() throws(PlaceError) {
        while !rest.isEmpty {
            let name = rest.removeFirst()
            if name.isEmpty || name.elementsEqual(".".utf8) { continue }
            if name.elementsEqual("..".utf8) {
                if gone.isEmpty { try up() } else { gone.removeLast() }
                if gone.isEmpty { isThere = true }
            } else if !gone.isEmpty {
                gone.append(name)
                isThere = false
            } else if isControl(name) {
                snapshot = String(decoding: rest[1], as: UTF8.self)
                rest.removeFirst(2)
            } else {
                try down(name)
            }
        }
    }

    /// `.zfs/snapshot/NAME` of a dataset's root: what is below it is meant as it was, not where it can be read.
    private func isControl(_ name: [UInt8]) -> Bool {
        guard name.elementsEqual(".zfs".utf8), rest.count >= 2, rest[0].elementsEqual("snapshot".utf8), !rest[1].isEmpty
        else { return false }
        let here = existing
        return table.datasets.values.contains { $0.mountPoints.contains(here) }
    }

    private mutating func up() throws(PlaceError) {
        guard !done.isEmpty else { return }
        done.removeLast()
        try open([UInt8]("..".utf8))
    }

    private mutating func open(_ name: [UInt8]) throws(PlaceError) {
        let raw = TreeReader.withPath(name[...]) { recovery_open_path(directory.rawValue, $0, 0) }
        guard raw >= 0 else { throw failure(name) }
        try? directory.close()
        directory = FileDescriptor(rawValue: raw)
    }

    private func failure(_ name: [UInt8]) -> PlaceError {
        let number = Errno(rawValue: errno)
        return PlaceError(
            description: "cannot look at \(SafeText.line(existing + [PathBytes.slash] + name, limit: 300)): \(number)")
    }

    /// Notes what the path is with a link as a name. What is behind a name that is gone and goes up again has no meaning of its own.
    private mutating func addNamed(_ name: [UInt8]) throws(PlaceError) {
        guard !rest.contains(where: { $0.elementsEqual("..".utf8) }) else { return }
        let raw = fcntl(directory.rawValue, F_DUPFD_CLOEXEC, 0)
        guard raw >= 0 else { throw failure(name) }
        var walk = self
        walk.directory = FileDescriptor(rawValue: raw)
        walk.named = []
        walk.link = PathBytes.join(existing, name)
        walk.gone = [name] + rest.filter { !$0.isEmpty && !$0.elementsEqual(".".utf8) }
        walk.rest = []
        walk.isThere = false
        named.append(walk)
    }

    private mutating func down(_ name: [UInt8]) throws(PlaceError) {
        let raw = TreeReader.withPath(name[...]) { recovery_open_path(directory.rawValue, $0, 0) }
        guard raw >= 0 else {
            guard [ENOENT, ENOTDIR, ENAMETOOLONG].contains(errno) else { throw failure(name) }
            gone = [name]
            isThere = false
            return
        }
        let next = FileDescriptor(rawValue: raw)
        var isKept = false
        defer { if !isKept { try? next.close() } }
        var status = recovery_status()
        guard recovery_status(raw, "", &status) == 0 else { throw failure(name) }
        switch FileKind(mode: status.mode) {
        case .directory:
            try? directory.close()
            directory = next
            isKept = true
            done.append(name)
        case .symlink where !rest.isEmpty:
            guard policy == .followed else {
                link = PathBytes.join(existing, name)
                gone = [name]
                isThere = false
                return
            }
            try addNamed(name)
            links += 1
            guard links <= Self.mostLinks else {
                throw PlaceError(
                    description: "\(SafeText.line(existing, limit: 300)): too many symbolic links on the way")
            }
            var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
            let count = buffer.withUnsafeMutableBytes { recovery_link_target(raw, $0.baseAddress, $0.count) }
            guard count > 0 else { throw failure(name) }
            let target = buffer[..<count]
            if target.first == PathBytes.slash {
                try? directory.close()
                directory = try Self.root()
                done = []
            }
            rest = target.split(separator: PathBytes.slash).map { Array($0) } + rest
        default:
            gone = [name]
            isThere = true
        }
    }
}
