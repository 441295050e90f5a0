import Datasets

/// Which engine is to take snapshots: the value of `--engine`.
public enum EngineChoice: String, Hashable, Sendable, CaseIterable {
    /// libzfs_core where it works, else the command.
    case auto
    /// The `zfs` command.
    case cli
    /// libzfs_core, or nothing.
    case libzfsCore = "libzfs-core"

    /// Opens what the choice wants.
    ///
    /// - Parameter kernelHasZFS: whether ZFS's module is loaded. Where it is not the library is not tried: opening
    ///   /dev/zfs can load the module, and with zfs-fuse nobody asked for that.
    /// - Throws: when libzfs_core is wanted and does not work.
    public func resolve(kernelHasZFS: Bool) throws(ZFSCoreError) -> ChosenEngine {
        switch self {
        case .auto: .automatic(kernelHasZFS: kernelHasZFS)
        case .cli: ChosenEngine(core: nil, reason: "chosen")
        case .libzfsCore: try .libzfsCore(kernelHasZFS: kernelHasZFS)
        }
    }
}

/// The engine of a run. It hands out the same one for every request, so that what is known of a pool that does not answer
/// is known to all.
public struct ChosenEngine: Sendable {
    private let core: ZFSCore?
    private let calls = PoolCalls()
    /// Why it is this one, for messages.
    public let reason: String
    /// What keeps libzfs_core from being used where it would have been.
    public let missing: ZFSCoreError?

    /// What `EngineChoice.auto` comes to; see there.
    public static func automatic(kernelHasZFS: Bool) -> ChosenEngine {
        do throws(ZFSCoreError) {
            return try libzfsCore(kernelHasZFS: kernelHasZFS)
        } catch {
            return ChosenEngine(core: nil, reason: error.description, missing: error)
        }
    }

    fileprivate static func libzfsCore(kernelHasZFS: Bool) throws(ZFSCoreError) -> ChosenEngine {
        guard kernelHasZFS else { throw .notInKernel }
        let core = try ZFSCore.open()
        return ChosenEngine(core: core, reason: "\(core.soname) opens, and the kernel has ZFS")
    }

    fileprivate init(core: ZFSCore?, reason: String, missing: ZFSCoreError? = nil) {
        self.core = core
        self.reason = reason
        self.missing = missing
    }

    /// As in `SnapshotEngine.name`, of the engine for the kernel's ZFS.
    public var name: String { core == nil ? CommandEngine.name : LibZFSCoreEngine.name }

    /// The engine for datasets of one kind of ZFS: those of zfs-fuse take the command, whatever was chosen.
    public func engine(_ command: ZFSCommand, flavour: ZFSFlavour) -> any SnapshotEngine {
        guard let core, flavour == .kernel else { return CommandEngine(command, flavour: flavour) }
        return LibZFSCoreEngine(core, calls, command: command)
    }
}
