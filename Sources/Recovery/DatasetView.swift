import Background
import CLinux
import CRecovery
import Datasets
import Glibc
import SystemPackage

/// A dataset's snapshots and live files, as they can be read on this machine.
///
/// A snapshot that ZFS has mounted below `.zfs/snapshot` is read there. Root mounts any other one for itself, where nobody sees it: at a tenth of
/// what it costs to have ZFS mount it (docs/facts.md), also in a mount namespace where ZFS cannot, and nothing of it is left in the
/// mount table. Others than root make ZFS mount it. Where there is no such thing, as with zfs-fuse, it is read by a clone for a moment.
public final class DatasetView: SnapshotStore {
    public let dataset: String
    /// Of the dataset.
    public let guid: UInt64
    public let snapshots: [Snapshot]
    public let flavour: ZFSFlavour
    public let mountPoint: [UInt8]
    public var hasCoarseTimes: Bool { flavour == .fuse }
    /// What went wrong beside the looking; printable.
    public private(set) var problems: [String] = []

    private let device: DeviceNumber
    private let live: FileDescriptor
    /// `.zfs/snapshot`.
    private let control: FileDescriptor?
    /// By the places of snapshots: ZFS has them mounted there.
    private var isMounted: [Bool]
    /// Others can be mounted for ourselves.
    private var canMount: Bool
    /// The roots of the last few that are, the newest last: neighbours are compared.
    private var own: [(index: Int, root: FileDescriptor)] = []
    private static let mostOwn = 4
    private var clones: ViewClones
    private let isStopped: @Sendable () -> Bool

    /// Opens a dataset.
    ///
    /// - Parameters:
    ///   - history: what was written down of its snapshots is not asked for again.
    ///   - willClone: called before a clone is made: from then on signals are to be caught, so that it does not stay.
    ///   - isStopped: asked before each look.
    public init(
        _ place: DatasetPlace, _ command: ZFSCommand, history: (any ChangeHistory)? = nil,
        willClone: @escaping @Sendable () -> Void = {},
        isStopped: @escaping @Sendable () -> Bool = { false }
    ) throws {
        dataset = place.dataset
        flavour = place.flavour
        mountPoint = place.mountPoint
        device = place.device
        self.isStopped = isStopped
        live = try Self.open(place)
        control = place.flavour == .kernel ? Self.control(live) : nil
        let listing = SnapshotListing(command, place.flavour)
        let name = place.dataset
        // A journal that cannot be read is told of when it is asked for changes.
        let known = try? history?.stamps(ofDatasetNamed: name)
        let there = known == nil ? nil : control.flatMap(Self.names)
        let read: Result<(guid: UInt64, snapshots: [Snapshot]), ZFSError> = blocking {
            do throws(ZFSError) {
                return .success(try await listing.snapshots(of: name, there: there, known: known))
            } catch {
                return .failure(error)
            }
        }
        (guid, snapshots) = try read.get()
        isMounted = snapshots.map { place.mountedSnapshots.contains($0.name) }
        canMount = place.flavour == .kernel && geteuid() == 0
        clones = ViewClones(
            command, dataset: place.dataset, isFuse: place.flavour == .fuse, willClone: willClone,
            isStopped: isStopped)
    }

    deinit {
        for mount in own { try? mount.root.close() }
        try? live.close()
        try? control?.close()
    }

    private static func open(_ place: DatasetPlace) throws(PlaceError) -> FileDescriptor {
        let shown = SafeText.line(place.mountPoint, limit: 300)
        let raw = TreeReader.withPath(place.mountPoint[...]) {
            kairos_openat2(AT_FDCWD, $0, kairos_open_path_directory, recovery_no_symlinks)
        }
        guard raw >= 0 else { throw PlaceError(description: "cannot open \(shown): \(Errno(rawValue: errno))") }
        let file = FileDescriptor(rawValue: raw)
        var status = recovery_status()
        guard recovery_status(raw, "", &status) == 0,
            DeviceNumber(major: status.major, minor: status.minor) == place.device
        else {
            try? file.close()
            throw PlaceError(
                description: "\(shown), where \(SafeText.line(place.dataset)) is mounted, is covered by another mount")
        }
        return file
    }

