import CLinux
import CRestore
import Glibc
import SystemPackage

/// What tells a file from every other one of this machine, for as long as it is there.
struct Identity: Hashable {
    var device: UInt64
    var inode: UInt64
}

/// stat(2), as far as it is restored.
struct Status {
    enum Kind { case file, directory, symlink, fifo, socket, characters, blocks, other }

    private let raw: stat

    init(_ raw: stat) { self.raw = raw }

    var identity: Identity { Identity(device: UInt64(raw.st_dev), inode: UInt64(raw.st_ino)) }
    var kind: Kind {
        switch raw.st_mode & S_IFMT {
        case S_IFREG: .file
        case S_IFDIR: .directory
        case S_IFLNK: .symlink
        case S_IFIFO: .fifo
        case S_IFSOCK: .socket
        case S_IFCHR: .characters
        case S_IFBLK: .blocks
        default: .other
        }
    }
    /// With the kind's bits.
    var mode: mode_t { raw.st_mode }
    var permissions: mode_t { raw.st_mode & 0o7777 }
    var user: uid_t { raw.st_uid }
    var group: gid_t { raw.st_gid }
    var links: UInt64 { UInt64(raw.st_nlink) }
    var size: Int64 { Int64(raw.st_size) }
    /// Seconds since 1970, nanoseconds.
    var modified: [Int64] { [Int64(raw.st_mtim.tv_sec), Int64(raw.st_mtim.tv_nsec)] }
    /// Whether it occupies less than its size: holes, or compression.
    var isSparse: Bool { Int64(raw.st_blocks) < size / 512 + (size % 512 > 0 ? 1 : 0) }
    var deviceNumber: dev_t { raw.st_rdev }

    func withRaw<Value>(_ body: (UnsafePointer<stat>) -> Value) -> Value { withUnsafePointer(to: raw, body) }
}

/// An open file or directory, closed with its last reference. Names are single components: nothing here follows a link.
final class Opened {
    /// Set by tests: called before each call that gives a file a name or takes one from it.
    @TaskLocal static var willChangeName: (@Sendable () -> Void)?

    let raw: CInt
    let side: CallFailure.Side

    init(owning raw: CInt, _ side: CallFailure.Side) {
        self.raw = raw
        self.side = side
    }

    deinit { close(raw) }

    /// Makes a call, again when a signal interrupted it.
    ///
    /// - Parameters:
    ///   - tried: as in "cannot create".
    ///   - body: gets the name with a NUL; negative for a failure, with errno.
    @discardableResult
    func call(
        _ tried: String, _ name: [UInt8] = [], _ body: (UnsafePointer<CChar>) -> Int
    ) throws(CallFailure) -> Int {
        let (result, number) = name.withTerminated { pointer in
            while true {
                let result = body(pointer)
                // Before anything else can change it.
                let number = errno
                if result >= 0 || number != EINTR { return (result, number) }
            }
        }
        guard result >= 0 else {
            throw CallFailure(tried: tried, name: name, errno: Errno(rawValue: number), side: side)
        }
        return result
    }

    /// As `call`, of what may well fail: the error number, or nil.
    func attempt(_ name: [UInt8], _ body: (UnsafePointer<CChar>) -> Int) -> Errno? {
        do throws(CallFailure) {
            try call("", name, body)
            return nil
        } catch { return error.errno }
    }

    // MARK: Looking

    func status() throws(CallFailure) -> Status {
        var status = stat()
        try call("look at") { _ in Int(fstat(raw, &status)) }
        return Status(status)
    }

    func status(of name: [UInt8]) throws(CallFailure) -> Status {
        var status = stat()
        try call("look at", name) { Int(fstatat(raw, $0, &status, AT_SYMLINK_NOFOLLOW)) }
        return Status(status)
    }

    /// Nil when there is nothing of that name.
    func statusIfThere(_ name: [UInt8]) throws(CallFailure) -> Status? {
        do throws(CallFailure) { return try status(of: name) } catch {
            if error.errno == .noSuchFileOrDirectory { return nil }
            throw error
        }
    }

