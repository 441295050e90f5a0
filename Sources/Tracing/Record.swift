import CBPFObjects
import Datasets

/// What was done to a file, as a set of the `KAIROS_OP_*` bits of bpf/kairos.h.
public struct Operations: OptionSet, Hashable, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    private init(_ op: kairos_op) { rawValue = op.rawValue }

    public static let create = Operations(KAIROS_OP_CREATE)
    public static let write = Operations(KAIROS_OP_WRITE)
    public static let truncate = Operations(KAIROS_OP_TRUNCATE)
    /// The first store to a clean page of a shared mapping.
    public static let store = Operations(KAIROS_OP_STORE)
    public static let mkdir = Operations(KAIROS_OP_MKDIR)
    public static let unlink = Operations(KAIROS_OP_UNLINK)
    public static let rmdir = Operations(KAIROS_OP_RMDIR)
    public static let rename = Operations(KAIROS_OP_RENAME)
    /// A further name for a file.
    public static let link = Operations(KAIROS_OP_LINK)
    /// Mode, owner, times, extended attributes or flags.
    public static let attr = Operations(KAIROS_OP_ATTR)
    /// Mapped shared and writable: no change yet.
    public static let map = Operations(KAIROS_OP_MAP)
    /// Close of a file that was written through this descriptor.
    public static let close = Operations(KAIROS_OP_CLOSE)
    public static let sync = Operations(KAIROS_OP_SYNC)

    /// The operations that change what a snapshot would hold.
    public static let changes = Operations(rawValue: KAIROS_OPS_CHANGE)
    /// Those at which a version is complete.
    public static let commits: Operations = [.close, .sync, .unlink, .rename]

    /// Every operation with the word that commands show for it, in the order of bpf/kairos.h.
    public static let named: [(operation: Operations, name: String)] = [
        (.create, "create"), (.write, "write"), (.truncate, "truncate"), (.store, "store"), (.mkdir, "mkdir"),
        (.unlink, "unlink"), (.rmdir, "rmdir"), (.rename, "rename"), (.link, "link"), (.attr, "attr"),
        (.map, "map"), (.close, "close"), (.sync, "sync"),
    ]

    /// The words of the set's operations, joined by `+`.
    public var name: String {
        Self.named.filter { contains($0.operation) }.map(\.name).joined(separator: "+")
    }
}

/// Where a path that a process gave to a system call started, and the path itself.
public struct GivenName: Hashable, Sendable {
    /// The string, without its NUL. Any bytes but NUL.
    public var text: [UInt8]
    /// The directory that it started from, as a path from the root of that directory's superblock: begins with `/`.
    public var start: [UInt8]
    public var startDevice: DeviceNumber
    public var startInode: UInt64
    /// The ID of the mount by which the process had that directory open.
    public var startMount: UInt32
    /// The string is absolute: the start is the process's root directory.
    public var isAbsolute: Bool
}

/// One record of the ring, decoded.
public struct Record: Hashable, Sendable {
    public enum Kind: UInt32, Sendable {
        /// A change (or commit point) whose dataset the kernel knew.
        case change = 1
        /// A change by a path whose dataset must be resolved.
        case candidate = 2
        /// A `zfs` or `zpool` command ended.
        case zfsCommand = 3
        /// ZFS dirtied a dataset that was clean. No detail.
        case dirty = 4
    }

    public struct Process: Hashable, Sendable {
        public var pid: UInt32
        public var thread: UInt32
        public var parent: UInt32
        public var user: UInt32
        /// `comm`: at most 15 bytes, chosen by the process itself.
        public var command: [UInt8]
        /// The inode of its mount namespace, as `/proc/PID/ns/mnt` shows it.
        public var mountNamespace: UInt32
    }

    public var kind: Kind
    public var operation: Operations
    /// CLOCK_MONOTONIC, nanoseconds.
    public var time: UInt64
    /// The epoch that the slot was marked in; 0 without a slot.
    public var epoch: UInt64
    public var slot: Int?
    public var process: Process
    /// What the system call returned; 0 where there was none.
    public var result: Int64
    /// The system call's number, nil for a change that no call made (a store to memory).
    public var systemCall: UInt32?
    /// The file. For a call on names: of the starting directory of the first one.
    public var device: DeviceNumber
    public var inode: UInt64
    public var generation: UInt32
    /// The path of the file from its superblock's root; nil for calls on names and where it is not known.
    public var path: [UInt8]?
    /// Where a rename of a known file led to; `path` is then where it was.
    public var newPath: [UInt8]?
    /// The name that the process gave, and for a rename the new name.
    public var name: GivenName?
    public var newName: GivenName?
    /// A path was cut short at its beginning or a string at its end.
    public var isTruncated: Bool
    /// A string of the process's could not be read.
    public var hasFault: Bool
    /// The named file itself was changed, and not the directory that holds its name.
    public var changesWhole: Bool
    /// With `changesWhole`: a symbolic link in the last component is followed.
    public var followsLast: Bool
    /// The process's root directory is not Kairos's: `..` and absolute symbolic links on its paths mean other things.
    public var hasOtherRoot: Bool
    /// This change took its slot from clean to dirty.
    public var dirtied: Bool
}

