import CTestSupport
import Glibc
import SystemPackage

/// One thing that a test did to a file, and so what a trace has to say of it.
struct TraceDeed: Sendable {
    var op: String
    var path: String
    var oldPath: String?
    var bytes: UInt64?
    var offset: Int64?
    /// What the system call returned, -errno for a failure. Nil: no call did it.
    var result: Int?
    /// Of the file, where the test could ask.
    var inode: UInt64?

    var description: String { "\(op) \(oldPath.map { $0 + " -> " } ?? "")\(path)" }
}

/// Does one of each thing that can be done to files, in this thread alone.
struct TraceDeeds {
    let directory: String
    private(set) var done: [TraceDeed] = []

    private func path(_ name: String) -> String { directory + "/" + name }

    private mutating func note(
        _ op: String, _ name: String, _ result: Int?, from old: String? = nil, bytes: Int? = nil, at offset: Int? = nil,
        inode: UInt64? = nil
    ) {
        let failed = result.map { $0 < 0 } ?? false
        done.append(
            TraceDeed(
                op: op, path: path(name), oldPath: old.map(path),
                bytes: failed && op == "write" ? 0 : bytes.map(UInt64.init),
                offset: offset.map(Int64.init), result: result, inode: inode))
    }

    /// As `call(_:_:)`, with -errno for a failure.
    private func attempt(_ name: String, _ arguments: Argument...) -> Int {
        do {
            return switch arguments.count {
            case 1: try call(name, arguments[0])
            case 2: try call(name, arguments[0], arguments[1])
            case 3: try call(name, arguments[0], arguments[1], arguments[2])
            case 4: try call(name, arguments[0], arguments[1], arguments[2], arguments[3])
            case 5: try call(name, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4])
            default:
                try call(
                    name, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5])
            }
        } catch { return (error as? CallError).map { -Int($0.errno.rawValue) } ?? -1 }
    }

    /// The system calls, in an order that later ones can build on. `hasFailures`: some that cannot succeed, too.
    mutating func doAll(hasFailures: Bool) throws {
        let file = CInt(
            try call("openat", .here, .text(path("a")), .flags(O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC), 0o644))
        var status = stat()
        fstat(file, &status)
        let inode = UInt64(status.st_ino)
        note("create", "a", Int(file), inode: inode)
        note("write", "a", attempt("write", .descriptor(file), "hello", 5), bytes: 5, at: 0, inode: inode)
        note("write", "a", attempt("write", .descriptor(file), " world", 6), bytes: 6, at: 5, inode: inode)
        note("write", "a", attempt("pwrite64", .descriptor(file), "xyz", 3, 4000), bytes: 3, at: 4000, inode: inode)
        note(
            "write", "a", attempt("writev", .descriptor(file), .vector(["ab", "cde"]), 2), bytes: 5, at: 11,
            inode: inode)
        note("truncate", "a", attempt("ftruncate", .descriptor(file), 8192), at: 8192, inode: inode)
        note("attr", "a", attempt("fchmod", .descriptor(file), 0o600), inode: inode)
        note("sync", "a", attempt("fsync", .descriptor(file)), inode: inode)
        let address = attempt(
            "mmap", 0, 4096, .flags(PROT_READ | PROT_WRITE), .flags(MAP_SHARED), .descriptor(file), 4096)
        note("map", "a", address, bytes: 4096, at: 4096, inode: inode)
        guard address > 0 else { throw CallError(call: "mmap", errno: Errno(rawValue: CInt(-address))) }
        support_store(address, 7)
        note("store", "a", nil, inode: inode)
        // The mapping holds the file: without it the descriptor is the last that does.
        _ = attempt("munmap", .number(address), 4096)
        _ = attempt("close", .descriptor(file))
        note("close", "a", 0, inode: inode)

        let appended = CInt(try call("openat", .here, .text(path("a")), .flags(O_WRONLY | O_APPEND | O_CLOEXEC), 0))
        note("write", "a", attempt("write", .descriptor(appended), "end", 3), bytes: 3, at: 8192, inode: inode)
        _ = attempt("close", .descriptor(appended))
        note("close", "a", 0, inode: inode)
        note(
            "rename", "b", attempt("renameat", .here, .text(path("a")), .here, .text(path("b"))), from: "a",
            inode: inode)
        note("link", "c", attempt("linkat", .here, .text(path("b")), .here, .text(path("c")), 0), inode: inode)
        note("create", "s", attempt("symlinkat", "b", .here, .text(path("s"))))
        note("truncate", "b", attempt("truncate", .text(path("b")), 100), at: 100, inode: inode)
        note("attr", "c", attempt("fchmodat", .here, .text(path("c")), 0o640), inode: inode)
        note("mkdir", "d", attempt("mkdirat", .here, .text(path("d")), 0o755))
        note(
            "rename", "d/c", attempt("renameat2", .here, .text(path("c")), .here, .text(path("d/c")), 0), from: "c",
            inode: inode)
        note("create", "f", attempt("mknodat", .here, .text(path("f")), .flags(CInt(S_IFIFO | 0o600)), 0))
        if hasFailures { try fail() }
        note("unlink", "d/c", attempt("unlinkat", .here, .text(path("d/c")), 0), inode: inode)
        note("rmdir", "d", attempt("unlinkat", .here, .text(path("d")), .flags(0x200)))
        for name in ["b", "s", "f"] {
            note("unlink", name, attempt("unlinkat", .here, .text(path(name)), 0), inode: name == "b" ? inode : nil)
        }
    }

    private mutating func fail() throws {
        note("create", "no/x", attempt("openat", .here, .text(path("no/x")), .flags(O_CREAT | O_WRONLY), 0o644))
        note("unlink", "no", attempt("unlinkat", .here, .text(path("no")), 0))
        note("mkdir", "d", attempt("mkdirat", .here, .text(path("d")), 0o755))
        note("rename", "x", attempt("renameat", .here, .text(path("no")), .here, .text(path("x"))), from: "no")
        note("attr", "no", attempt("fchmodat", .here, .text(path("no")), 0o644))
        note("truncate", "d", attempt("truncate", .text(path("d")), 3), at: 3)
        let reading = CInt(try call("openat", .here, .text(path("b")), .flags(O_RDONLY | O_CLOEXEC), 0))
        defer { close(reading) }
        note("write", "b", attempt("write", .descriptor(reading), "no", 2))
    }
}
