/// Which ZFS serves a dataset: what its commands can do and what its mounts look like differ.
public enum ZFSFlavour: String, Sendable, Hashable, CaseIterable {
    /// OpenZFS, in the kernel: file system type `zfs`.
    case kernel
    /// zfs-fuse 0.7, a daemon: file system type `fuse.zfs`.
    case fuse

    /// The flavour of a mount of this file system type, or nil when it is not ZFS.
    public init?(fsType: String) {
        switch fsType {
        case "zfs": self = .kernel
        case "fuse.zfs": self = .fuse
        default: return nil
        }
    }
}

/// A dataset that is mounted in this mount namespace.
public struct MountedDataset: Hashable, Sendable {
    /// The superblock's device: what probes report. Given to another dataset after an unmount.
    public let device: DeviceNumber
    /// The dataset's name.
    public let name: String
    /// Which ZFS mounted it.
    public let flavour: ZFSFlavour
    /// Where, the best first: reachable before covered ones, the whole dataset before bind mounts of a part of it.
    public let mountPoints: [[UInt8]]
    /// The IDs of those mounts, in the same order.
    public let mountIDs: [Int32]
}

/// A dataset whose mount points are other ones than before.
public struct MovedDataset: Hashable, Sendable {
    /// As it was.
    public let old: MountedDataset
    /// As it is now.
    public let new: MountedDataset
}

/// What differs between two mount tables. Each list is sorted by device.
public struct MountChanges: Hashable, Sendable {
    /// Mounted now, and not before; after a rename or the reuse of a device number both lists hold an entry for it.
    public var appeared: [MountedDataset] = []
    /// Mounted before, and no longer.
    public var vanished: [MountedDataset] = []
    /// The same dataset on the same device with other mount points.
    public var moved: [MovedDataset] = []

    /// Whether nothing changed.
    public var isEmpty: Bool { appeared.isEmpty && vanished.isEmpty && moved.isEmpty }
}

/// The mounts of one mount namespace at one moment, and the ZFS datasets among them.
///
/// A value: read it again when `poll` reports `POLLPRI` on mountinfo, and compare.
public struct MountTable: Hashable, Sendable {
    /// Every mount, ZFS or not, in the kernel's order.
    public let entries: [MountEntry]
    /// Lines of mountinfo that could not be read.
    public let malformedLines: Int
    /// The mounted ZFS datasets by the device of their superblock, each name once. Snapshots (`tank/a@x`) are left out,
    /// and what `rejected` has.
    public let datasets: [DeviceNumber: MountedDataset]
    /// Mounts with the name of a dataset that are not taken for it, sorted by device: see `DatasetClaims`.
    public let rejected: [RejectedMount]

    /// Indices into `entries`.
    private let byMountID: [Int32: Int]
    private let byDevice: [DeviceNumber: [Int]]
    private let byName: [String: DeviceNumber]

    /// A table of these mounts.
    ///
    /// - Parameter hasKernelZFS: the kernel has OpenZFS, so no mount is zfs-fuse's.
    public init(_ info: MountInfo, hasKernelZFS: Bool = false) {
        self.init(entries: info.entries, malformedLines: info.malformedLines, hasKernelZFS: hasKernelZFS)
    }

    /// A table of these mounts.
    public init(entries: [MountEntry], malformedLines: Int = 0, hasKernelZFS: Bool = false) {
        self.entries = entries
        self.malformedLines = malformedLines
        byMountID = Dictionary(
            entries.enumerated().map { ($0.element.mountID, $0.offset) }, uniquingKeysWith: { _, last in last }
        )
        let tree = MountTree(entries: entries, byMountID: byMountID)
        let byDevice = Dictionary(grouping: entries.indices, by: { entries[$0].device }).mapValues { indices in
            // Only a device with several mounts needs to know which of them can be reached.
            indices.count == 1 ? indices : tree.bestFirst(indices)
        }
        self.byDevice = byDevice
        let claims = DatasetClaims(
            byDevice.values.map { indices in indices.map { entries[$0] } }, hasKernelZFS: hasKernelZFS
        ) { device in !(byDevice[device] ?? []).allSatisfy(tree.isHidden) }
        datasets = claims.datasets
        rejected = claims.rejected
        byName = Dictionary(datasets.values.map { ($0.name, $0.device) }, uniquingKeysWith: min)
    }

    /// The dataset on a device.
    public func dataset(on device: DeviceNumber) -> MountedDataset? { datasets[device] }

    /// The mounted dataset of this name; nil also where several mounts claim the name and none is proven: see
    /// `claimants(of:)`.
    public func dataset(named name: String) -> MountedDataset? { byName[name].flatMap { datasets[$0] } }

    /// The mounts of different file systems that claim to be this dataset, where ZFS's own cannot be told; else empty.
    public func claimants(of dataset: String) -> [RejectedMount] {
        rejected.filter { $0.name == dataset && $0.reason == .ambiguous }
    }

