/// A mount that carries a dataset's name and is not taken for that dataset.
public struct RejectedMount: Hashable, Sendable {
    /// Why not.
    public enum Reason: Hashable, Sendable {
        /// A FUSE file system that an ordinary user mounted: by the setuid fusermount any user can choose type and name.
        /// Nil: the kernel does not show who.
        case user(UInt32?)
        /// A FUSE file system beside the kernel's OpenZFS, which has all datasets.
        case besideKernel
        /// Several file systems claim the name, and nothing tells which of them is the dataset.
        case ambiguous
    }

    /// The name that it claims.
    public let name: String
    /// The device of its superblock.
    public let device: DeviceNumber
    /// Where it is mounted, the best first.
    public let mountPoints: [[UInt8]]
    /// Why it is not taken for the dataset.
    public let reason: Reason

    /// Its first mount point, printable.
    public var place: String { SafeText.line(mountPoints.first ?? [], limit: 300) }
}

/// Decides which mounts are ZFS datasets: for the daemon, for looking back and for restoring alike.
///
/// The kernel's `zfs` shows the dataset's own name. The name of a FUSE mount is text that its mounter chose, so
/// `fuse.zfs` counts only when root mounted it, and never beside the kernel's OpenZFS. Where several file systems are
/// left with one name, such as one of a zfs-fuse that was killed below that of its successor, the only one that can be
/// reached by a path is the dataset. Where several can be reached, none is.
struct DatasetClaims {
    private(set) var datasets: [DeviceNumber: MountedDataset] = [:]
    private(set) var rejected: [RejectedMount] = []

    /// - Parameters:
    ///   - mounts: by device, the best of each first.
    ///   - isReachable: whether a path leads to one of a device's mounts. Asked only for names that several devices have.
    init(_ mounts: [[MountEntry]], hasKernelZFS: Bool, isReachable: (DeviceNumber) -> Bool) {
        var byName: [String: [MountedDataset]] = [:]
        for entries in mounts {
            guard let first = entries.first, let flavour = ZFSFlavour(fsType: first.fsType),
                let name = String(validating: first.source, as: UTF8.self), !name.isEmpty
            else { continue }
            if let reason = Self.reason(against: first, flavour, hasKernelZFS: hasKernelZFS) {
                rejected.append(
                    RejectedMount(
                        name: name, device: first.device, mountPoints: entries.map(\.mountPoint), reason: reason))
            } else if !name.contains("@") {
                byName[name, default: []].append(
                    MountedDataset(
                        device: first.device, name: name, flavour: flavour,
                        mountPoints: entries.map(\.mountPoint), mountIDs: entries.map(\.mountID)))
            }
        }
        for claimants in byName.values {
            let reachable = claimants.count == 1 ? claimants : claimants.filter { isReachable($0.device) }
            if reachable.count == 1, let dataset = reachable.first {
                datasets[dataset.device] = dataset
            } else {
                rejected += claimants.map {
                    RejectedMount(name: $0.name, device: $0.device, mountPoints: $0.mountPoints, reason: .ambiguous)
                }
            }
        }
        rejected.sort { $0.device < $1.device }
    }

    private static func reason(
        against entry: MountEntry, _ flavour: ZFSFlavour, hasKernelZFS: Bool
    ) -> RejectedMount.Reason? {
        guard flavour == .fuse else { return nil }
        if entry.fuseUser != 0 { return .user(entry.fuseUser) }
        return hasKernelZFS ? .besideKernel : nil
    }
}

extension MountTable {
    /// What is wrong with the mounts that claim to be one of these datasets, and what to do: printable, a line each.
    ///
    /// - Returns: with each line a key that stays the same while a user mounts and unmounts at one place after another.
    public func problems(of datasets: Set<String>) -> [(key: String, text: String)] {
        let concerned = rejected.filter { datasets.contains($0.name) }
        var problems = concerned.filter { $0.reason != .ambiguous }.map { mount in
            (key: "\(mount.name) \(mount.reason)", text: mount.description)
        }
        for name in Set(concerned.lazy.filter { $0.reason == .ambiguous }.map(\.name)).sorted() {
            let text = Self.ambiguity(claimants(of: name))
            problems.append((key: text, text: text))
        }
        return problems
    }

    /// Several claimants of one name, in one line.
    public static func ambiguity(_ claimants: [RejectedMount]) -> String {
        let name = SafeText.line(claimants.first?.name ?? "")
        let places = claimants.map { "\($0.place) (device \($0.device))" }.joined(separator: " and ")
        return "\(name) is mounted more than once, as different file systems: \(places); "
            + "Kairos cannot tell which one is the dataset and uses none; "
            + "unmount each mount that 'zfs mount' does not list"
    }
}

extension RejectedMount: CustomStringConvertible {
    /// Why it is not taken for the dataset and what to do, in one printable line.
    public var description: String {
        let name = SafeText.line(name)
        switch reason {
        case .user(let user):
            let owner = user.map { "user \($0)" } ?? "an unknown user"
            return "the FUSE mount of \(owner) on \(place) has the name \(name) but is no ZFS dataset: "
                + "Kairos ignores it; unmount it if it is not wanted"
        case .besideKernel:
            return "the FUSE mount on \(place) has the name \(name), but the zfs module is loaded: "
                + "Kairos ignores it; unmount it, or unload the module if zfs-fuse has the pools"
        case .ambiguous:
            return "\(place) is one of several mounts with the name \(name), and Kairos uses none of them"
        }
    }
}
