import CLinux
import Datasets
import Glibc
import Tracing

/// Finds the superblock that a call on a path changed, for paths that the kernel's programs cannot resolve: those of
/// several components, which may cross mounts and symbolic links.
///
/// It looks at the directories as they are now, a few milliseconds after the call. Whatever does not fit any more (a
/// directory renamed or removed since, a process in another mount namespace that has ended) comes back as unresolved,
/// and the caller then asks ZFS itself about every watched dataset. Looking may block on a dead network file system, so
/// this runs on a thread of its own.
struct PathResolver: ~Copyable {
    enum Outcome: Hashable, Sendable {
        /// Where the changed directory lies, and the record's names, the new one of a rename last; nil where a name
        /// leads nowhere any more.
        case found(DeviceNumber, [FoundName?])
        /// Why not, for people, and what of its path is still there; nil when that cannot be told.
        case unresolved(String, near: Near?)
    }

    /// The nearest directory above a name that is still there.
    struct Near: Hashable, Sendable {
        var device: DeviceNumber
        /// Its path here; nil for a starting directory that is gone itself, below which nothing can be mounted, and for one
        /// of another mount namespace.
        var path: [UInt8]?
        /// In another mount namespace: the file systems that are mounted below it there.
        var below: Set<DeviceNumber> = []
    }

    struct FoundName: Hashable, Sendable {
        /// The directory's path here.
        var directory: [UInt8]
        /// The last component below it.
        var name: [UInt8]
    }

    private let ownNamespace: UInt64
    private let ownRoot: FileIdentity?
    /// A process last seen alive in a mount namespace: short-lived ones leave nothing to look at, their shell does.
    private var witnesses: [UInt32: UInt32] = [:]
    /// Mounts of other namespaces as seen from a root directory, for as long as a batch takes.
    private var tables: [TableKey: MountTable] = [:]
    /// Namespaces with so many mounts that a user could make this process read and hold them without end.
    private var oversized: Set<UInt32> = []
    private static let mostMounts = 10_000
    private static let mostTables = 16

    private struct TableKey: Hashable {
        var namespace: UInt32
        var root: FileIdentity
    }

    init() {
        ownNamespace = FileIdentity(path: "/proc/self/ns/mnt")?.inode ?? 0
        ownRoot = FileIdentity(path: "/")
    }

    /// Called after some records were resolved, which share what is read of other namespaces.
    mutating func endBatch() { tables.removeAll() }

    /// Resolves the directories of the record's names. Both names of a rename lie in one file system, so one decides
    /// which; what the file is called takes both.
    mutating func resolve(_ record: Record, mounts: MountTable) -> Outcome {
        guard !record.hasFault else { return .unresolved("the path could not be read", near: nil) }
        var device: DeviceNumber?
        var found: [FoundName?] = []
        for name in [record.name, record.newName] {
            guard let name else { continue }
            let split = SplitName(name.text, isWhole: record.changesWhole, followsLast: record.followsLast)
            let opened = open(name, split, of: record, mounts: mounts)
            if let opened, let identity = FileIdentity(descriptor: opened.raw) {
                if let device, device != identity.device {
                    return .unresolved("its directories are other ones by now", near: nil)
                }
                device = identity.device
                found.append(FoundName(directory: opened.path(), name: split.last))
            } else {
                found.append(nil)
            }
        }
        if let device { return .found(device, found) }
        guard let name = record.name else { return .unresolved("the record has no path", near: nil) }
        let split = SplitName(name.text, isWhole: record.changesWhole, followsLast: record.followsLast)
        return .unresolved(
            "its directory is not there any more, or not reachable from here",
            near: meansTheSameHere(name, of: record)
                ? near(name, split, mounts: mounts)
                : isHere(record) ? nil : nearThere(name, split, process: record.process))
    }

    /// An absolute name counts from the process's root, which the record tells. A relative one meets that root only by
    /// `..` and absolute links, and then it must be ours.
    private func meansTheSameHere(_ name: GivenName, of record: Record) -> Bool {
        isHere(record) && (name.isAbsolute || !record.hasOtherRoot)
    }

