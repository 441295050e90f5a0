import Glibc
import SystemPackage
import Testing

/// The kernel's NFS server with one exported directory, and the kernel's client on it, over the loopback device.
///
/// No mountd and no exports file: what they would answer to the kernel's questions is put into its caches beforehand (`exports(5)`,
/// Documentation/filesystems/nfs/rpc-cache.rst). NFS 4 alone, since version 3 asks for rpcbind.
struct NFSServer: ~Copyable {
    /// Where the client has it mounted.
    let mountPoint: String

    private static let control = "/proc/fs/nfsd/"
    private static let caches = ["nfsd.fh", "nfsd.export", "auth.unix.ip"]

    init(exporting directory: String) throws {
        mountPoint = "/tmp/kairos-nfs-\(getpid())"
        if !exists(Self.control + "threads") {
            try #require(mount("nfsd", "/proc/fs/nfsd", "nfsd", 0, nil) == 0, "nfsd: \(Errno(rawValue: errno))")
        }
        // Where it would remember its clients; without it, it does not leave the grace period.
        for path in ["/var/lib/nfs", "/var/lib/nfs/v4recovery"] where !exists(path) { try makeDirectory(path) }
        do {
            // class, address, until when, domain
            try Self.tell("/proc/net/rpc/auth.unix.ip/channel", "nfsd 127.0.0.1 \(Self.expiry) kairos-test\n")
            // domain, path, until when, flags (read-write, insecure port, root is root, no subtree check, sync), nobody, fsid
            try Self.tell(
                "/proc/net/rpc/nfsd.export/channel", "kairos-test \(directory) \(Self.expiry) 9218 65534 65534 0\n")
            // domain, kind of the fsid (a number), the fsid, until when, path
            try Self.tell("/proc/net/rpc/nfsd.fh/channel", "kairos-test 1 \\x00000000 \(Self.expiry) \(directory)\n")
            try Self.tell(Self.control + "versions", "-3 +4.2\n")
            try Self.tell(Self.control + "portlist", "tcp 2049\n")
            try Self.tell(Self.control + "threads", "2\n")
            // Nobody has anything to reclaim.
            try Self.tell(Self.control + "v4_end_grace", "Y\n")
            try makeDirectory(mountPoint)
            let options = "vers=4.2,addr=127.0.0.1,clientaddr=127.0.0.1,proto=tcp"
            let mounted = mount("127.0.0.1:/", mountPoint, "nfs4", 0, options)
            try #require(mounted == 0, "mount of NFS: \(Errno(rawValue: errno))")
        } catch {
            Self.stop(mountPoint)
            throw error
        }
    }

    deinit { Self.stop(mountPoint) }

    private static let expiry = time(nil) + 86_400

    private static func stop(_ mountPoint: String) {
        umount2(mountPoint, Int32(MNT_FORCE))
        rmdir(mountPoint)
        try? tell(control + "threads", "0\n")
        // The caches hold the dataset.
        for cache in caches { try? tell("/proc/net/rpc/\(cache)/flush", "\(time(nil) + 1)\n") }
    }

    /// In one write, as these files want it.
    private static func tell(_ path: String, _ text: String) throws {
        let file = try OpenFile(path, O_WRONLY)
        do {
            try call("write", .descriptor(file.raw), .bytes(Array(text.utf8)), .number(text.utf8.count))
        } catch let error as CallError {
            throw KairosError(description: "\(path): \(error)")
        }
    }
}
