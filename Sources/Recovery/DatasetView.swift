import Background
import CLinux
import CRecovery
import Datasets
import Glibc
import SystemPackage

/// A dataset's snapshots and live files, as they can be read on this machine: in `.zfs/snapshot`, or by clones for a moment where there is
/// none.
public final class DatasetView: SnapshotStore {
    public let dataset: String
    /// Of the dataset.
    public let guid: UInt64
    public let snapshots: [Snapshot]
    public let flavour: ZFSFlavour
    public let mountPoint: [UInt8]
    public var hasCoarseTimes: Bool { flavour == .fuse }
    /// Each look at a snapshot makes a clone: signals are to be caught, so that it does not stay.
    public var usesClones: Bool { control == nil }
    /// What went wrong beside the looking; printable.
    public private(set) var problems: [String] = []

    private let device: DeviceNumber
    private let live: FileDescriptor
    /// `.zfs/snapshot`.
    private let control: FileDescriptor?
    private var clones: ViewClones
    private let isStopped: @Sendable () -> Bool

    /// Opens a dataset.
    ///
    /// - Parameter isStopped: asked before each look.
    public init(
        _ place: DatasetPlace, _ command: ZFSCommand, isStopped: @escaping @Sendable () -> Bool = { false }
    ) throws {
        dataset = place.dataset
        flavour = place.flavour
        mountPoint = place.mountPoint
        device = place.device
        self.isStopped = isStopped
        let listing = SnapshotListing(command, place.flavour)
        let name = place.dataset
        let read: Result<(guid: UInt64, snapshots: [Snapshot]), ZFSError> = blocking {
            do throws(ZFSError) { return .success(try await listing.snapshots(of: name)) } catch {
                return .failure(error)
            }
        }
        (guid, snapshots) = try read.get()
        live = try Self.open(place)
        control = place.flavour == .kernel ? Self.control(live) : nil
        clones = ViewClones(command, dataset: place.dataset, guid: guid, isFuse: place.flavour == .fuse)
    }

    deinit {
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

    public func look<Value>(
        into place: Place, _ body: (any FileTree) throws(TreeFault) -> Value
    ) throws(TreeFault) -> Value {
        if isStopped() { throw .stopped }
        switch place {
        case .live: return try body(TreeReader(root: live, isFuse: flavour == .fuse))
        case .snapshot(let index):
            let root = try root(of: index, isHeld: false)
            defer { try? root.close() }
            return try body(TreeReader(root: root, isFuse: flavour == .fuse))
        }
    }

    public func glance(at path: [UInt8], in snapshot: Int) -> FileStatus? {
        guard let control, !path.isEmpty, !isStopped() else { return nil }
        let whole = Array(snapshots[snapshot].name.utf8) + [PathBytes.slash] + path
        var status = recovery_status()
        guard whole.count < Int(PATH_MAX),
            TreeReader.withPath(whole[...], { recovery_status(control.rawValue, $0, &status) }) == 0,
            // A snapshot that was not mounted, or a link into the live files.
            DeviceNumber(major: status.major, minor: status.minor) != device
        else { return nil }
        return FileStatus(status)
    }

    /// The root directory of a snapshot, which the caller closes before the view; it can be read until then.
    public func root(of index: Int) throws(TreeFault) -> FileDescriptor { try root(of: index, isHeld: true) }

    private func root(of index: Int, isHeld: Bool) throws(TreeFault) -> FileDescriptor {
        guard snapshots.indices.contains(index) else { throw .gone }
        let snapshot = snapshots[index]
        guard let control else { return try clones.root(of: snapshot.name, isHeld: isHeld, &problems) }
        // Opening it as a directory makes ZFS mount it.
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

    /// Destroys the clones that were made. To be called whatever happened.
    public func close() {
        clones.destroyAll(&problems)
    }
}