    private func isHere(_ record: Record) -> Bool { UInt64(record.process.mountNamespace) == ownNamespace }

    private func near(_ name: GivenName, _ split: SplitName, mounts: MountTable) -> Near? {
        let gone = Near(device: name.startDevice, path: nil)
        guard let start = openStart(name, mounts: mounts) else { return gone }
        guard let found = nearest(start, split.directory, name.isAbsolute ? .inRoot : .plain),
            let identity = FileIdentity(descriptor: found.raw)
        else { return gone }
        return Self.isProcess(identity.device, mounts) ? nil : Near(device: identity.device, path: found.path())
    }

    /// The same in the process's own mount namespace, as long as one of its processes is there to lend it. Containers make and
    /// remove directories of their own all day long, and no watched dataset is mounted near those.
    private mutating func nearThere(_ name: GivenName, _ split: SplitName, process: Record.Process) -> Near? {
        let slash = UInt8(ascii: "/")
        let expected = FileIdentity(device: name.startDevice, inode: name.startInode)
        for pid in lenders(process) {
            guard let root = root(of: pid, in: process.mountNamespace),
                let table = table(of: pid, process.mountNamespace, root)
            else { continue }
            let directory: [UInt8]
            if name.isAbsolute {
                guard FileIdentity(descriptor: root.raw) == expected else { continue }
                directory = split.directory
            } else {
                // Above the root of the process, or of a start that is gone, nothing can be told.
                guard !split.climbs,
                    let start = table.path(mountID: Int32(bitPattern: name.startMount), path: name.start)
                else { continue }
                directory = start + [slash] + split.directory
            }
            guard let found = nearest(root, directory, .inRoot), let identity = FileIdentity(descriptor: found.raw),
                !Self.isProcess(identity.device, table)
            else { return nil }
            // Both are printed from the top of that namespace; its table counts from the root of the process.
            let (top, whole) = (root.path(), found.path())
            guard top == [slash] || whole == top || whole.starts(with: top + [slash]) else { return nil }
            let place = Array(whole.dropFirst(top == [slash] ? 1 : top.count + 1))
            let below = table.entries.filter { entry in
                let point = entry.mountPoint.dropFirst()
                return place.isEmpty || point.elementsEqual(place) || point.starts(with: place + [slash])
            }
            return Near(device: identity.device, path: nil, below: Set(below.map(\.device)))
        }
        return nil
    }

    /// The last directory on the way that is still there; with none of them left, the start.
    private func nearest(_ start: borrowing Descriptor, _ directory: [UInt8], _ way: Descriptor.Way) -> Descriptor? {
        let slash = UInt8(ascii: "/")
        var rest = directory
        while true {
            // One component less each time.
            while rest.last == slash { rest.removeLast() }
            while let last = rest.last, last != slash { rest.removeLast() }
            if let found = Descriptor(below: start, SplitName(directory: rest), way) { return found }
            if rest.isEmpty { return nil }
        }
    }

    /// /proc/self/fd/3 and its like mean something else to each process: here they tell nothing.
    private static func isProcess(_ device: DeviceNumber, _ mounts: MountTable) -> Bool {
        mounts.entries.contains { $0.device == device && $0.fsType == "proc" }
    }

    private mutating func open(
        _ name: GivenName, _ split: SplitName, of record: Record, mounts: MountTable
    ) -> Descriptor? {
        if meansTheSameHere(name, of: record) {
            guard let start = openStart(name, mounts: mounts) else { return nil }
            // An absolute name counts from the process's root, which is where `start` is then.
            return Descriptor(below: start, split, name.isAbsolute ? .inRoot : .plain)
        }
        // Where the way leads straight down, no root is met, whosever it is.
        if isHere(record), !split.climbs, let start = openStart(name, mounts: mounts),
            let found = Descriptor(below: start, split, .straight)
        {
            return found
        }
        return openThere(name, split, process: record.process)
    }