    /// Whether ZFS mounted a dataset of this name here, also where it cannot be told which of several mounts it is.
    public func isMounted(_ dataset: String) -> Bool { byName[dataset] != nil || !claimants(of: dataset).isEmpty }

    /// The mount points of a dataset, the best first; empty when it is not mounted here.
    public func mountPoints(of dataset: String) -> [[UInt8]] { self.dataset(named: dataset)?.mountPoints ?? [] }

    /// The mount with this ID.
    public func entry(mountID: Int32) -> MountEntry? { byMountID[mountID].map { entries[$0] } }

    /// The path in this mount namespace of a file that a probe saw.
    ///
    /// - Parameters:
    ///   - device: the superblock's device.
    ///   - path: from the superblock's root, beginning with `/`.
    /// - Returns: the path by the best mount that shows the file, or nil when none does.
    public func path(device: DeviceNumber, path: some Collection<UInt8>) -> [UInt8]? {
        for index in byDevice[device] ?? [] {
            if let full = Self.join(entries[index], path) { return full }
        }
        return nil
    }

    /// The path in this mount namespace of a file reached by a certain mount, or nil when the mount is not of this
    /// namespace or does not show the file.
    ///
    /// - Parameters:
    ///   - mountID: as `name_to_handle_at` and `/proc/PID/fdinfo` give it.
    ///   - path: from the superblock's root, beginning with `/`.
    public func path(mountID: Int32, path: some Collection<UInt8>) -> [UInt8]? {
        entry(mountID: mountID).flatMap { Self.join($0, path) }
    }

    private static func join(_ mount: MountEntry, _ path: some Collection<UInt8>) -> [UInt8]? {
        let slash = UInt8(ascii: "/")
        guard let below = MountTree.remainder(of: path, below: mount.root) else { return nil }
        if below.isEmpty { return mount.mountPoint }
        return mount.mountPoint == [slash] ? [slash] + below : mount.mountPoint + [slash] + below
    }

    /// What changed since `old`.
    public func changes(from old: MountTable) -> MountChanges {
        var changes = MountChanges()
        for device in Set(datasets.keys).union(old.datasets.keys).sorted() {
            switch (old.datasets[device], datasets[device]) {
            case (let before?, let now?) where before.name == now.name && before.flavour == now.flavour:
                // Mount IDs are compared too: a remount on the same spot may have missed events in between.
                if before != now { changes.moved.append(MovedDataset(old: before, new: now)) }
            case (let before, let now):
                if let before { changes.vanished.append(before) }
                if let now { changes.appeared.append(now) }
            }
        }
        return changes
    }
}

/// Which mounts can be reached, told from their parents.
struct MountTree {
    let entries: [MountEntry]
    let byMountID: [Int32: Int]
    let children: [Int32: [Int]]

    init(entries: [MountEntry], byMountID: [Int32: Int]) {
        self.entries = entries
        self.byMountID = byMountID
        children = Dictionary(grouping: entries.indices, by: { entries[$0].parentID })
    }

    /// Reachable mounts before hidden ones, then roots nearest to `/`, then the kernel's order.
    func bestFirst(_ indices: [Int]) -> [Int] {
        let ranked = indices.map { index in
            (index: index, hidden: isHidden(index) ? 1 : 0, root: entries[index].root == [UInt8(ascii: "/")] ? 0 : 1)
        }
        return ranked.sorted { ($0.hidden, $0.root, $0.index) < ($1.hidden, $1.root, $1.index) }.map(\.index)
    }

    /// Whether another mount lies over this one or over the way to it.
    ///
    /// A mount made on top of another has that one as its parent and the same mount point. One made on a directory
    /// above it, later, is its sibling: made earlier it would be its parent.
    func isHidden(_ index: Int) -> Bool {
        var current = index
        var cover: Int?
        // A chain of parents cannot be longer than the table, unless the table is nonsense.
        for _ in 0...entries.count {
            let mount = entries[current]
            for child in children[mount.mountID] ?? []
            where child != cover && child != current && entries[child].mountPoint == mount.mountPoint {
                return true
            }
            for sibling in children[mount.parentID] ?? [] where sibling != current {
                let above = entries[sibling].mountPoint
                if above != mount.mountPoint, Self.remainder(of: mount.mountPoint, below: above) != nil { return true }
            }
            guard let parent = byMountID[mount.parentID], parent != current else { return false }
            cover = current
            current = parent
        }
        return false
    }

    /// What of `path` lies below `root`, without the slash between them; nil when it is not below.
    static func remainder(of path: some Collection<UInt8>, below root: [UInt8]) -> [UInt8]? {
        let slash = UInt8(ascii: "/")
        guard path.first == slash else { return nil }
        if root == [slash] { return Array(path.dropFirst()) }
        guard path.starts(with: root) else { return nil }
        let rest = path.dropFirst(root.count)
        if rest.isEmpty { return [] }
        return rest.first == slash ? Array(rest.dropFirst()) : nil
    }
}
