import Datasets

/// What stands at a path.
public enum FileKind: String, Sendable, Hashable, CaseIterable {
    case file, directory, symlink, fifo, socket
    case blockDevice = "block device"
    case characterDevice = "character device"

    /// From `st_mode`; nil for what no kernel makes.
    public init?(mode: UInt32) {
        switch mode & 0o170000 {
        case 0o100000: self = .file
        case 0o040000: self = .directory
        case 0o120000: self = .symlink
        case 0o010000: self = .fifo
        case 0o140000: self = .socket
        case 0o060000: self = .blockDevice
        case 0o020000: self = .characterDevice
        default: return nil
        }
    }

    /// From `d_type` of a directory's entry; nil where the file system does not tell.
    init?(entryType: UInt8) { self.init(mode: UInt32(entryType) << 12) }
}

/// A file's time, as exact as it is kept.
public struct FileTime: Sendable, Hashable, Comparable {
    /// Since 1970.
    public var seconds: Int64
    /// Of the second.
    public var nanoseconds: UInt32

    public init(seconds: Int64, nanoseconds: UInt32 = 0) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    public static func < (left: Self, right: Self) -> Bool {
        (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
    }
}

/// What tells one version of a file from another, and what there is to say of it. The time of the last reading is no part of it.
public struct FileStatus: Sendable, Hashable {
    public var kind: FileKind
    public var inode: UInt64
    /// Bytes; of a directory what its file system calls its size.
    public var size: UInt64
    /// Permissions, with set-user-ID and the like.
    public var mode: UInt32
    public var user: UInt32
    public var group: UInt32
    /// Names of the file.
    public var links: UInt32
    public var modified: FileTime
    public var changed: FileTime
    /// Nil where the file system does not tell.
    public var born: FileTime?
    /// Which device a device node is; nil for all else.
    public var node: DeviceNumber?

    public init(
        kind: FileKind, inode: UInt64, size: UInt64 = 0, mode: UInt32 = 0o644, user: UInt32 = 0, group: UInt32 = 0,
        links: UInt32 = 1, modified: FileTime = FileTime(seconds: 0), changed: FileTime = FileTime(seconds: 0),
        born: FileTime? = nil, node: DeviceNumber? = nil
    ) {
        self.kind = kind
        self.inode = inode
        self.size = size
        self.mode = mode
        self.user = user
        self.group = group
        self.links = links
        self.modified = modified
        self.changed = changed
        self.born = born
        self.node = node
    }
}

/// A name in a directory.
public struct DirectoryEntry: Sendable, Hashable {
    /// Hostile bytes, without a slash.
    public var name: [UInt8]
    public var inode: UInt64
    /// Nil where the file system does not tell with the name.
    public var kind: FileKind?

    public init(name: [UInt8], inode: UInt64, kind: FileKind?) {
        self.name = name
        self.inode = inode
        self.kind = kind
    }
}