    /// - Parameter crossing: a file system that is mounted there may be entered.
    func directory(_ name: [UInt8], crossing: Bool = false) throws(CallFailure) -> Opened {
        let fd = try call("open the directory", name) { Int(kairos_restore_directory(raw, $0, !crossing)) }
        return Opened(owning: CInt(fd), side)
    }

    /// The directory above, which must be this one: it could have been moved, or this one.
    func parent(_ expected: Identity) throws(CallFailure) -> Opened {
        let above = Opened(owning: CInt(try call("go up from") { _ in Int(kairos_restore_parent(raw)) }), side)
        guard try above.status().identity == expected else {
            throw CallFailure(tried: "go up from", name: [], errno: .staleNFSFileHandle, side: side)
        }
        return above
    }

    func file(_ name: [UInt8]) throws(CallFailure) -> Opened {
        Opened(owning: CInt(try call("open", name) { Int(kairos_restore_file(raw, $0)) }), side)
    }

    func target(of name: [UInt8]) throws(CallFailure) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = try call("read the symbolic link", name) { pointer in
            buffer.withUnsafeMutableBytes { bytes in
                bytes.bindMemory(to: CChar.self).baseAddress.map { readlinkat(raw, pointer, $0, bytes.count) } ?? -1
            }
        }
        return Array(buffer[..<count])
    }

    /// Each name but `.` and `..`. What is done to the directory meanwhile may be seen or not.
    func forEachName(_ body: ([UInt8]) throws(CallFailure) -> Void) throws(CallFailure) {
        try call("read the directory") { _ in Int(lseek(raw, 0, SEEK_SET)) }
        var buffer = [UInt8](repeating: 0, count: 1 << 15)
        while true {
            let count = try call("read the directory") { _ in
                buffer.withUnsafeMutableBytes { kairos_restore_entries(raw, $0.baseAddress, $0.count) }
            }
            guard count > 0 else { return }
            // struct linux_dirent64: inode and offset of 8 bytes, length of 2, type of 1, then the name with its NUL.
            var start = 0
            while start + 19 < count {
                let length = Int(buffer[start + 16]) | Int(buffer[start + 17]) << 8
                guard length > 19, start + length <= count else { return }
                let name = Array(buffer[(start + 19)..<(start + length)].prefix { $0 != 0 })
                start += length
                if name.isComponent { try body(name) }
            }
        }
    }

    func names() throws(CallFailure) -> NameList {
        var list = NameList()
        try forEachName { name in list.append(name) }
        return list
    }

    // MARK: Making

    func create(_ name: [UInt8]) throws(CallFailure) -> Opened {
        Opened(owning: CInt(try call("create", name) { Int(kairos_restore_create(raw, $0)) }), side)
    }

    /// For its owner alone.
    func makeDirectory(_ name: [UInt8]) throws(CallFailure) {
        try call("make the directory", name) { Int(mkdirat(raw, $0, 0o700)) }
    }

    func link(_ from: [UInt8], to directory: Opened, as name: [UInt8]) throws(CallFailure) {
        Self.willChangeName?()
        try call("link", from) { old in
            name.withTerminated { Int(linkat(raw, old, directory.raw, $0, 0)) }
        }
    }

    func rename(
        _ from: [UInt8], to directory: Opened, as name: [UInt8], flags: UInt32 = 0
    ) throws(CallFailure) {
        Self.willChangeName?()
        do throws(CallFailure) {
            try call("rename", from) { old in
                name.withTerminated { Int(kairos_restore_rename(raw, old, directory.raw, $0, flags)) }
            }
        } catch {
            // The one that people know.
            throw CallFailure(tried: "put in place", name: name, errno: error.errno, side: error.side)
        }
    }

    func unlink(_ name: [UInt8]) throws(CallFailure) {
        Self.willChangeName?()
        try call("remove", name) { Int(unlinkat(raw, $0, 0)) }
    }

    func removeDirectory(_ name: [UInt8]) throws(CallFailure) {
        try call("remove the directory", name) { Int(unlinkat(raw, $0, AT_REMOVEDIR)) }
    }

    func write(_ bytes: [UInt8]) throws(CallFailure) {
        var done = 0
        while done < bytes.count {
            done += try call("write") { _ in
                bytes[done...].withUnsafeBytes { Glibc.write(raw, $0.baseAddress, $0.count) }
            }
        }
    }

    /// The first bytes of a small file.
    func read(limit: Int = 4096) throws(CallFailure) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: limit)
        let count = try call("read") { _ in bytes.withUnsafeMutableBytes { pread(raw, $0.baseAddress, $0.count, 0) } }
        return Array(bytes[..<count])
    }

    /// On disk, with all that it takes to find it.
    func sync() throws(CallFailure) { try call("write to disk") { _ in Int(fsync(raw)) } }

    /// The whole file system: one call for a tree, where each file by itself would take as many waits.
    func syncFileSystem() throws(CallFailure) { try call("write to disk") { _ in Int(kairos_syncfs(raw)) } }
}

