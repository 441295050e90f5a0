import CBPFObjects
import CLinux
import Glibc
import SystemPackage

/// Does, before anything relies on the probes, what they must see, and looks whether they did. A program that loads and
/// attaches may still not run: its function may have been inlined where it matters.
enum Calibration {
    /// Makes a call that fails in a way that only this process makes it fail.
    static func closes(_ control: borrowing ControlBlock) -> Bool {
        // A descriptor below -100 names nothing, not even AT_FDCWD.
        let cookie = -Int32.random(in: 1_000_000...Int32.max)
        control.cookie = cookie
        defer { control.cookie = 0 }
        try? FileDescriptor(rawValue: cookie).close()
        return control.fired(KAIROS_PROBE_SYSCALLS)
    }

    /// Changes an anonymous file and names in a directory of its own, on tmpfs where there is one. Returns the names of
    /// the programs that did not see their part; what cannot be tried is not among them.
    ///
    /// - Parameter isAttached: whether the program is in use.
    static func silentFunctions(_ control: borrowing ControlBlock, _ isAttached: (String) -> Bool) -> [String] {
        var silent: [String] = []
        let file = kairos_anonymous_file("kairos")
        guard file >= 0 else { return ["none (memfd_create: \(Errno(rawValue: kairos_errno_value())))"] }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { return ["none (fstat)"] }
        control.file = UInt64(status.st_ino)
        defer { control.file = 0 }

        /// - Parameter names: of the program, and of those that stand in for it.
        func expect(_ probe: kairos_probe, _ names: String..., done: Bool) {
            guard done, let name = names.first(where: isAttached), !control.fired(probe) else { return }
            silent.append(name)
        }
        expect(KAIROS_PROBE_WRITE, "kairos_vfs_write", done: write(file, "k", 1) == 1)
        var part = iovec(iov_base: nil, iov_len: 1)
        var byte: UInt8 = 0
        let vectored = withUnsafeMutablePointer(to: &byte) { pointer in
            part.iov_base = UnsafeMutableRawPointer(pointer)
            return writev(file, &part, 1) == 1
        }
        expect(KAIROS_PROBE_WRITEV, "kairos_vfs_writev", done: vectored)
        expect(KAIROS_PROBE_SETATTR, "kairos_vfs_setattr", done: ftruncate(file, 1) == 0)
        expect(KAIROS_PROBE_FALLOCATE, "kairos_vfs_fallocate", done: kairos_fallocate(file, 4096) == 0)
        expect(KAIROS_PROBE_FSYNC, "kairos_vfs_fsync", done: fsync(file) == 0)
        expect(
            KAIROS_PROBE_XATTR, "kairos_vfs_setxattr", "kairos_vfs_setxattr_call",
            done: kairos_set_attribute(file, "trusted.kairos") == 0)
        control.forget(KAIROS_PROBE_XATTR)
        expect(
            KAIROS_PROBE_XATTR, "kairos_vfs_removexattr", "kairos_vfs_removexattr_call",
            done: kairos_remove_attribute(file, "trusted.kairos") == 0)
        expect(KAIROS_PROBE_SPLICE, "kairos_vfs_splice", done: kairos_sendfile(file, file, 1) == 1)

        // Names: /run is a tmpfs on every distribution; a dataset that is watched by nobody yet would do as well.
        var template = Array("/run/kairos-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { return silent }
        let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { rmdir(directory) }
        expect(KAIROS_PROBE_MKDIR, "kairos_vfs_mkdir", done: true)
        let (a, b) = (directory + "/a", directory + "/b")
        let created = open(a, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        if created >= 0 {
            close(created)
            expect(KAIROS_PROBE_OPEN, "kairos_vfs_open", done: true)
            expect(KAIROS_PROBE_LINK, "kairos_vfs_link", done: link(a, b) == 0)
            unlink(b)
            expect(KAIROS_PROBE_RENAME, "kairos_vfs_rename", done: rename(a, b) == 0)
            unlink(a)
            expect(KAIROS_PROBE_UNLINK, "kairos_vfs_unlink", done: unlink(b) == 0)
        }
        if symlink("k", a) == 0 {
            expect(KAIROS_PROBE_SYMLINK, "kairos_vfs_symlink", done: true)
            unlink(a)
        }
        if mkfifo(a, 0o600) == 0 {
            expect(KAIROS_PROBE_MKNOD, "kairos_vfs_mknod", done: true)
            unlink(a)
        }
        if mkdir(b, 0o700) == 0 { expect(KAIROS_PROBE_RMDIR, "kairos_vfs_rmdir", done: rmdir(b) == 0) }
        return silent
    }
}