    /// The directory that the name starts from, if its path still leads to it.
    private func openStart(_ name: GivenName, mounts: MountTable) -> Descriptor? {
        let expected = FileIdentity(device: name.startDevice, inode: name.startInode)
        let path =
            expected == ownRoot && name.isAbsolute
            ? [UInt8(ascii: "/")] : mounts.path(mountID: Int32(bitPattern: name.startMount), path: name.start)
        guard let path, let start = Descriptor(path: path), FileIdentity(descriptor: start.raw) == expected else {
            return nil
        }
        return start
    }

    /// By the process's own root and mounts, as long as it, or its parent, is there to lend them.
    private mutating func openThere(_ name: GivenName, _ split: SplitName, process: Record.Process) -> Descriptor? {
        let expected = FileIdentity(device: name.startDevice, inode: name.startInode)
        for pid in lenders(process) {
            guard let root = root(of: pid, in: process.mountNamespace) else { continue }
            if name.isAbsolute {
                guard FileIdentity(descriptor: root.raw) == expected else { continue }
                return Descriptor(below: root, split, .inRoot)
            }
            guard
                let path = table(of: pid, process.mountNamespace, root)?.path(
                    mountID: Int32(bitPattern: name.startMount), path: name.start),
                let start = Descriptor(below: root, SplitName(directory: path), .inRoot),
                FileIdentity(descriptor: start.raw) == expected
            else { continue }
            // Symbolic links that are absolute count from its root, so the whole path is resolved within that.
            if pid == process.pid { return Descriptor(below: root, SplitName(start: path, split), .inRoot) }
            // Another process of that namespace may have another root.
            return split.climbs ? nil : Descriptor(below: start, split, .straight)
        }
        return nil
    }

    private func lenders(_ process: Record.Process) -> [UInt32] {
        [process.pid, process.parent, witnesses[process.mountNamespace] ?? 0].filter { $0 > 1 }
    }

    /// The root directory of a process, if that is in this mount namespace.
    private mutating func root(of pid: UInt32, in namespace: UInt32) -> Descriptor? {
        guard FileIdentity(path: "/proc/\(pid)/ns/mnt")?.inode == UInt64(namespace),
            let root = Descriptor(path: Array("/proc/\(pid)/root".utf8), magicLinks: true)
        else { return nil }
        witnesses[namespace] = pid
        if witnesses.count > 1024 { witnesses.removeAll() }
        return root
    }

    private mutating func table(
        of pid: UInt32, _ namespace: UInt32, _ root: borrowing Descriptor
    ) -> MountTable? {
        guard !oversized.contains(namespace), let identity = FileIdentity(descriptor: root.raw) else { return nil }
        let key = TableKey(namespace: namespace, root: identity)
        if let known = tables[key] { return known }
        guard let table = try? MountTable.read(from: "/proc/\(pid)/mountinfo") else { return nil }
        guard table.entries.count <= Self.mostMounts else {
            if oversized.count > 1024 { oversized.removeAll() }
            oversized.insert(namespace)
            return nil
        }
        if tables.count >= Self.mostTables { tables.removeAll() }
        tables[key] = table
        return table
    }
}

/// A path taken apart into what is to be opened and the last component below it.
struct SplitName {
    /// Empty: the start itself.
    var directory: [UInt8]
    var last: [UInt8]
    /// The directory is the file itself, which need not be a directory.
    var isWhole: Bool
    /// A symbolic link in the last component is followed; always for directories.
    var followsLast: Bool

    /// Whether one of its components is `..`.
    var climbs: Bool { directory.split(separator: UInt8(ascii: "/")).contains { $0.elementsEqual("..".utf8) } }