    /// `.zfs/snapshot` of a root, whether it can be listed there or not; nil where it is switched off or a user's own directory.
    private static func control(_ root: FileDescriptor) -> FileDescriptor? {
        let raw = kairos_openat2(
            root.rawValue, ".zfs/snapshot", kairos_open_path_directory, recovery_beneath)
        guard raw >= 0 else { return nil }
        let file = FileDescriptor(rawValue: raw)
        var status = recovery_status()
        guard recovery_status(raw, "", &status) == 0, status.inode == recovery_snapdir_inode else {
            try? file.close()
            return nil
        }
        return file
    }

    /// The names in `.zfs/snapshot`; nil: they are not to be had.
    private static func names(_ control: FileDescriptor) -> [String]? {
        let entries = try? TreeReader(root: control, isFuse: false).entries(of: [])
        return entries.flatMap(\.self)?.map { String(decoding: $0.name, as: UTF8.self) }
    }

    public func look<Value>(
        into place: Place, _ body: (any FileTree) throws(TreeFault) -> Value
    ) throws(TreeFault) -> Value {
        if isStopped() { throw .stopped }
        switch place {
        case .live: return try body(TreeReader(root: live, isFuse: flavour == .fuse, isStopped: isStopped))
        case .snapshot(let index):
            let root = try root(of: index, isHeld: false)
            defer { try? root.close() }
            return try body(TreeReader(root: root, isFuse: flavour == .fuse, isStopped: isStopped))
        }
    }

    public func glance(at path: [UInt8], in snapshot: Int) -> FileStatus? {
        guard let control, isMounted[snapshot] || !canMount, !path.isEmpty, !isStopped() else { return nil }
        // Not what lies on the dataset itself: a snapshot that was not mounted, or a link into the live files.
        return TreeReader.glance(at: path, in: snapshots[snapshot].name, below: control, butOn: device)
    }

    /// The root directory of a snapshot, which the caller closes before the view; it can be read until then.
    public func root(of index: Int) throws(TreeFault) -> FileDescriptor { try root(of: index, isHeld: true) }

    private func root(of index: Int, isHeld: Bool) throws(TreeFault) -> FileDescriptor {
        guard snapshots.indices.contains(index) else { throw .gone }
        let snapshot = snapshots[index]
        if canMount, !isMounted[index], let root = ownRoot(of: index) { return root }
        guard let control else { return try clones.root(of: snapshot.name, isHeld: isHeld, &problems) }
        // Opening it as a directory makes ZFS mount it, if it has not.
        let raw = TreeReader.withPath(Array(snapshot.name.utf8)[...]) {
            kairos_openat2(control.rawValue, $0, kairos_open_path_directory, recovery_beneath)
        }
        guard raw >= 0 else {
            if errno == ENOENT { throw .gone }
            let number = Errno(rawValue: errno)
            if number == .tooManySymbolicLinkLevels {
                throw .impossible(
                    "ZFS cannot mount it in this mount namespace: run it outside the container or service, or 'mount -t zfs' it by hand"
                )
            }
            throw .failed("open .zfs/snapshot/\(SafeText.line(snapshot.name, limit: 100))", number)
        }
        let file = FileDescriptor(rawValue: raw)
        var status = recovery_status()
        guard recovery_status(raw, "", &status) == 0,
            DeviceNumber(major: status.major, minor: status.minor) != device
        else {
            try? file.close()
            throw .impossible("ZFS did not mount it")
        }
        return file
    }

    /// The root of a snapshot in a mount of our own; nil: it has to be had in another way, which also tells what is wrong.
    private func ownRoot(of index: Int) -> FileDescriptor? {
        if let place = own.firstIndex(where: { $0.index == index }) {
            own.append(own.remove(at: place))
        } else {
            let name = Array("\(dataset)@\(snapshots[index].name)".utf8)
            let raw = TreeReader.withPath(name[...]) { recovery_mount_snapshot($0) }
            guard raw >= 0 else {
                // A kernel before 5.2, or a container that may not.
                if [ENOSYS, EPERM, ENODEV].contains(errno) { canMount = false }
                return nil
            }
            own.append((index, FileDescriptor(rawValue: raw)))
            if own.count > Self.mostOwn { try? own.removeFirst().root.close() }
        }
        guard let root = own.last?.root else { return nil }
        // The mount lasts as long as one of them is open, so no child may get it.
        let raw = fcntl(root.rawValue, F_DUPFD_CLOEXEC, 0)
        return raw < 0 ? nil : FileDescriptor(rawValue: raw)
    }

    /// Lets go of what was mounted, and destroys the clones that were made. To be called whatever happened.
    public func close() {
        for mount in own { try? mount.root.close() }
        own = []
        clones.destroyAll(&problems)
    }
}
