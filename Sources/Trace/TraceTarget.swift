import CLinux
import Datasets
import Glibc
import SystemPackage
import Tracing

/// A path or a dataset that a trace is asked for: which parts of the file systems that means.
public struct TraceTarget: Sendable {
    public enum Failure: Error, Sendable, CustomStringConvertible {
        case neither(String, Errno)
        /// Several mounts claim to be this dataset; what is wrong, printable.
        case ambiguous(String)

        public var description: String {
            switch self {
            case .neither(let name, let errno):
                "\(SafeText.line(name)) is neither a mounted dataset nor a path that is there (\(errno)): "
                    + "name a directory, a file or a dataset of 'zfs list'"
            case .ambiguous(let problem): problem
            }
        }
    }

    /// Absolute, with links resolved, since that is how changes are shown. Of a dataset its mount points.
    public private(set) var paths: [[UInt8]]
    /// Nil for a path.
    public let dataset: String?

    /// A name with a slash at its head or a dot is a path; another one a dataset if one is mounted.
    public init(_ name: String, _ mounts: MountTable) throws(Failure) {
        let points = mounts.mountPoints(of: name)
        if !points.isEmpty {
            paths = points
            dataset = name
            return
        }
        if !mounts.claimants(of: name).isEmpty, let problem = mounts.problems(of: [name]).last {
            throw .ambiguous(problem.text)
        }
        guard let real = realpath(name, nil) else { throw .neither(name, Errno(rawValue: kairos_errno_value())) }
        defer { free(real) }
        paths = [Array(UnsafeRawBufferPointer(start: real, count: strlen(real)))]
        dataset = nil
    }

    /// In a replay: nothing has to be there any more.
    public init(replaying name: String) {
        dataset = name.hasPrefix("/") ? nil : name
        paths = name.hasPrefix("/") ? [TracePlaces.plain(Array(name.utf8))] : []
    }

    /// What it means under these mounts: the tree in its own file system, and what is mounted below.
    public func trees(_ mounts: MountTable) -> [TracedTree] {
        if let dataset {
            return mounts.dataset(named: dataset).map { [TracedTree(device: $0.device, extent: .all)] } ?? []
        }
        return paths.flatMap { path in
            let below = mounts.entries.filter { $0.mountPoint != path && TraceFilter.isBelow($0.mountPoint, path) }
            // A root is known without a look at it, which could hang: it may be on a server that does not answer.
            return Self.trees(path, mounts)
                + below.map { entry in
                    entry.root == [UInt8(ascii: "/")]
                        ? [TracedTree(device: entry.device, extent: .all)] : Self.trees(entry.mountPoint, mounts)
                }.flatMap(\.self)
        }
    }

    /// The tree, and the directory that holds its name: by that name it may be replaced.
    private static func trees(_ path: [UInt8], _ mounts: MountTable) -> [TracedTree] {
        let slash = UInt8(ascii: "/")
        let parent = path.lastIndex(of: slash).map { $0 == 0 ? [slash] : Array(path[..<$0]) } ?? [slash]
        var trees = [tree(path, mounts)].compactMap(\.self)
        if case .below(let inode)? = tree(parent, mounts)?.extent, let device = tree(parent, mounts)?.device {
            trees.append(TracedTree(device: device, extent: .named(inParent: inode)))
        }
        return trees
    }

    /// Nil while there is nothing of this name.
    private static func tree(_ path: [UInt8], _ mounts: MountTable) -> TracedTree? {
        let entry =
            mounts.entries.filter { TraceFilter.isBelow(path, $0.mountPoint) }
            .reduce(nil as MountEntry?) { best, entry in
                // Of two on the same directory the later one lies on top.
                best.map { entry.mountPoint.count >= $0.mountPoint.count } ?? true ? entry : best
            }
        var status = stat()
        let isThere = (path + [0]).map { CChar(bitPattern: $0) }.withUnsafeBufferPointer { bytes in
            bytes.baseAddress.map { stat($0, &status) == 0 } ?? false
        }
        let device = entry?.device ?? DeviceNumber(stDevice: UInt64(status.st_dev)) ?? DeviceNumber(kernel: 0)
        // Where a file system shows other numbers than the kernel has in its inodes, only paths can tell.
        guard isThere else { return nil }
        guard device.stDevice == UInt64(status.st_dev), entry?.fsType != "overlay" else {
            return TracedTree(device: device, extent: .unsure)
        }
        return TracedTree(device: device, extent: .below(inode: UInt64(status.st_ino)))
    }
}
