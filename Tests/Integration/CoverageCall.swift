import CTestSupport
import Glibc
import SystemPackage

extension TracedCall {
    /// Further ways to change a file. A file system need not have all of them.
    static let further: [TracedCall] = [
        other("O_DIRECT write", O_RDWR | support_o_direct) { site in
            // A buffer, an offset and a length that suit any disk.
            var block: UnsafeMutableRawPointer?
            guard posix_memalign(&block, 4096, 4096) == 0, let block else { throw refused("posix_memalign", -12) }
            defer { free(block) }
            memset(block, Int32(UInt8(ascii: " ")), 4096)
            memcpy(block, "after", 5)
            try check("pwrite", write(site.descriptor, block, 4096))
        },
        other("aio", O_RDWR) { site in try check("io_submit", support_aio_write(site.descriptor, "after", 5)) },
        other("io_uring", O_RDWR) { site in
            try check("io_uring", support_io_uring_write(site.descriptor, "after", 5, false))
        },
        other("io_uring, by a thread of the kernel (SQPOLL)", O_RDWR) { site in
            try check("io_uring", support_io_uring_write(site.descriptor, "after", 5, true))
        },
        other("a 32-bit program's write", O_RDWR) { site in
            try check("int 0x80", support_compat_write(site.descriptor, "after", 5))
        },
        TracedCall(
            name: "io_uring unlinkat", kind: "unlink", given: ["old": .file("content")], expected: [:]
        ) { site in
            try check("io_uring", support_io_uring_unlink(site.directory + "/old"))
            return nil
        },
        other("fallocate", O_RDWR, gives: .file("before.." + String(repeating: "\0", count: 92))) { site in
            try call("fallocate", .descriptor(site.descriptor), 0, 0, 100)
        },
        other("fallocate(FALLOC_FL_PUNCH_HOLE)", O_RDWR, gives: .file("\0\0\0\0re..")) { site in
            try call("fallocate", .descriptor(site.descriptor), 3, 0, 4)
        },
        other("ioctl(FICLONE)", O_WRONLY, gives: .file("content of source")) { site in
            let source = try OpenFile(site.directory + "/source", O_RDONLY)
            try call("ioctl", .descriptor(site.descriptor), 0x4004_9409, .descriptor(source.raw))
        },
        TracedCall(
            name: "O_TMPFILE, then linkat", kind: "link", given: [:], expected: ["new": .file("content")]
        ) { site in
            let file = try OpenFile(site.directory, O_RDWR | 0o20_000_000 | O_DIRECTORY)
            try check("write", write(file.raw, "content", 7))
            try call(
                "linkat", .here, .text("/proc/self/fd/\(file.raw)"), .here, site.path("new"), .flags(AT_SYMLINK_FOLLOW))
            return nil
        },
        TracedCall(
            name: "renameat2(RENAME_EXCHANGE)", kind: "rename", given: ["a": .file("of a"), "b": .file("of b")],
            expected: ["a": .file("of b"), "b": .file("of a")]
        ) { site in
            try call("renameat2", .here, site.path("a"), .here, site.path("b"), 2)
            return nil
        },
        attributed("setxattr") { site in
            try call("setxattr", site.path("file"), "user.kairos", .bytes(Array("x".utf8)), 1, 0)
        },
        attributed("fsetxattr", O_RDONLY) { site in
            try call("fsetxattr", .descriptor(site.descriptor), "user.kairos", .bytes(Array("x".utf8)), 1, 0)
        },
        attributed("a POSIX ACL") { site in
            // struct posix_acl_xattr_header, and user::rw-, user:7:r--, group::r--, mask::r--, other::r--
            var acl: [UInt8] = [2, 0, 0, 0]
            for (tag, permissions, id) in [(1, 6, -1), (2, 4, 7), (4, 4, -1), (16, 4, -1), (32, 4, -1)]
                as [(UInt16, UInt16, Int32)]
            {
                acl += withUnsafeBytes(of: tag) { Array($0) } + withUnsafeBytes(of: permissions) { Array($0) }
                acl += withUnsafeBytes(of: id) { Array($0) }
            }
            try call("setxattr", site.path("file"), "system.posix_acl_access", .bytes(acl), .number(acl.count), 0)
        },
        attributed("chattr", O_RDONLY) { site in
            // FS_IOC_SETFLAGS, FS_NODUMP_FL
            try call("ioctl", .descriptor(site.descriptor), 0x4008_6602, .words([0x40]))
        },
        attributed("setxattrat") { site in
            // struct xattr_args: the value, its size and flags.
            let value: [UInt8] = Array("x".utf8)
            try value.withUnsafeBytes { value in
                let address = UInt64(UInt(bitPattern: value.baseAddress))
                try call(
                    "setxattrat", .here, site.path("file"), 0, "user.kairos", .words([address, UInt64(value.count)]), 16
                )
            }
        },
        TracedCall(
            name: "file_setattr", kind: "attr", given: ["file": .file("content")], expected: ["file": .file("content")]
        ) { site in
            // struct file_attr, FS_XFLAG_NODUMP
            try call("file_setattr", .here, site.path("file"), .words([0x80, 0, 0]), 24, 0)
            return nil
        },
        further("bind of a UNIX socket", makes: "socket") { try check("bind", support_bind_socket($0, false, false)) },
        further("bind of a UNIX socket, without a NUL", makes: "bare") {
            try check("bind", support_bind_socket($0, false, true))
        },
        further("io_uring bind", makes: "socket") { try check("bind", support_bind_socket($0, true, false)) },
        further("a 32-bit program's bind (socketcall)", makes: "socket") { try check("bind", support_compat_bind($0)) },
        truncated("open_by_handle_at(O_TRUNC)") { try check("handle", support_open_by_handle($0, O_WRONLY | O_TRUNC)) },
        truncated("io_uring openat(O_TRUNC)") {
            try check("io_uring", support_io_uring_open($0, O_WRONLY | O_TRUNC, 0, false))
        },
        TracedCall(
            name: "io_uring openat(O_CREAT), into the ring's own table", kind: "create", given: [:],
            expected: ["new": .file("")]
        ) { site in
            try check("io_uring", support_io_uring_open(site.directory + "/new", O_WRONLY | O_CREAT, 0o600, true))
            return nil
        },
        other("io_uring, without a completion", O_RDWR) { site in
            try check("io_uring", support_io_uring_silent_write(site.descriptor, "after", 5))
        },
        other("io_uring, several buffers that are registered", O_RDWR) { site in
            try check("io_uring", support_io_uring_fixed_writev(site.descriptor, "after", 5))
        },
        other("madvise(MADV_REMOVE)", O_RDWR, gives: .file(String(repeating: "\0", count: 8))) { site in
            try check("madvise", support_remove_page(site.descriptor))
        },
        other("ioctl(FS_IOC_UNRESVSP)", O_RDWR, gives: .file("\0\0\0\0re..")) { site in
            // struct space_resv: from the file's beginning (SEEK_SET), start and length.
            try call("ioctl", .descriptor(site.descriptor), 0x4030_5829, .words([0, 0, 4, 0, 0, 0]))
        },
        other("ioctl(FS_IOC_ZERO_RANGE)", O_RDWR, gives: .file("\0\0\0\0re..")) { site in
            try call("ioctl", .descriptor(site.descriptor), 0x4030_5839, .words([0, 0, 4, 0, 0, 0]))
        },
        other("splice, while another thread puts another file in the descriptor's place", O_RDWR) { site in
            let elsewhere = support_memory_file()
            let descriptor = dup(site.descriptor)
            defer { for raw in [elsewhere, descriptor] { close(raw) } }
            try check("splice", support_swapped_splice(descriptor, elsewhere))
        },
        attributed("a 32-bit program's chmod") { site in
            try check("int 0x80", support_compat_path(15, site.directory + "/file", 0o640, 0))
        },
        TracedCall(
            name: "a 32-bit program's truncate64", kind: "truncate", given: ["file": .file("content")],
            expected: ["file": .file("cont")]
        ) { site in
            try check("int 0x80", support_compat_path(193, site.directory + "/file", 4, 0))
            return nil
        },
    ]

