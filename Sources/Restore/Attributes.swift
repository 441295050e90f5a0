import CLinux
import CRestore
import Datasets
import Glibc
import SystemPackage

/// A file whose attributes are read or written: by its descriptor, or by its name where it is nothing to be opened.
struct AttributePlace {
    let file: Opened
    /// nil: the descriptor's own.
    var name: [UInt8]?

    func withName<Value>(_ body: (UnsafePointer<CChar>?) -> Value) -> Value {
        guard let name else { return body(nil) }
        return name.withTerminated { body($0) }
    }
}

/// Gives a file the owner, extended attributes (ACLs among them), permissions and times of another.
///
/// The order matters. A change of owner takes set-user-ID bits and capabilities away, so it comes first, and permissions last: nobody but
/// root can open the file before all else is there. A store of an attribute changes no modification time, but some file systems think so: times
/// come at the end.
struct AttributeCopy {
    /// Set-user-ID bits, capabilities and device nodes are restored.
    let carriesPrivileges: Bool
    /// What could not be had: what, and why.
    var lose: (_ what: String, _ reason: String) -> Void

    private static let capability = Array("security.capability".utf8)
    private static let trusted = Array("trusted.".utf8)

    func copy(_ status: Status, from source: AttributePlace, to target: AttributePlace) {
        let owned = setOwner(status, target)
        copyExtended(from: source, to: target, withPrivileges: carriesPrivileges && owned)
        if status.kind != .symlink { setPermissions(status, target, withPrivileges: carriesPrivileges, owned: owned) }
        setTimes(status, target)
    }

    private func setOwner(_ status: Status, _ target: AttributePlace) -> Bool {
        let failure = target.withName { name in
            target.file.attempt([]) { _ in Int(kairos_restore_chown(target.file.raw, name, status.user, status.group)) }
        }
        if let failure { lose("owner", failure.description) }
        return failure == nil
    }

    private func setPermissions(_ status: Status, _ target: AttributePlace, withPrivileges: Bool, owned: Bool) {
        var mode = status.permissions
        let special = mode_t(S_ISUID | S_ISGID)
        if status.kind != .directory, mode & special != 0, !withPrivileges || !owned {
            lose(
                "set-user-ID and set-group-ID bits",
                owned ? "the dataset is mounted nosuid, and this file system is not" : "the owner is another one")
            mode &= ~special
        }
        let failure = target.file.attempt(target.name ?? []) { name in
            // Never of a symbolic link: those have no permissions, and nobody else is in this directory.
            Int(target.name == nil ? fchmod(target.file.raw, mode) : fchmodat(target.file.raw, name, mode, 0))
        }
        if let failure { lose("permissions", failure.description) }
    }

    private func setTimes(_ status: Status, _ target: AttributePlace) {
        let failure = target.withName { name in
            target.file.attempt([]) { _ in
                status.withRaw { Int(kairos_restore_times(target.file.raw, name, $0)) }
            }
        }
        if let failure { lose("times", failure.description) }
    }

    // MARK: Extended attributes

    private func copyExtended(from source: AttributePlace, to target: AttributePlace, withPrivileges: Bool) {
        let list: [UInt8]
        do throws(CallFailure) {
            list = try Self.grown { buffer in
                source.withName { kairos_restore_xattr_list(source.file.raw, $0, buffer.baseAddress, buffer.count) }
            } from: {
                source.file
            }
        } catch {
            // Of a file system without any there are none to lose.
            if error.errno != .notSupported && error.errno != .notSupportedOnSocket {
                lose("extended attributes", error.errno.description)
            }
            return
        }
        for attribute in list.split(separator: 0).map(Array.init) {
            if !withPrivileges, attribute == Self.capability || attribute.starts(with: Self.trusted) {
                lose(
                    "attribute \(SafeText.line(attribute, limit: 255))",
                    "the dataset is mounted nosuid and this file system is not, or the owner is another one")
                continue
            }
            copyExtended(attribute, from: source, to: target)
        }
    }

    private func copyExtended(_ attribute: [UInt8], from source: AttributePlace, to target: AttributePlace) {
        do throws(CallFailure) {
            let value = try Self.grown { buffer in
                source.withName { name in
                    attribute.withTerminated {
                        kairos_restore_xattr_get(source.file.raw, name, $0, buffer.baseAddress, buffer.count)
                    }
                }
            } from: {
                source.file
            }
            try target.file.call("set the attribute") { _ in
                target.withName { name in
                    attribute.withTerminated { key in
                        value.withUnsafeBytes {
                            Int(kairos_restore_xattr_set(target.file.raw, name, key, $0.baseAddress, $0.count))
                        }
                    }
                }
            }
        } catch {
            lose("attribute \(SafeText.line(attribute, limit: 255))", error.errno.description)
        }
    }

    /// What a call fills a buffer with, which is made larger until it suffices. Linux has a limit of 64 KiB, ZFS more.
    private static func grown(
        _ fill: (UnsafeMutableRawBufferPointer) -> Int, from file: () -> Opened
    ) throws(CallFailure) -> [UInt8] {
        var size = 1 << 12
        while true {
            var buffer = [UInt8](repeating: 0, count: size)
            do throws(CallFailure) {
                let count = try file().call("read the attributes") { _ in buffer.withUnsafeMutableBytes(fill) }
                return Array(buffer[..<count])
            } catch {
                guard error.errno == .outOfRange, size < 1 << 22 else { throw error }
                size *= 8
            }
        }
    }
}

/// What chattr(1) sets and a restore gives back: immutable, append-only, not to be dumped, no access times.
struct FileFlags: Equatable {
    static var mask: UInt32 { hindering | kairos_flag_nodump | kairos_flag_noatime }
    /// Nothing with these can be renamed, linked or removed.
    static var hindering: UInt32 { kairos_flag_immutable | kairos_flag_append }

    let raw: UInt32

    /// Nil where there are none, or none is set.
    init?(of file: Opened) {
        var flags: UInt32 = 0
        guard kairos_restore_flags(file.raw, &flags) == 0, flags & Self.mask != 0 else { return nil }
        raw = flags & Self.mask
    }

    var isHindering: Bool { raw & Self.hindering != 0 }

    /// The error, or nil.
    func set(on file: Opened) -> Errno? {
        file.attempt([]) { _ in
            var flags: UInt32 = 0
            guard kairos_restore_flags(file.raw, &flags) == 0 else { return -1 }
            return Int(kairos_restore_set_flags(file.raw, flags & ~Self.mask | raw))
        }
    }

    /// Takes away what keeps a file from being removed. False when there was nothing of the kind.
    static func unlock(_ file: Opened) -> Bool {
        var flags: UInt32 = 0
        guard kairos_restore_flags(file.raw, &flags) == 0, flags & hindering != 0 else { return false }
        return kairos_restore_set_flags(file.raw, flags & ~hindering) == 0
    }
}
