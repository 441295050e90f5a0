import Datasets
import Tracing

/// Which paths and file systems the records' devices and mount IDs mean, by the mounts of the moment. Looked up for each
/// event, so what the table says is kept at hand.
public struct TracePlaces: Sendable {
    private let mounts: MountTable
    private var byDevice: [DeviceNumber: TracePlace] = [:]
    /// Where a mount lies whose root is that of its file system, without a slash at its end: its paths are joined to it.
    private var whole: [UInt32: [UInt8]] = [:]

    /// One that was just looked up is mostly looked up again.
    private var lastPlace: (device: DeviceNumber, place: TracePlace)?
    private var lastMount: (id: UInt32, prefix: [UInt8])?
    private var lastDirectory: (path: ArraySlice<UInt8>, device: DeviceNumber?)?

    private static let slash = UInt8(ascii: "/")

    /// - Parameter before: records may still tell of mounts that are gone by now.
    public init(_ mounts: MountTable, after before: TracePlaces? = nil) {
        self.mounts = mounts
        if let before { whole = before.whole }
        for entry in mounts.entries where entry.root == [Self.slash] {
            whole[UInt32(bitPattern: entry.mountID)] = entry.mountPoint == [Self.slash] ? [] : entry.mountPoint
        }
    }

    mutating func place(of device: DeviceNumber) -> TracePlace {
        if let last = lastPlace, last.device == device { return last.place }
        if let known = byDevice[device] {
            lastPlace = (device, known)
            return known
        }
        let place =
            if let dataset = mounts.dataset(on: device) {
                TracePlace(name: Array(dataset.name.utf8), isDataset: true)
            } else if let entry = mounts.entries.first(where: { $0.device == device }) {
                TracePlace(name: Array(entry.fsType.utf8), isDataset: false)
            } else {
                // Not mounted here: memfd_create(2), another namespace's, or unmounted since.
                TracePlace(name: Array(device.description.utf8), isDataset: false)
            }
        byDevice[device] = place
        return place
    }

    /// The device of a file that only a path is known of: of the mount that the path lies below.
    mutating func device(of path: [UInt8]) -> DeviceNumber? {
        let directory = path.lastIndex(of: Self.slash).map { path[..<$0] } ?? []
        if let last = lastDirectory, last.path == directory { return last.device }
        var best: MountEntry?
        var isUniform = true
        for entry in mounts.entries {
            // Of two on the same directory the later one lies on top.
            if TraceFilter.isBelow(path, entry.mountPoint), entry.mountPoint.count >= best?.mountPoint.count ?? 0 {
                best = entry
            }
            if entry.mountPoint.lastIndex(of: Self.slash) == directory.count, entry.mountPoint.starts(with: directory) {
                isUniform = false
            }
        }
        // In a directory with mount points its names lie on different devices.
        if isUniform { lastDirectory = (directory, best?.device) }
        return best?.device
    }

    /// The path of a file from its superblock's root, as it is seen here. Of one that lost its beginning what is left,
    /// without a slash at its head; nil if nothing is.
    mutating func path(_ record: Record, _ path: [UInt8]) -> [UInt8]? {
        guard record.isTruncated else { return join(record.mount, record.device, path) }
        return path.count > 1 ? Array(path.dropFirst()) : nil
    }

    /// The mount point of a mount of a whole file system.
    private mutating func prefix(of mount: UInt32) -> [UInt8]? {
        if let last = lastMount, last.id == mount { return last.prefix }
        guard let prefix = whole[mount] else { return nil }
        lastMount = (mount, prefix)
        return prefix
    }

    /// Nil where neither the mount nor the superblock is one of this namespace: memfd_create(2), another namespace's, or gone.
    private mutating func join(_ mount: UInt32, _ device: DeviceNumber, _ path: [UInt8]) -> [UInt8]? {
        guard let prefix = prefix(of: mount) else {
            return mounts.path(mountID: Int32(bitPattern: mount), path: path) ?? mounts.path(device: device, path: path)
        }
        return prefix.isEmpty ? path : path == [Self.slash] ? prefix : prefix + path
    }

    /// The name as it was given, from where it started; `.` and `..` are taken out by their text alone. Of a start that lost
    /// its beginning what is left, as above.
    ///
    /// - Parameter hasOtherRoot: the process is in a chroot or a container, above whose root `..` does not lead.
    mutating func path(_ name: GivenName, isTruncated: Bool, hasOtherRoot: Bool) -> [UInt8]? {
        if isTruncated, !name.isAbsolute {
            let left = Self.plain(name.start + [Self.slash] + name.text)
            return left.count > 1 ? Array(left.dropFirst()) : nil
        }
        guard let start = join(name.startMount, name.startDevice, name.start) else { return nil }
        var full: [UInt8] = []
        full.reserveCapacity(start.count + name.text.count + 1)
        if start != [Self.slash] { full += start }
        let root = full.count
        full.append(Self.slash)
        full += name.text
        guard Self.needsWork(full) else { return full }
        if name.isAbsolute { return Array(full[..<root]) + Self.plain(Array(full[root...])) }
        // Where that root lies is not known here.
        if hasOtherRoot, name.text.split(separator: Self.slash).contains(where: { $0.elementsEqual("..".utf8) }) {
            return nil
        }
        return Self.plain(full)
    }

    /// An absolute path without `.`, `..` and needless slashes.
    static func plain(_ full: [UInt8]) -> [UInt8] {
        guard needsWork(full) else { return full }
        var components: [ArraySlice<UInt8>] = []
        for component in full.split(separator: Self.slash) where component != [UInt8(ascii: ".")] {
            if component.elementsEqual("..".utf8) { _ = components.popLast() } else { components.append(component) }
        }
        return components.isEmpty ? [Self.slash] : components.reduce(into: []) { $0 += [Self.slash] + $1 }
    }

    /// Whether there is a doubled slash, one at the end, or a component that begins with a dot.
    private static func needsWork(_ path: [UInt8]) -> Bool {
        var last: UInt8 = 0
        for byte in path {
            if last == slash, byte == slash || byte == UInt8(ascii: ".") { return true }
            last = byte
        }
        return last == slash
    }
}
