import CRecovery
import Datasets
import Glibc
import SystemPackage

/// The files below an open directory, read without following a symbolic link and without leaving it.
public struct TreeReader: FileTree {
    /// The dataset's root in one of its states.
    let root: FileDescriptor
    let isFuse: Bool
    private let resolve: UInt64
    private let isStopped: @Sendable () -> Bool

    /// - Parameters:
    ///   - root: an open directory (O_PATH will do), which stays the caller's.
    ///   - isFuse: for the shape of its file handles.
    ///   - isStopped: asked before each call.
    public init(root: FileDescriptor, isFuse: Bool, isStopped: @escaping @Sendable () -> Bool = { false }) {
        self.root = root
        self.isFuse = isFuse
        self.isStopped = isStopped
        // Other file systems that are mounted below are no part of the dataset.
        resolve = recovery_beneath_same_mount
    }

    public func checkStopped() throws(TreeFault) { if isStopped() { throw .stopped } }

    public func status(of path: [UInt8]) throws(TreeFault) -> FileStatus? {
        var status = recovery_status()
        let result = try at(path, "look at") { recovery_status_beneath($0, $1, resolve, &status) }
        return result == nil ? nil : FileStatus(status)
    }

    /// What a path shows in one of the directories below another one, links on the way followed; nil: nothing.
    ///
    /// It is called for each of thousands of snapshots: so nothing is allocated.
    ///
    /// - Parameter device: what is on this one is nothing.
    public static func glance(
        at path: [UInt8], in directory: String, below root: FileDescriptor, butOn device: DeviceNumber? = nil
    ) -> FileStatus? {
        var directory = directory
        return directory.withUTF8 { name in
            let length = name.count + path.count + 1
            guard length < Int(PATH_MAX) else { return nil }
            return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: length + 1) { room in
                var end = room.update(fromContentsOf: name)
                room[end] = PathBytes.slash
                end = room[(end + 1)...].update(fromContentsOf: path)
                room[end] = 0
                var status = recovery_status()
                let result = room.withMemoryRebound(to: CChar.self) {
                    $0.baseAddress.map { recovery_status(root.rawValue, $0, &status) } ?? -1
                }
                guard result == 0 else { return nil }
                if let device, DeviceNumber(major: status.major, minor: status.minor) == device { return nil }
                return FileStatus(status)
            }
        }
    }

    public func entries(of directory: [UInt8]) throws(TreeFault) -> [DirectoryEntry]? {
        guard let file = try openDirectory(directory) else { return nil }
        defer { try? file.close() }
        var result: [DirectoryEntry] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            try checkStopped()
            let count = buffer.withUnsafeMutableBytes {
                recovery_directory_entries(file.rawValue, $0.baseAddress, $0.count)
            }
            guard count >= 0 else { throw Self.fault("read the directory", directory) }
            if count == 0 { return result }
            Self.take(buffer[..<count], into: &result)
        }
    }

    /// `struct linux_dirent64`: inode (8 bytes), offset (8), length of the record (2), type (1), name with a NUL.
    private static func take(_ bytes: ArraySlice<UInt8>, into result: inout [DirectoryEntry]) {
        bytes.withUnsafeBytes { bytes in
            var at = 0
            while at + 19 <= bytes.count {
                let length = Int(bytes.loadUnaligned(fromByteOffset: at + 16, as: UInt16.self))
                guard length >= 19, at + length <= bytes.count else { return }
                let name = bytes[(at + 19)..<(at + length)].prefix { $0 != 0 }
                if !name.elementsEqual(".".utf8), !name.elementsEqual("..".utf8) {
                    result.append(
                        DirectoryEntry(
                            name: Array(name), inode: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self),
                            kind: FileKind(entryType: bytes[at + 18])))
                }
                at += length
            }
        }
    }

    public func generation(of path: [UInt8]) -> UInt32? {
        guard let file = try? descriptor(path) else { return nil }
        defer { try? file.close() }
        var generation: UInt32 = 0
        return recovery_generation(file.rawValue, isFuse, &generation) == 0 ? generation : nil
    }

    public func target(of path: [UInt8]) throws(TreeFault) -> [UInt8]? {
        guard let file = try descriptor(path) else { return nil }
        defer { try? file.close() }
        var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = buffer.withUnsafeMutableBytes { recovery_link_target(file.rawValue, $0.baseAddress, $0.count) }
        guard count >= 0 else {
            if [EINVAL, ENOENT].contains(errno) { return nil }
            throw Self.fault("read the link", path)
        }
        return Array(buffer[..<count])
    }

    public func attributes(of path: [UInt8]) throws(TreeFault) -> [[UInt8]: [UInt8]] {
        guard let file = try descriptor(path) else { return [:] }
        defer { try? file.close() }
        var attributes: [[UInt8]: [UInt8]] = [:]
        let names = try Self.attribute(path) { recovery_attribute_names(file.rawValue, $0, $1) } ?? []
        for name in names.split(separator: 0).map(Array.init) {
            attributes[name] = try Self.withPath(name[...]) { (pointer) -> Result<[UInt8]?, TreeFault> in
                do throws(TreeFault) {
                    return .success(try Self.attribute(path) { recovery_attribute(file.rawValue, pointer, $0, $1) })
                } catch { return .failure(error) }
            }.get()
        }
        return attributes
    }

    /// Asks for the size, and then for the bytes; nil where the file system has no such thing, or it is gone.
    private static func attribute(
        _ path: [UInt8], _ call: (UnsafeMutablePointer<CChar>?, Int) -> Int
    ) throws(TreeFault) -> [UInt8]? {
        // Between the two it may have grown.
        for _ in 0..<10 {
            let size = call(nil, 0)
            if size == 0 { return [] }
            var bytes = [CChar](repeating: 0, count: max(size, 1))
            let count = size < 0 ? size : bytes.withUnsafeMutableBufferPointer { call($0.baseAddress, $0.count) }
            if count >= 0 { return bytes[..<count].map(UInt8.init(bitPattern:)) }
            if errno == ERANGE { continue }
            if [ENODATA, EOPNOTSUPP].contains(errno) { return nil }
            throw fault("read the attributes of", path)
        }
        throw .failed("read the attributes of \(SafeText.line(path, limit: 200))", .outOfRange)
    }

    public func open(_ path: [UInt8]) throws(TreeFault) -> FileDescriptor? {
        // Looked at first: opening a device or a fifo may do something.
        guard let status = try status(of: path), status.kind == .file else { return nil }
        guard let raw = try at(path, "open", { recovery_open_file($0, $1, resolve) }) else { return nil }
        let file = FileDescriptor(rawValue: raw)
        var opened = recovery_status()
        guard recovery_status(raw, "", &opened) == 0, FileStatus(opened)?.kind == .file else {
            try? file.close()
            return nil
        }
        return file
    }

    public func openDirectory(_ path: [UInt8]) throws(TreeFault) -> FileDescriptor? {
        try at(path, "open the directory") { recovery_open_directory($0, $1, resolve) }.map(FileDescriptor.init)
    }

    private func descriptor(_ path: [UInt8]) throws(TreeFault) -> FileDescriptor? {
        try at(path, "open") { recovery_open_path($0, $1, resolve) }.map(FileDescriptor.init)
    }

    /// Calls with the path; nil when nothing is there. A path that is longer than the kernel takes is gone in pieces.
    private func at(
        _ path: [UInt8], _ what: String, _ call: (CInt, UnsafePointer<CChar>) -> CInt
    ) throws(TreeFault) -> CInt? {
        try checkStopped()
        let longest = Int(PATH_MAX) - 1
        var rest = path[...]
        var directory = root
        defer { if directory != root { try? directory.close() } }
        while rest.count > longest {
            guard let end = rest.prefix(longest).lastIndex(of: PathBytes.slash) else { return nil }
            let next = Self.withPath(rest[..<end]) { recovery_open_path(directory.rawValue, $0, resolve) }
            guard next >= 0 else { return try Self.absent(what, path) }
            if directory != root { try? directory.close() }
            directory = FileDescriptor(rawValue: next)
            rest = rest[(end + 1)...]
        }
        let result = Self.withPath(rest) { call(directory.rawValue, $0) }
        return result >= 0 ? result : try Self.absent(what, path)
    }

    /// Nil when the error says that nothing is there.
    private static func absent(_ what: String, _ path: [UInt8]) throws(TreeFault) -> CInt? {
        switch errno {
        // Through a symbolic link, or another file system's mount, a path leads out of the dataset.
        case ENOENT, ENOTDIR, ELOOP, EXDEV, ENAMETOOLONG: return nil
        default: throw fault(what, path)
        }
    }

    static func fault(_ what: String, _ path: [UInt8]) -> TreeFault {
        let number = errno
        return .failed(
            "\(what) \(path.isEmpty ? "the dataset's root" : SafeText.line(path, limit: 200))", Errno(rawValue: number))
    }

    static func withPath<Value>(_ path: ArraySlice<UInt8>, _ body: (UnsafePointer<CChar>) -> Value) -> Value {
        (Array(path) + [0]).withUnsafeBytes { bytes in
            bytes.withMemoryRebound(to: CChar.self) { characters in
                guard let base = characters.baseAddress else { preconditionFailure("it has a NUL at least") }
                return body(base)
            }
        }
    }
}

extension FileStatus {
    init?(_ status: recovery_status) {
        guard let kind = FileKind(mode: status.mode) else { return nil }
        let isNode = kind == .blockDevice || kind == .characterDevice
        self.init(
            kind: kind, inode: status.inode, size: status.size, mode: status.mode & 0o7777, user: status.uid,
            group: status.gid, links: status.links,
            modified: FileTime(seconds: status.modified, nanoseconds: status.modified_ns),
            changed: FileTime(seconds: status.changed, nanoseconds: status.changed_ns),
            born: status.has_birth ? FileTime(seconds: status.born, nanoseconds: status.born_ns) : nil,
            node: isNode ? DeviceNumber(major: status.node_major, minor: status.node_minor) : nil)
    }
}