extension Record {
    /// Decodes a record, or nil when its bytes do not fit its lengths (a program and an executable that differ).
    public init?(_ bytes: RawSpan) {
        let fixed = MemoryLayout<kairos_record>.size
        guard bytes.byteCount >= fixed else { return nil }
        let raw = bytes.unsafeLoadUnaligned(as: kairos_record.self)
        let tail = Int(raw.name_len) + Int(raw.path_len) + Int(raw.name2_len) + Int(raw.path2_len)
        guard bytes.byteCount >= fixed + tail, let kind = Kind(rawValue: raw.kind) else { return nil }
        self.kind = kind
        operation = Operations(rawValue: raw.op)
        time = raw.time_ns
        epoch = raw.epoch
        slot = raw.slot == KAIROS_NO_SLOT ? nil : Int(raw.slot)
        process = Process(
            pid: raw.pid, thread: raw.tid, parent: raw.ppid, user: raw.uid,
            command: withUnsafeBytes(of: raw.comm) { Array($0.prefix { $0 != 0 }) }, mountNamespace: raw.mount_ns)
        result = raw.result
        systemCall = raw.syscall == KAIROS_NO_SYSCALL ? nil : raw.syscall
        device = DeviceNumber(kernel: raw.device)
        inode = raw.inode
        generation = raw.generation
        isTruncated = raw.flags & KAIROS_F_TRUNCATED.rawValue != 0
        hasFault = raw.flags & KAIROS_F_FAULT.rawValue != 0
        changesWhole = raw.flags & KAIROS_F_WHOLE.rawValue != 0
        followsLast = raw.flags & KAIROS_F_FOLLOW.rawValue != 0
        hasOtherRoot = raw.flags & KAIROS_F_OTHER_ROOT.rawValue != 0
        dirtied = raw.flags & KAIROS_F_DIRTIED.rawValue != 0

        var at = fixed
        func take(_ length: UInt16) -> [UInt8] {
            defer { at += Int(length) }
            return (at..<at + Int(length)).map { bytes.unsafeLoad(fromByteOffset: $0, as: UInt8.self) }
        }
        // The strings end with their NUL, so that an empty one differs from none.
        let text = take(raw.name_len)
        let walked = Self.path(leafFirst: take(raw.path_len))
        let text2 = take(raw.name2_len)
        let walked2 = Self.path(leafFirst: take(raw.path2_len))
        if text.isEmpty {
            path = raw.path_len > 0 || raw.inode != 0 && raw.op != KAIROS_OP_CLOSE.rawValue ? walked : nil
            newPath = raw.path2_len > 0 ? walked2 : nil
        } else {
            name = GivenName(
                text: text.dropLast(), start: walked, startDevice: device, startInode: raw.inode,
                startMount: raw.mount, isAbsolute: raw.flags & KAIROS_F_ABSOLUTE.rawValue != 0)
        }
        if !text2.isEmpty {
            newName = GivenName(
                text: text2.dropLast(), start: walked2, startDevice: DeviceNumber(kernel: raw.device2),
                startInode: raw.inode2, startMount: raw.mount2,
                isAbsolute: raw.flags & KAIROS_F_ABSOLUTE2.rawValue != 0)
        }
    }

    /// `c\0b\0a\0`, as the programs walk it, to `/a/b/c`. Nothing walked is the root.
    static func path(leafFirst components: [UInt8]) -> [UInt8] {
        var path: [UInt8] = []
        path.reserveCapacity(components.count + 1)
        for component in components.split(separator: 0).reversed() {
            path.append(UInt8(ascii: "/"))
            path.append(contentsOf: component)
        }
        return path.isEmpty ? [UInt8(ascii: "/")] : path
    }
}

extension GivenName {
    /// The name as a path from the root of the superblock that it starts in, when it is one component below an open
    /// directory: exact then. Nil for names that may cross mounts or symbolic links.
    public var pathInSuperblock: [UInt8]? {
        let slash = UInt8(ascii: "/")
        let component = text.reversed().drop { $0 == slash }.reversed()
        if text.isEmpty { return start }
        guard !isAbsolute, !component.isEmpty, !component.contains(slash) else { return nil }
        return (start == [slash] ? [] : start) + [slash] + component
    }
}
