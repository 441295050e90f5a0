import CLinux
import Datasets
import Glibc
import SystemPackage
import Tracing

/// Puts stores through mappings where a snapshot finds them: without it a snapshot holds the new mtime and the old bytes.
enum Flush {
    /// Writes back the files, or the whole file system where one of them cannot be found by its path any more.
    ///
    /// Blocks: up to seconds for a whole file system.
    /// - Returns: what could not be flushed, as a warning; nil when all was.
    static func run(_ mapped: MappedFiles, mount: MountedDataset, mounts: MountTable) -> String? {
        guard !mapped.isEmpty else { return nil }
        var everything = mapped.isIncomplete
        for file in mapped.files.values {
            // The others all the same: there are files that a sync of the whole file system leaves out (docs/oracle.md).
            guard let path = file.path.flatMap({ mounts.path(device: file.device, path: $0) }),
                flush(path, FileIdentity(device: file.device, inode: file.inode))
            else {
                everything = true
                continue
            }
        }
        guard everything else { return nil }
        guard let point = mount.mountPoints.first, let root = Descriptor(path: point),
            FileIdentity(descriptor: root.raw)?.device == mount.device
        else { return "cannot open \(mount.name)'s mount point to flush mapped files" }
        // O_PATH descriptors cannot be synced.
        let directory = reopen(root.raw)
        guard directory >= 0 else { return "cannot open \(mount.name)'s mount point: \(Errno(rawValue: errno))" }
        defer { close(directory) }
        return kairos_syncfs(directory) == 0
            ? nil : "cannot flush mapped files of \(mount.name): syncfs: \(Errno(rawValue: kairos_errno_value()))"
    }

    /// False when the path does not lead to that file any more.
    private static func flush(_ path: [UInt8], _ file: FileIdentity) -> Bool {
        // Looked at before it is opened: opening a device node, which may stand there by now, can have effects.
        guard let handle = Descriptor(file: path), FileIdentity(descriptor: handle.raw) == file else { return false }
        let descriptor = reopen(handle.raw)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        // Not sync_file_range: it skips what is being written back already, so a store that came to such a page would
        // be in no snapshot, and nothing would tell of it. With zfs-fuse only a sync waits for the daemon anyway.
        return fdatasync(descriptor) == 0
    }

    private static func reopen(_ descriptor: CInt) -> CInt {
        open("/proc/self/fd/\(descriptor)", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
    }
}
