import CLinux
import Datasets
import Glibc
import Restore
import SystemPackage

/// Which version of a file is meant.
enum VersionSelector: Sendable, Hashable {
    /// The newest in a snapshot that differs from what is there now; of what is gone, the last.
    case newest
    /// As it was at a time, as the user wrote it.
    case at(String)
    /// The part after `@`, or a full name.
    case snapshot(String)
}

/// A version of a file in a snapshot, and where the file belongs.
struct FoundVersion: Sendable {
    /// Holds the snapshot open for as long as it lives.
    var source: RestoreSource
    var dataset: String
    var flavour: ZFSFlavour?
    /// Where the dataset is mounted: absolute, raw.
    var mountPoint: [UInt8]
    /// `st_dev` of the mounted dataset.
    var device: UInt64?
    /// From the mount point; empty for the dataset's root. Raw.
    var path: [UInt8]
    /// When the version's snapshot was taken, nanoseconds since 1970.
    var time: Int64
    /// The part after `@`.
    var snapshot: String
}

/// Finds versions.
protocol VersionLookup: Sendable {
    /// - Parameter path: as the user gave it: absolute or from the working directory, raw; there need not be anything there any more.
    /// - Throws: an error that describes itself in one printable line: what was looked for, where, and what to do.
    func version(of path: [UInt8], _ selector: VersionSelector) async throws -> FoundVersion
}

/// Why a version was not found.
struct LookupError: Error, CustomStringConvertible { var description: String }

/// A snapshot that is mounted already, at a directory that the user names.
struct MountedSnapshotLookup: VersionLookup {
    let root: String

    func version(of path: [UInt8], _ selector: VersionSelector) async throws -> FoundVersion {
        let slash = UInt8(ascii: "/")
        var absolute = path
        if path.first != slash, let pointer = getcwd(nil, 0) {
            absolute = Array(UnsafeBufferPointer(start: pointer, count: strlen(pointer)).map { UInt8(bitPattern: $0) })
            absolute += [slash] + path
            free(pointer)
        }
        let parts = absolute.split(separator: slash).map(Array.init).filter { $0 != [0x2E] }
        guard !parts.contains([0x2E, 0x2E]) else {
            throw LookupError(description: "\(SafeText.line(path)) has '..' in it: give the path without")
        }
        absolute = [slash] + parts.joined(separator: [slash])
        let mounts = try MountTable.read()
        let above = mounts.entries.filter { entry in
            entry.mountPoint == [slash] || absolute == entry.mountPoint
                || absolute.starts(with: entry.mountPoint + [slash])
        }
        // The last of the longest is on top.
        guard let longest = above.map(\.mountPoint.count).max(),
            let mount = above.last(where: { $0.mountPoint.count == longest })
        else { throw LookupError(description: "\(SafeText.line(path)) lies in no file system") }
        let start = mount.mountPoint == [slash] ? 1 : mount.mountPoint.count + 1
        let relative = Array(absolute.dropFirst(start))
        let handle = try DestinationDirectory.named(Array(root.utf8))
        let name = FilePath(root).lastComponent?.string ?? root
        return FoundVersion(
            source: RestoreSource(root: handle.descriptor, path: relative, owner: handle),
            dataset: String(decoding: mount.source, as: UTF8.self), flavour: ZFSFlavour(fsType: mount.fsType),
            mountPoint: mount.mountPoint, device: mount.device.stDevice, path: relative,
            time: SnapshotTime.nanoseconds(of: name) ?? modified(handle.descriptor), snapshot: name)
    }
}

private func modified(_ directory: FileDescriptor) -> Int64 {
    var numbers = [Int64](repeating: 0, count: 5)
    return kairos_file_version(directory.rawValue, &numbers) == 0 ? numbers[3] : 0
}

/// The time in a snapshot's name, if Kairos made it.
enum SnapshotTime {
    static func nanoseconds(of name: String) -> Int64? {
        Timestamp(nameText: name.suffix(24)).map { $0.milliseconds * 1_000_000 }
    }
}

/// What was given on the command line, byte by byte: Swift's strings repair what is not UTF-8, and then it is no file's name any more.
enum RawArgument {
    static func bytes(of argument: String) -> [UInt8] {
        for index in 0..<Int(CommandLine.argc) {
            guard let pointer = CommandLine.unsafeArgv[index], String(cString: pointer) == argument else { continue }
            return UnsafeBufferPointer(start: pointer, count: strlen(pointer)).map { UInt8(bitPattern: $0) }
        }
        return Array(argument.utf8)
    }
}
