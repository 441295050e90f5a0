import CRestore
import Datasets
import Glibc
import SystemPackage

/// An open directory, closed with its last reference.
public final class DirectoryHandle: Sendable {
    public let descriptor: FileDescriptor

    init(owning raw: CInt) { descriptor = FileDescriptor(rawValue: raw) }

    deinit { try? descriptor.close() }
}

/// Opens the directory that something is restored to.
///
/// Root named a path; others may own directories on the way, and change them at any moment. What is trusted:
///
/// - *the original place*: the mount point, since only root mounts, and nothing below it. From there each step is one
///   component, no symbolic link is followed and no mount is crossed.
/// - *another place* (`--to`): as long as the way leads only through directories that root owns and nobody else can write to, links in
///   them are root's, and followed as usual: `/var/run` works. From the first other directory on no link is followed and no `..`
///   taken, not even one of root's: whoever may write there can put it there. They are refused, and the real path is asked for.
public enum DestinationDirectory {
    private static let slash = UInt8(ascii: "/")
    /// As the kernel has it, MAXSYMLINKS.
    private static let mostLinks = 40

    /// The directory of an original.
    ///
    /// - Parameters:
    ///   - mountPoint: of the dataset: absolute, raw.
    ///   - device: `st_dev` of the dataset: what is mounted there must be that.
    ///   - path: the directory from there; empty for the mount point itself.
    ///   - creating: directories that are missing are made as they are in this snapshot (owner, permissions, attributes); its own `path` is not
    ///     used. nil: they are missed.
    /// - Returns: the directory, and the paths of those that were made.
    public static func original(
        mountPoint: [UInt8], device: UInt64?, path: [UInt8], creating source: RestoreSource?
    ) throws(RestoreError) -> (directory: DirectoryHandle, made: [[UInt8]]) {
        var made: [[UInt8]] = []
        let full = mountPoint + (path.isEmpty ? [] : [slash] + path)
        let components = path.split(separator: slash).map(Array.init)
        guard mountPoint.first == slash, !mountPoint.contains(0), components.allSatisfy(\.isComponent) else {
            throw RestoreError(
                .refused, tried: "open the directory", path: full, why: "this is no path below a mount point")
        }
        var place = try translating(mountPoint) { () throws(CallFailure) in try openTrusted(mountPoint) }
        let found = try translating(mountPoint) { () throws(CallFailure) in try place.status().identity.device }
        // Users may own directories above a mount point, and put a link to another directory of the same dataset in the way.
        if let device, found != device || kairos_restore_is_mount_root(place.raw) != 1 {
            throw RestoreError(
                .refused, tried: "open the directory", path: mountPoint,
                why: "the dataset is not mounted there any more",
                remedy: "mount it, or restore elsewhere with --to")
        }
        var walked: [UInt8] = []
        for component in components {
            walked = walked.joined(component)
            place = try translating(mountPoint + [slash] + walked) { () throws(CallFailure) in
                do throws(CallFailure) { return try place.directory(component) } catch {
                    guard error.errno == .noSuchFileOrDirectory, let source else { throw error }
                    return try make(component, in: place, like: source, at: walked, made: &made)
                }
            }
        }
        return (try handle(place, full), made)
    }

    /// A directory that root named, absolute or from the working directory.
    public static func named(_ path: [UInt8]) throws(RestoreError) -> DirectoryHandle {
        guard !path.isEmpty, !path.contains(0) else {
            throw RestoreError(.refused, tried: "open the directory", path: path, why: "this is no path")
        }
        var place = try translating(path) { () throws(CallFailure) in try openRoot() }
        // A stack: what comes next is last.
        var rest: [[UInt8]] = components(path).reversed()
        if path.first != slash { rest += components(try workingDirectory()).reversed() }
        var links = 0
        var isTrusted = true
        while let component = rest.popLast() {
            // Once and for all: a directory of root's in one of a user's is where that user moved it.
            if isTrusted {
                isTrusted = try translating(path) { () throws(CallFailure) in isRootsAlone(try place.status()) }
            }
            if component == [UInt8(ascii: "."), UInt8(ascii: ".")] {
                guard isTrusted else { throw refusal(path, "'..' in it follows a directory that others may move") }
                place = try translating(path) { () throws(CallFailure) in
                    Opened(
                        owning: CInt(try place.call("go up from") { _ in Int(kairos_restore_parent(place.raw)) }),
                        .destination)
                }
                continue
            }
            let status = try translating(path) { () throws(CallFailure) in try place.status(of: component) }
            guard status.kind == .symlink else {
                place = try translating(path) { () throws(CallFailure) in
                    try place.directory(component, crossing: true)
                }
                continue
            }
            links += 1
            guard isTrusted else {
                throw refusal(
                    path,
                    "\(SafeText.line(component)) is a symbolic link in a directory that others than root may write to")
            }
            guard links <= mostLinks else { throw refusal(path, "it has too many symbolic links") }
            let target = try translating(path) { () throws(CallFailure) in try place.target(of: component) }
            if target.first == slash { place = try translating(path) { () throws(CallFailure) in try openRoot() } }
            rest += components(target).reversed()
        }
        return try handle(place, path)
    }

