import CZFSCore
import SystemPackage

/// A list of names and values, as libzfs_core takes them. It is freed with this owner.
struct NVList: ~Copyable {
    private let core: zfs_core
    let pointer: OpaquePointer

    /// An errno of libnvpair.
    struct Failure: Error, CustomStringConvertible {
        let status: Int32
        var description: String { "libnvpair: \(Errno(rawValue: status))" }
    }

    init(_ core: zfs_core) throws(Failure) {
        var pointer: OpaquePointer?
        let status = core.list_alloc(&pointer, UInt32(ZFS_CORE_UNIQUE_NAME), 0)
        guard status == 0, let pointer else { throw Failure(status: status) }
        self.init(core, owning: pointer)
    }

    /// Takes over a list that a call has made.
    init(_ core: zfs_core, owning pointer: OpaquePointer) {
        self.core = core
        self.pointer = pointer
    }

    deinit { core.list_free(pointer) }

    /// Adds a name without a value.
    func add(_ name: String) throws(Failure) {
        let status = core.list_add_boolean(pointer, name)
        guard status == 0 else { throw Failure(status: status) }
    }

    func add(_ name: String, _ value: String) throws(Failure) {
        let status = core.list_add_string(pointer, name, value)
        guard status == 0 else { throw Failure(status: status) }
    }

    /// The names that have an int32 for a value. (The kernel adds "N_MORE_ERRORS" where a list has to be cut short.)
    var numbers: [String: Int32] {
        var result: [String: Int32] = [:]
        var pair = core.list_next(pointer, nil)
        while let current = pair {
            var value: Int32 = 0
            if let name = core.pair_name(current), core.pair_int32(current, &value) == 0 {
                result[String(cString: name)] = value
            }
            pair = core.list_next(pointer, current)
        }
        return result
    }
}
