import Datasets
import Snapshots
import SystemPackage
import Tracing

/// Why a daemon could not start. Nothing was left behind.
public enum StartError: Error, Sendable, CustomStringConvertible {
    case probes(ProbeError)
    case selection(SelectionError)
    case zfs(ZFSError)
    case engine(ZFSCoreError)
    case mounts(MountTableError)
    case lock(InstanceLockError)
    case notMounted(String)
    /// One that was named, and why the probe set that sees it was not taken.
    case volume(String, ProbeError?)
    case nothingEnabled(notes: [String])
    /// What is wrong with the names that were given, in the end.
    case nothingToWatch(String)
    case tooMany(Int)
    case system(String, Errno)

    public var description: String {
        switch self {
        case .probes(let error): error.description
        case .selection(let error): error.description
        case .zfs(let error): error.description
        case .engine(let error):
            "--engine \(EngineChoice.libzfsCore.rawValue): \(error); \(error.hint); or leave the flag out"
        case .mounts(let error): error.description
        case .lock(let error): error.description
        case .notMounted(let name):
            "\(SafeText.line(name)) is not mounted here, so its changes cannot be seen: mount it with "
                + "'zfs mount \(SafeText.line(name))' (its mountpoint must not be 'none')"
        case .volume(let name, let error):
            "\(SafeText.line(name)) is a volume: writes to it go past the file system, where only the probe set zfs sees "
                + "them, and that is not in use (\(error?.description ?? "--probes asks for another")); name file systems"
        case .nothingEnabled(let notes):
            ([
                "no dataset has kairos:enabled=on: name one ('kairos run tank/home'), "
                    + "or enable it for good ('zfs set kairos:enabled=on tank/home')"
            ] + notes).joined(separator: "; ")
        case .nothingToWatch(let words): words
        case .tooMany(let count):
            "\(count) datasets are more than the \(SlotTable.capacity) that can be watched at once"
        case .system(let operation, let errno): "cannot \(operation): \(errno)"
        }
    }
}
