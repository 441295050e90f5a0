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
    public static let all = Operations(named.map(\.operation))
    /// Those at which a version is complete.
    public static let commits: Operations = [.close, .sync, .unlink, .rename]

    /// Every operation with the word that commands show for it, in the order of bpf/kairos.h.
    public static let named: [(operation: Operations, name: String)] = [
        (.create, "create"), (.write, "write"), (.truncate, "truncate"), (.store, "store"), (.mkdir, "mkdir"),
        (.unlink, "unlink"), (.rmdir, "rmdir"), (.rename, "rename"), (.link, "link"), (.attr, "attr"),
        (.map, "map"), (.close, "close"), (.sync, "sync"),
    ]

    /// The word of one operation.
    public var word: String {
        // Its bit is its place: this is on the way of every event of a trace.
        let place = rawValue.trailingZeroBitCount
        return place < Self.named.count ? Self.named[place].name : ""
    }

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
        /// `comm`, chosen by the process itself.
        public var name: CommandName
        public var command: [UInt8] { name.bytes }
        /// The inode of its mount namespace, as `/proc/PID/ns/mnt` shows it.
        public var mountNamespace: UInt32
    }

    public var kind: Kind
    public var operation: Operations
    /// CLOCK_MONOTONIC, nanoseconds.
    public var time: UInt64
    /// When its call began: it was done between then and `time`. Equal to `time` where that is not known.
    public var begun: UInt64
    /// The epoch that the slot was marked in; 0 without a slot.
    public var epoch: UInt64
    public var slot: Int?
    public var process: Process
    /// What the system call returned; 0 where there was none. Negative: an error number, in a trace that shows failures.
    public var result: Int64
    /// In a trace: where in the file, and how many bytes. Of a truncation the new size.
    public var offset: Int64?
    public var bytes: UInt64
    /// The system call's number, nil for a change that no call made (a store to memory).
    public var systemCall: UInt32?
    /// The file. For a call on names: of the starting directory of the first one.
    public var device: DeviceNumber
    public var inode: UInt64
    public var generation: UInt32
    /// The ID of the mount by which it was reached, 0 where that is not known.
    public var mount: UInt32
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
    /// In a trace by trees: the programs have found that it lies below one of them.
    public var isBelow: Bool
    public var isDirectory: Bool
    /// The file had no name any more.
    public var isUnlinked: Bool
    /// Seen before it was done.
    public var isEarly: Bool
    /// The program that saw it.
    public var probe: Probe
}

/// `comm` of a process: at most 15 bytes, kept in place, since there is one in every record.
public struct CommandName: Hashable, Sendable, BitwiseCopyable {
    private var low: UInt64
    private var high: UInt64

    public init(_ bytes: some Collection<UInt8>) {
        low = 0
        high = 0
        withUnsafeMutableBytes(of: &self) { $0.copyBytes(from: bytes.prefix(15)) }
    }

    init(_ comm: borrowing kairos_record) {
        (low, high) = withUnsafeBytes(of: comm.comm) {
            ($0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        }
        // What lies behind the NUL is of no meaning.
        let count = withUnsafeBytes(of: self) { $0.firstIndex(of: 0) ?? 16 }
        withUnsafeMutableBytes(of: &self) { for index in count..<16 { $0[index] = 0 } }
    }

    public var bytes: [UInt8] { withBytes { Array($0) } }

    public func withBytes<Result>(_ body: (UnsafeBufferPointer<UInt8>) -> Result) -> Result {
        withUnsafeBytes(of: self) { all in
            let count = all.firstIndex(of: 0) ?? 16
            return body(UnsafeBufferPointer(rebasing: all.bindMemory(to: UInt8.self)[..<count]))
        }
    }
}

/// `enum kairos_probe`: which program saw a change.
public struct Probe: RawRepresentable, Hashable, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    init(_ probe: kairos_probe) { rawValue = probe.rawValue }