    /// Whether set-user-ID bits and device nodes of a dataset may be restored to a directory: not from one that is mounted without them
    /// to a file system that honours them.
    public static func carriesPrivileges(from mountPoint: [UInt8], to directory: DirectoryHandle) -> Bool {
        guard let source = try? openTrusted(mountPoint) else { return false }
        var (nosuid, nodev, isNosuid, isNodev) = (true, true, false, false)
        guard kairos_restore_mount_limits(source.raw, &nosuid, &nodev) == 0,
            kairos_restore_mount_limits(directory.descriptor.rawValue, &isNosuid, &isNodev) == 0
        else { return false }
        return (!nosuid || isNosuid) && (!nodev || isNodev)
    }

    private static func refusal(_ path: [UInt8], _ why: String) -> RestoreError {
        RestoreError(
            .refused, tried: "restore to", path: path, why: why,
            remedy: "name the real path, as 'realpath' prints it, if that is where it is to go")
    }

    /// Nobody but root can make, rename or replace names in it. (With an ACL the group's bits are its mask.)
    private static func isRootsAlone(_ status: Status) -> Bool {
        status.user == 0 && status.permissions & 0o022 == 0
    }

    private static func components(_ path: [UInt8]) -> [[UInt8]] {
        path.split(separator: slash).map(Array.init).filter { $0 != [UInt8(ascii: ".")] }
    }

    private static func workingDirectory() throws(RestoreError) -> [UInt8] {
        guard let pointer = getcwd(nil, 0) else {
            throw RestoreError(
                .failed, tried: "find", path: Array(".".utf8), why: Errno(rawValue: errno).description,
                remedy: "is the working directory gone? Change to another one")
        }
        defer { free(pointer) }
        return Array(UnsafeBufferPointer(start: pointer, count: strlen(pointer)).map { UInt8(bitPattern: $0) })
    }

    private static func openRoot() throws(CallFailure) -> Opened { try openTrusted([slash]) }

    /// By a path that nobody but root can have made.
    private static func openTrusted(_ path: [UInt8]) throws(CallFailure) -> Opened {
        let start = Opened(owning: -1, .destination)
        let fd = try start.call("open the directory") { _ in
            path.withTerminated { Int(Glibc.open($0, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK)) }
        }
        return Opened(owning: CInt(fd), .destination)
    }

    private static func handle(_ place: Opened, _ path: [UInt8]) throws(RestoreError) -> DirectoryHandle {
        try translating(path) { () throws(CallFailure) in
            DirectoryHandle(
                owning: CInt(
                    try place.call("open the directory") { _ in
                        Int(kairos_restore_directory(place.raw, ".", false))
                    }))
        }
    }

    /// Makes a directory as a snapshot has it. It is made in a stage and gets its name by a rename, so that it is certainly the one that
    /// gets the owner and permissions: whoever may write to the directory above could put another one there meanwhile.
    private static func make(
        _ name: [UInt8], in place: Opened, like source: RestoreSource, at path: [UInt8], made: inout [[UInt8]]
    ) throws(CallFailure) -> Opened {
        let model = try self.model(path, in: source)
        let stage = try Stage(in: place)
        defer { _ = stage.remove() }
        try stage.directory.makeDirectory(Stage.new)
        let new = try stage.directory.directory(Stage.new)
        let status = try model.status()
        AttributeCopy(carriesPrivileges: true) { _, _ in }
            .copy(status, from: AttributePlace(file: model), to: AttributePlace(file: new))
        guard try Publication.putIfFree(Stage.new, of: stage.directory, to: place, as: name) else {
            // Somebody else made it just now.
            return try place.directory(name)
        }
        made.append(path)
        try place.sync()
        return new
    }

    private static func model(_ path: [UInt8], in source: RestoreSource) throws(CallFailure) -> Opened {
        let root = Opened(owning: -1, .source)
        let fd = try root.call("open the snapshot's root") { _ in
            Int(kairos_restore_directory(source.root.rawValue, ".", false))
        }
        var model = Opened(owning: CInt(fd), .source)
        for component in components(path) { model = try model.directory(component) }
        return model
    }
}