    init(_ text: [UInt8], isWhole: Bool, followsLast: Bool) {
        let slash = UInt8(ascii: "/")
        self.isWhole = isWhole
        self.followsLast = followsLast || !isWhole
        if isWhole {
            directory = text
            last = []
            return
        }
        let trimmed = Array(text.reversed().drop { $0 == slash }.reversed())
        let cut = trimmed.lastIndex(of: slash).map { $0 + 1 } ?? 0
        directory = Array(trimmed[..<cut])
        last = Array(trimmed[cut...])
    }

    init(directory: [UInt8]) {
        self.directory = directory
        last = []
        isWhole = false
        followsLast = true
    }

    init(start: [UInt8], _ rest: SplitName) {
        directory = start + [UInt8(ascii: "/")] + rest.directory
        last = rest.last
        isWhole = rest.isWhole
        followsLast = rest.followsLast
    }
}

/// Which file it is, whatever its name.
struct FileIdentity: Hashable {
    var device: DeviceNumber
    var inode: UInt64

    init(device: DeviceNumber, inode: UInt64) {
        self.device = device
        self.inode = inode
    }

    init?(descriptor: CInt) {
        var status = stat()
        guard fstat(descriptor, &status) == 0, let device = DeviceNumber(stDevice: UInt64(status.st_dev)) else {
            return nil
        }
        self.init(device: device, inode: UInt64(status.st_ino))
    }

    init?(path: String) {
        var status = stat()
        guard stat(path, &status) == 0, let device = DeviceNumber(stDevice: UInt64(status.st_dev)) else { return nil }
        self.init(device: device, inode: UInt64(status.st_ino))
    }
}

/// A file opened with O_PATH: to be looked at, neither read nor blocked on.
struct Descriptor: ~Copyable {
    let raw: CInt

    /// A directory by its path in this mount namespace.
    init?(path: [UInt8], magicLinks: Bool = false) {
        self.init(
            raw: Self.open(
                AT_FDCWD, path, flags: kairos_open_path_directory,
                resolve: magicLinks ? 0 : kairos_resolve_no_magiclinks))
    }

    /// A file by its path in this mount namespace; a symbolic link in the last component is not followed.
    init?(file path: [UInt8]) {
        self.init(
            raw: Self.open(
                AT_FDCWD, path, flags: kairos_open_path | UInt64(O_NOFOLLOW), resolve: kairos_resolve_no_magiclinks))
    }

    /// How a path may lead away from where it starts.
    enum Way {
        /// As paths do.
        case plain
        /// As if the start were the root directory.
        case inRoot
        /// Not at all, and by no symbolic link.
        case straight

        fileprivate var flags: UInt64 {
            switch self {
            case .plain: kairos_resolve_no_magiclinks
            case .inRoot: kairos_resolve_in_root
            case .straight: kairos_resolve_beneath | kairos_resolve_no_symlinks
            }
        }
    }

    /// What `name` names below `start`.
    init?(below start: borrowing Descriptor, _ name: SplitName, _ way: Way) {
        let path = name.directory.isEmpty ? [UInt8(ascii: ".")] : name.directory
        let flags = name.isWhole ? kairos_open_path : kairos_open_path_directory
        self.init(
            raw: Self.open(
                start.raw, path, flags: name.followsLast ? flags : flags | UInt64(O_NOFOLLOW),
                resolve: way.flags))
    }

    init?(raw: CInt) {
        guard raw >= 0 else { return nil }
        self.raw = raw
    }

    deinit { close(raw) }

    /// Its path in this mount namespace, as the kernel prints it.
    func path() -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Int(PATH_MAX)) { bytes, count in
            guard let base = bytes.baseAddress else { return }
            count = max(0, readlink("/proc/self/fd/\(raw)", base, bytes.count))
        }
    }

    private static func open(_ directory: CInt, _ path: [UInt8], flags: UInt64, resolve: UInt64) -> CInt {
        (path + [0]).withUnsafeBytes { bytes in
            guard let base = bytes.assumingMemoryBound(to: CChar.self).baseAddress else { return -1 }
            return kairos_openat2(directory, base, flags, resolve)
        }
    }
}