extension [UInt8] {
    /// Whether it can be a name in a directory.
    var isComponent: Bool {
        !isEmpty && count <= 255 && self != [0x2E] && self != [0x2E, 0x2E] && !contains(0)
            && !contains(UInt8(ascii: "/"))
    }

    /// Two digits for each byte.
    var hex: String { map { String(UInt16($0) + 0x100, radix: 16).dropFirst() }.joined() }

    init?(hex text: Substring) {
        let digits = text.utf8.compactMap { UInt8(String(UnicodeScalar($0)), radix: 16) }
        guard digits.count == text.utf8.count, digits.count.isMultiple(of: 2) else { return nil }
        self = stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }

    func withTerminated<Value>(_ body: (UnsafePointer<CChar>) -> Value) -> Value {
        let characters = map { CChar(bitPattern: $0) } + [0]
        return body(characters)
    }
}

/// Names in one piece of memory, taken from the end: a directory can have millions.
struct NameList {
    /// Each followed by a NUL, which no name holds.
    private var bytes: [UInt8] = []

    var isEmpty: Bool { bytes.isEmpty }

    mutating func append(_ name: [UInt8]) {
        bytes += name
        bytes.append(0)
    }

    mutating func popLast() -> [UInt8]? {
        guard !bytes.isEmpty else { return nil }
        let start = bytes.dropLast().lastIndex(of: 0).map { $0 + 1 } ?? 0
        let name = Array(bytes[start..<(bytes.count - 1)])
        bytes.removeSubrange(start...)
        return name
    }
}

/// A place in a tree of any depth that holds one descriptor: it goes up by `..`, and knows every directory above again.
final class Cursor {
    private(set) var here: Opened
    private var above: [Identity] = []

    init(_ top: Opened) { here = top }

    var depth: Int { above.count }

    func down(_ name: [UInt8]) throws(CallFailure) {
        let identity = try here.status().identity
        here = try here.directory(name)
        above.append(identity)
    }

    func up() throws(CallFailure) {
        guard let expected = above.last else { return }
        here = try here.parent(expected)
        above.removeLast()
    }
}

/// The path of a place in a tree, for messages: raw bytes, without a leading slash.
struct WalkPath {
    private(set) var bytes: [UInt8] = []
    private var lengths: [Int] = []

    mutating func push(_ name: [UInt8]) {
        lengths.append(bytes.count)
        if !bytes.isEmpty { bytes.append(UInt8(ascii: "/")) }
        bytes += name
    }

    mutating func pop() {
        guard let length = lengths.popLast() else { return }
        bytes.removeSubrange(length...)
    }

    func with(_ name: [UInt8]) -> [UInt8] {
        if name.isEmpty { return bytes }
        return bytes.isEmpty ? name : bytes + [UInt8(ascii: "/")] + name
    }
}
