import CZFSCore
import Datasets
import SystemPackage

/// Why there is no libzfs_core to call.
public enum ZFSCoreError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kernel has no ZFS: its module is not loaded, or ZFS is zfs-fuse, which has no such library.
    case notInKernel
    /// No library could be opened; the dynamic loader's words on each.
    case notFound([String])
    /// It was opened, and `libzfs_core_init()` failed with this errno.
    case notReady(soname: String, errno: Int32)

    /// The reason in one printable line.
    public var description: String {
        switch self {
        case .notInKernel: "the kernel has no ZFS (/sys/module/zfs is not there)"
        case .notFound(let words): "libzfs_core cannot be opened: " + words.joined(separator: "; ")
        case .notReady(let soname, let errno):
            "\(soname): libzfs_core_init: /dev/zfs: \(Errno(rawValue: errno))"
        }
    }

    /// What to do about it.
    public var hint: String {
        switch self {
        case .notInKernel: "load it ('modprobe zfs'); with zfs-fuse the zfs command is the only way"
        case .notFound: "'apt install zfsutils-linux' brings it"
        case .notReady: "run as root; in a container /dev/zfs has to be passed in"
        }
    }
}

/// libzfs_core, OpenZFS's own library for its calls, opened at run time.
///
/// It is opened by its soname where the dynamic loader looks by itself, for root as for every program of root's:
/// LD_LIBRARY_PATH and LD_PRELOAD count, whose setting is root's own (sudo takes them out of the environment). It stays
/// open for as long as the process runs.
final class ZFSCore: Sendable {
    /// The soname since OpenZFS 2.0, and that of 0.8 before it. libzfs_core's interface is meant to last, and the three
    /// functions in use have never changed; another soname would say that they had, so no other is tried.
    static let sonames = ["libzfs_core.so.3", "libzfs_core.so.1"]

    let soname: String
    /// Filled before the first use and never changed. What it points to may be called from any thread: libzfs_core says
    /// so of itself, and libnvpair keeps no state but in the lists, of which none is shared.
    private let core: zfs_core

    /// Opens the first library that is there.
    static func open() throws(ZFSCoreError) -> ZFSCore {
        var words: [String] = []
        for soname in sonames {
            var core = zfs_core()
            var error = [CChar](repeating: 0, count: 512)
            if zfs_core_load(&core, soname, &error, error.count) == 0 { return try ZFSCore(core, soname: soname) }
            let text = String(decoding: error.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            words.append(SafeText.line(text, limit: 300))
        }
        throw .notFound(words)
    }

    /// With a table that is filled already.
    init(_ core: zfs_core, soname: String) throws(ZFSCoreError) {
        self.core = core
        self.soname = soname
        // Opens /dev/zfs, and is never undone: a call that is late still needs it.
        let status = core.`init`()
        guard status == 0 else { throw .notReady(soname: soname, errno: status) }
    }

    /// What a call came to.
    struct Reply: Sendable, Hashable {
        /// 0 when all snapshots were taken; else none was, and this is the error of one of them or of the whole call.
        var status: Int32
        /// The errors of single snapshots, by full name.
        var errors: [String: Int32] = [:]
    }

    /// `lzc_snapshot()`: takes all of these snapshots in one transaction group, or none.
    ///
    /// It blocks until that group is on disk: milliseconds as a rule, seconds on a busy pool, and on one that is suspended
    /// until somebody mends it. No signal ends it.
    ///
    /// - Parameters:
    ///   - names: `dataset@snapshot`, all of one pool.
    ///   - properties: user properties that each of them gets.
    func snapshot(_ names: [String], _ properties: [SnapshotProperty]) -> Reply {
        do throws(NVList.Failure) {
            let snapshots = try NVList(core)
            for name in names { try snapshots.add(name) }
            let values = try NVList(core)
            for property in properties { try values.add(property.name, property.value) }
            var pointer: OpaquePointer?
            let status = core.snapshot(snapshots.pointer, values.pointer, &pointer)
            guard let pointer else { return Reply(status: status) }
            return Reply(status: status, errors: NVList(core, owning: pointer).numbers)
        } catch {
            return Reply(status: error.status)
        }
    }
}