    /// The tracepoint or function of the kernel that each is on, in the order of bpf/kairos.h.
    public static let names: [StaticString] = {
        var names = [StaticString](repeating: "", count: Int(KAIROS_PROBES.rawValue))
        let known: [(kairos_probe, StaticString)] = [
            (KAIROS_PROBE_SYSCALLS, "sys_exit"),
            (KAIROS_PROBE_CLOSE, "sys_enter"),
            (KAIROS_PROBE_FOLIO, "writeback_dirty_folio"),
            (KAIROS_PROBE_EXIT, "sched_process_exit"),
            (KAIROS_PROBE_IO_URING_COMPLETE, "io_uring_complete"),
            (KAIROS_PROBE_IO_URING_SUBMIT, "io_uring_submit_req"),
            (KAIROS_PROBE_WRITE, "vfs_write"),
            (KAIROS_PROBE_WRITEV, "vfs_writev"),
            (KAIROS_PROBE_ITER_WRITE, "vfs_iter_write"),
            (KAIROS_PROBE_IOCB_WRITE, "vfs_iocb_iter_write"),
            (KAIROS_PROBE_KERNEL_WRITE, "__kernel_write_iter"),
            (KAIROS_PROBE_KERNEL_THREAD, "generic_write_checks"),
            (KAIROS_PROBE_SPLICE, "iter_file_splice_write"),
            (KAIROS_PROBE_IO_URING, "io_write"),
            (KAIROS_PROBE_AIO, "aio_complete_rw"),
            (KAIROS_PROBE_COPY, "vfs_copy_file_range"),
            (KAIROS_PROBE_CLONE, "vfs_clone_file_range"),
            (KAIROS_PROBE_FALLOCATE, "vfs_fallocate"),
            (KAIROS_PROBE_SETATTR, "notify_change"),
            (KAIROS_PROBE_OPEN, "do_filp_open"),
            (KAIROS_PROBE_CREATE, "vfs_create"),
            (KAIROS_PROBE_MKDIR, "vfs_mkdir"),
            (KAIROS_PROBE_MKNOD, "vfs_mknod"),
            (KAIROS_PROBE_SYMLINK, "vfs_symlink"),
            (KAIROS_PROBE_LINK, "vfs_link"),
            (KAIROS_PROBE_UNLINK, "vfs_unlink"),
            (KAIROS_PROBE_RMDIR, "vfs_rmdir"),
            (KAIROS_PROBE_RENAME, "vfs_rename"),
            (KAIROS_PROBE_XATTR, "vfs_setxattr"),
            (KAIROS_PROBE_ACL, "vfs_set_acl"),
            (KAIROS_PROBE_FILEATTR, "vfs_fileattr_set"),
            (KAIROS_PROBE_IOCTL, "sys_ioctl"),
            (KAIROS_PROBE_FPUT, "__fput"),
            (KAIROS_PROBE_FSYNC, "vfs_fsync_range"),
            (KAIROS_PROBE_MMAP, "vm_mmap_pgoff"),
        ]
        for (probe, name) in known { names[Int(probe.rawValue)] = name }
        return names
    }()
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
        begun = raw.begun_ns
        epoch = raw.epoch
        slot = raw.slot == KAIROS_NO_SLOT ? nil : Int(raw.slot)
        process = Process(
            pid: raw.pid, thread: raw.tid, parent: raw.ppid, user: raw.uid, name: CommandName(raw),
            mountNamespace: raw.mount_ns)
        result = raw.result
        offset = raw.offset == KAIROS_NO_OFFSET ? nil : raw.offset
        self.bytes = raw.bytes
        systemCall = raw.syscall == KAIROS_NO_SYSCALL ? nil : raw.syscall
        device = DeviceNumber(kernel: raw.device)
        inode = raw.inode
        generation = raw.generation
        mount = raw.mount
        probe = Probe(rawValue: raw.probe)
        func has(_ flag: kairos_record_flag) -> Bool { raw.flags & flag.rawValue != 0 }
        isTruncated = has(KAIROS_F_TRUNCATED)
        hasFault = has(KAIROS_F_FAULT)
        changesWhole = has(KAIROS_F_WHOLE)
        followsLast = has(KAIROS_F_FOLLOW)
        hasOtherRoot = has(KAIROS_F_OTHER_ROOT)
        dirtied = has(KAIROS_F_DIRTIED)
        isBelow = has(KAIROS_F_BELOW)
        isDirectory = has(KAIROS_F_DIRECTORY)
        isUnlinked = has(KAIROS_F_UNLINKED)
        isEarly = has(KAIROS_F_EARLY)

        let (path, newPath, name, newName) = bytes.withUnsafeBytes { buffer in
            var at = fixed
            func take(_ length: UInt16) -> UnsafeRawBufferPointer {
                defer { at += Int(length) }
                return UnsafeRawBufferPointer(rebasing: buffer[at..<at + Int(length)])
            }
            // The strings end with their NUL, so that an empty one differs from none.
            let (text, walked, text2, walked2) = (
                take(raw.name_len), take(raw.path_len), take(raw.name2_len), take(raw.path2_len)
            )
            var (path, newPath): ([UInt8]?, [UInt8]?)
            var (name, newName): (GivenName?, GivenName?)
            if text.isEmpty {
                if !walked.isEmpty || raw.inode != 0 && raw.op != KAIROS_OP_CLOSE.rawValue {
                    path = Self.path(leafFirst: walked)
                }
                if !walked2.isEmpty { newPath = Self.path(leafFirst: walked2) }
            } else {
                name = GivenName(
                    text: Array(text.dropLast()), start: Self.path(leafFirst: walked),
                    startDevice: DeviceNumber(kernel: raw.device), startInode: raw.inode, startMount: raw.mount,
                    isAbsolute: raw.flags & KAIROS_F_ABSOLUTE.rawValue != 0)
            }
            if !text2.isEmpty {
                newName = GivenName(
                    text: Array(text2.dropLast()), start: Self.path(leafFirst: walked2),
                    startDevice: DeviceNumber(kernel: raw.device2), startInode: raw.inode2, startMount: raw.mount2,
                    isAbsolute: raw.flags & KAIROS_F_ABSOLUTE2.rawValue != 0)
            }
            return (path, newPath, name, newName)
        }
        self.path = path
        self.newPath = newPath
        self.name = name
        self.newName = newName
    }

    /// `c\0b\0a\0`, as the programs walk it, to `/a/b/c`. Nothing walked is the root.
    static func path(leafFirst components: UnsafeRawBufferPointer) -> [UInt8] {
        guard !components.isEmpty else { return [UInt8(ascii: "/")] }
        // Each component gives up a NUL and takes a slash, so the length stays; they are copied from the end on.
        let total = components.count + (components[components.count - 1] == 0 ? 0 : 1)
        return [UInt8](unsafeUninitializedCapacity: total) { buffer, count in
            var end = total
            var start = 0
            while start < components.count {
                var next = start
                while next < components.count, components[next] != 0 { next += 1 }
                end -= next - start + 1
                buffer.initializeElement(at: end, to: UInt8(ascii: "/"))
                for index in 0..<next - start {
                    buffer.initializeElement(at: end + 1 + index, to: components[start + index])
                }
                start = next + 1
            }
            count = total
        }
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
