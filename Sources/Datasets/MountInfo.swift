/// A device number as the kernel keeps it in `sb->s_dev`, and as mountinfo and `stat` show it in other shapes.
public struct DeviceNumber: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The major number, 12 bits (`MINORBITS` is 20 of 32).
    public let major: UInt32
    /// The minor number, 20 bits.
    public let minor: UInt32

    /// A device number, or nil when a part does not fit the kernel's 12 + 20 bits.
    public init?(major: UInt32, minor: UInt32) {
        guard major <= 0xFFF, minor <= 0xF_FFFF else { return nil }
        self.major = major
        self.minor = minor
    }

    /// From the kernel's own `dev_t`, `MKDEV(major, minor)`: what BPF programs read from `sb->s_dev`.
    public init(kernel device: UInt32) {
        major = device >> 20
        minor = device & 0xF_FFFF
    }

    /// From `st_dev` as glibc encodes it (`gnu_dev_makedev`, <sys/sysmacros.h>), or nil when no Linux kernel made it.
    public init?(stDevice device: UInt64) {
        let major = ((device >> 8) & 0xFFF) | ((device >> 32) & 0xFFFF_F000)
        let minor = (device & 0xFF) | ((device >> 12) & 0xFFFF_FF00)
        self.init(major: UInt32(truncatingIfNeeded: major), minor: UInt32(truncatingIfNeeded: minor))
    }

    /// The kernel's internal encoding, `major << 20 | minor`: equal to `sb->s_dev`.
    public var kernel: UInt32 { major << 20 | minor }

    /// glibc's encoding: equal to `st_dev`.
    public var stDevice: UInt64 {
        UInt64(major) << 8 | UInt64(minor & 0xFF) | UInt64(minor & 0xF_FF00) << 12
    }

    /// `major:minor`, as mountinfo shows it.
    public var description: String { "\(major):\(minor)" }

    /// By major, then minor number.
    public static func < (left: Self, right: Self) -> Bool { left.kernel < right.kernel }
}

/// One line of `/proc/PID/mountinfo`, proc_pid_mountinfo(5). Paths are bytes: Linux promises no encoding.
public struct MountEntry: Hashable, Sendable {
    /// The mount's ID, unique while it is mounted, reused after.
    public var mountID: Int32
    /// The ID of the mount that this one sits on; of itself or of one outside this namespace at the root.
    public var parentID: Int32
    /// The superblock's device, equal to `st_dev` of its files.
    public var device: DeviceNumber
    /// The directory of the file system that forms the mount's root: `/` unless it is a bind mount of a part.
    public var root: [UInt8]
    /// Where it is mounted, as seen from the reader's root.
    public var mountPoint: [UInt8]
    /// The file system's type, such as `zfs` or `fuse.zfs`.
    public var fsType: String
    /// What is mounted: for ZFS the dataset's name. A FUSE mount has any text here that its mounter chose.
    public var source: [UInt8]
    /// The user who mounted a FUSE file system, in numbers of the mounter's user namespace. The kernel writes it, so
    /// the mounter cannot choose it. Nil for other file systems, and where it is not shown exactly once.
    public var fuseUser: UInt32?

    /// An entry with all its parts.
    public init(
        mountID: Int32, parentID: Int32, device: DeviceNumber, root: [UInt8], mountPoint: [UInt8], fsType: String,
        source: [UInt8], fuseUser: UInt32? = nil
    ) {
        self.mountID = mountID
        self.parentID = parentID
        self.device = device
        self.root = root
        self.mountPoint = mountPoint
        self.fsType = fsType
        self.source = source
        self.fuseUser = fuseUser
    }
}

/// The text of `/proc/PID/mountinfo`, taken apart.
public struct MountInfo: Hashable, Sendable {
    /// The entries in the file's order.
    public var entries: [MountEntry] = []
    /// Lines that could not be read: always 0 with a kernel of today; anything else is worth a warning.
    public var malformedLines = 0

    /// Takes the file's bytes apart; a line that does not fit the format is counted and left out.
    public init(parsing bytes: some Collection<UInt8>) {
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            if let entry = Self.entry(line) {
                entries.append(entry)
            } else {
                malformedLines += 1
            }
        }
    }

    /// `36 35 98:0 /root /mount rw,noatime shared:1 master:2 - type source options`
    private static func entry(_ line: some Collection<UInt8>) -> MountEntry? {
        // An empty source is two spaces in a row, so empty fields count.
        let fields = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        guard fields.count >= 9,
            let separator = fields[6...].firstIndex(where: { $0.elementsEqual([UInt8(ascii: "-")]) }),
            fields.count >= separator + 3,
            let mountID = number(fields[0], as: Int32.self),
            let parentID = number(fields[1], as: Int32.self),
            let device = device(fields[2]),
            !fields[3].isEmpty, fields[4].first == UInt8(ascii: "/"), !fields[separator + 1].isEmpty
        else { return nil }
        let fsType = String(decoding: unescape(fields[separator + 1]), as: UTF8.self)
        return MountEntry(
            mountID: mountID, parentID: parentID, device: device,
            root: unescape(fields[3]), mountPoint: unescape(fields[4]), fsType: fsType,
            source: unescape(fields[separator + 2]),
            fuseUser: fsType.hasPrefix("fuse") ? fuseUser(fields.dropFirst(separator + 3)) : nil
        )
    }

    /// `rw,user_id=0,group_id=0,allow_other`: one field. More than one field is no line of this kernel.
    private static func fuseUser(_ superOptions: some Collection<some Collection<UInt8>>) -> UInt32? {
        guard superOptions.count == 1, let options = superOptions.first else { return nil }
        let key = Array("user_id=".utf8)
        let users = options.split(separator: UInt8(ascii: ",")).filter { $0.starts(with: key) }
        guard users.count == 1, let user = users.first else { return nil }
        return number(user.dropFirst(key.count), as: UInt32.self)
    }

    private static func device(_ field: some Collection<UInt8>) -> DeviceNumber? {
        let parts = field.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        guard parts.count == 2, let major = number(parts[0], as: UInt32.self),
            let minor = number(parts[1], as: UInt32.self)
        else { return nil }
        return DeviceNumber(major: major, minor: minor)
    }

    private static func number<Number: FixedWidthInteger>(
        _ field: some Collection<UInt8>, as: Number.Type
    ) -> Number? {
        Number(String(decoding: field, as: UTF8.self))
    }

    /// Undoes the kernel's `mangle_path`: a backslash and three octal digits stand for one byte.
    ///
    /// A backslash that no valid escape follows stands for itself.
    static func unescape(_ field: some Collection<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(field.count)
        var rest = field[...]
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            if byte == UInt8(ascii: "\\"), digits.count == 3, let value = octal(digits) {
                result.append(value)
                rest = rest.dropFirst(3)
            } else {
                result.append(byte)
            }
        }
        return result
    }

    private static func octal(_ digits: some Collection<UInt8>) -> UInt8? {
        var value = 0
        for digit in digits {
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "7") else { return nil }
            value = value * 8 + Int(digit - UInt8(ascii: "0"))
        }
        return UInt8(exactly: value)
    }

    /// What the kernel writes for a path (fs/proc_namespace.c escapes " \t\n\\#").
    static func escape(_ bytes: some Collection<UInt8>) -> [UInt8] {
        bytes.flatMap { byte -> [UInt8] in
            guard " \t\n\\#".utf8.contains(byte) else { return [byte] }
            return [UInt8(ascii: "\\"), 0x30 + (byte >> 6), 0x30 + (byte >> 3 & 7), 0x30 + (byte & 7)]
        }
    }
}
