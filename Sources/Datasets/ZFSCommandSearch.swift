import SystemPackage

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

extension ZFSCommand {
    /// Where the commands are looked for, in this order; `PATH` is not asked, for it is the caller's to set. The last one is
    /// the system profile of NixOS: links of root to files of root in /nix/store.
    public static let searchPath: [String] = [
        "/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin", "/usr/local/bin", "/run/current-system/sw/bin",
    ]

    /// Finds `zfs` and `zpool` by absolute path.
    ///
    /// A command counts when, with symbolic links followed, it is an executable regular file that belongs to root and
    /// that nobody else may write: it is run as root.
    ///
    /// - Throws: `.commandMissing` when there is no such `zfs`; the error says where it was looked for and what was
    ///   wrong with what was found. A missing `zpool` is an error only when it is needed.
    public static func find(
        in directories: [String] = searchPath, timeLimit: Duration? = .seconds(120)
    ) throws(ZFSError) -> ZFSCommand {
        try find(in: directories, owner: 0, timeLimit: timeLimit)
    }

    /// With another owner than root: for tests that are not run as root.
    static func find(
        in directories: [String], owner: UInt32, timeLimit: Duration?
    ) throws(ZFSError) -> ZFSCommand {
        var faults: [String] = []
        guard let zfs = search("zfs", in: directories, owner: owner, faults: &faults) else {
            let places = directories.joined(separator: ", ")
            throw ZFSError(
                operation: "zfs", arguments: [], kind: .commandMissing, exit: .notStarted,
                stderr: (["no zfs command in \(places)"] + faults).map { SafeText.line($0) }
            )
        }
        let zpool = search("zpool", in: directories, owner: owner, faults: &faults)
        return ZFSCommand(zfs: zfs, zpool: zpool, timeLimit: timeLimit)
    }

    private static func search(
        _ name: String, in directories: [String], owner: UInt32, faults: inout [String]
    ) -> String? {
        for directory in directories {
            let candidate = directory + "/" + name
            // What is checked must be what is run: the resolved path is both.
            guard let pointer = realpath(candidate, nil) else {
                if errno != ENOENT { faults.append("\(candidate): \(Errno(rawValue: errno))") }
                continue
            }
            defer { free(pointer) }
            let path = String(cString: pointer)
            if let fault = fault(of: path, owner: owner) {
                faults.append("\(path): \(fault)")
            } else {
                return path
            }
        }
        return nil
    }

    /// Why a file may not be run as root, or nil.
    private static func fault(of path: String, owner: UInt32) -> String? {
        var status = stat()
        guard stat(path, &status) == 0 else { return "\(Errno(rawValue: errno))" }
        if status.st_mode & S_IFMT != S_IFREG { return "not a regular file" }
        if status.st_uid != owner { return "belongs to user \(status.st_uid), not to \(owner)" }
        if status.st_mode & (S_IWGRP | S_IWOTH) != 0 { return "others than its owner may write it; chmod go-w" }
        if status.st_mode & S_IXUSR == 0 { return "not executable" }
        return nil
    }
}