    /// What changes something, and nothing that a snapshot shows.
    static let unseen: [TracedCall] = [
        TracedCall(
            name: "a write to a file without a name, and its last close", kind: "none", given: [:], expected: [:]
        ) {
            site in
            let path = site.directory + "/gone"
            let file = try OpenFile(path, O_RDWR | O_CREAT)
            try call("unlinkat", .here, .text(path), 0)
            return Int(dup(file.raw))
        }
    ]

    private static func refused(_ what: String, _ result: Int) -> CallError {
        CallError(call: what, errno: Errno(rawValue: CInt(-result)))
    }

    private static func check(_ what: String, _ result: Int) throws {
        if result == -1 { throw CallError(call: what, errno: Errno(rawValue: errno)) }
        if result < 0 { throw refused(what, result) }
    }

    /// A write into `file`, which begins with "before".
    private static func other(
        _ name: String, _ opened: CInt, gives content: Entry? = nil, _ act: @escaping @Sendable (Site) throws -> Void
    ) -> TracedCall {
        let direct = opened & support_o_direct != 0
        let after = direct ? "after" + String(repeating: " ", count: 4091) : "aftere.."
        return TracedCall(
            name: name, kind: "write", given: ["file": .file("before.."), "source": .file("content of source")],
            opened: opened, expected: ["file": content ?? .file(after), "source": .file("content of source")]
        ) { site in
            try act(site)
            return nil
        }
    }

    /// A new socket.
    private static func further(
        _ name: String, makes made: String, _ act: @escaping @Sendable (String) throws -> Void
    ) -> TracedCall {
        TracedCall(name: name, kind: "create", given: [:], expected: [made: .other(S_IFSOCK | 0o600)]) { site in
            try act(site.directory + "/" + made)
            return nil
        }
    }

    private static func truncated(_ name: String, _ act: @escaping @Sendable (String) throws -> Void) -> TracedCall {
        TracedCall(
            name: name, kind: "truncate", given: ["file": .file("content")], expected: ["file": .file("")]
        ) { site in
            try act(site.directory + "/file")
            return nil
        }
    }

    private static func attributed(
        _ name: String, _ opened: CInt? = nil, _ act: @escaping @Sendable (Site) throws -> Void
    ) -> TracedCall {
        TracedCall(
            name: name, kind: "attr", given: ["file": .file("content")], opened: opened,
            expected: ["file": .file("content")]
        ) { site in
            try act(site)
            return nil
        }
    }
}
