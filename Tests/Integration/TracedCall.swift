import CTestSupport
import Glibc
import SystemPackage
import Testing

/// One traced system call: what is there before, the call, and what its snapshot must hold.
struct TracedCall: Sendable, CustomTestStringConvertible {
    /// The directory that the call works in, and a descriptor of its file `file`, if it wants one.
    struct Site {
        var directory: String
        var descriptor: CInt
        func path(_ name: String) -> Argument { .text(directory + "/" + name) }
    }

    var name: String
    /// The word that the snapshot's `changes` must hold.
    var kind: String
    var given: [String: Entry]
    /// With which flags `file` is open at the time of the call.
    var opened: CInt?
    var expected: [String: Entry]
    /// Makes the call. A descriptor that it returns is closed by the test.
    var act: @Sendable (Site) throws -> Int?

    var testDescription: String { name }

    /// In which of the three watched datasets it is made: each has its turn.
    var dataset: String {
        let number = (Self.all + Self.further).firstIndex { $0.name == name } ?? 0
        return Self.targets[number % Self.targets.count]
    }
    /// The directory of the call's own, from the dataset's root.
    var directory: String { "calls/" + name.filter { $0.isLetter || $0.isNumber || $0 == "_" } }

    static let targets = ["a", "a/nested", "b"]

    /// Makes what the call needs.
    func prepare(in fixture: Fixture, below prefix: String = "") throws {
        let directory = fixture.path(dataset) + "/" + prefix + directory
        try makeDirectory(directory)
        for (name, entry) in given {
            switch entry {
            case .file(let bytes): try write(String(decoding: bytes, as: UTF8.self), to: directory + "/" + name)
            case .directory: try makeDirectory(directory + "/" + name)
            case .other: break
            }
        }
    }

    private static let creating = O_CREAT | O_EXCL | O_WRONLY

    private static func onDirectory(_ site: Site, _ body: (Argument) throws -> Int) throws -> Int {
        let directory = try OpenFile(site.directory, O_RDONLY | O_DIRECTORY)
        return try body(.descriptor(directory.raw))
    }

    private static func creation(_ name: String, _ act: @escaping @Sendable (Site) throws -> Int) -> TracedCall {
        TracedCall(name: name, kind: "create", given: [:], expected: ["new": .file("")]) { site in try act(site) }
    }

    /// By an open of the file `file`.
    private static func truncation(_ name: String, _ act: @escaping @Sendable (Site) throws -> Int) -> TracedCall {
        TracedCall(
            name: name, kind: "truncate", given: ["file": .file("content")], expected: ["file": .file("")]
        ) { site in try act(site) }
    }

    private static func writing(_ name: String, _ act: @escaping @Sendable (Site) throws -> Void) -> TracedCall {
        TracedCall(
            name: name, kind: "write", given: ["file": .file("before.....")], opened: O_WRONLY,
            expected: ["file": .file("after \(name)")]
        ) { site in
            try act(site)
            return nil
        }
    }

    private static func naming(
        _ name: String, _ kind: String, given: [String: Entry] = [:], expected: [String: Entry] = [:],
        _ act: @escaping @Sendable (Site) throws -> Void
    ) -> TracedCall {
        TracedCall(name: name, kind: kind, given: given, expected: expected) { site in
            try act(site)
            return nil
        }
    }

    /// Those that this architecture does not have are left out.
    static let all =
        everywhere + linksAndAttributes + (hasCall("open") ? pathsOnly : []) + (hasCall("renameat") ? [renameat] : [])

    private static let everywhere: [TracedCall] = [
        creation("openat(O_CREAT)") { site in
            try onDirectory(site) { try call("openat", $0, "new", .flags(creating), 0o644) }
        },
        truncation("openat(O_TRUNC)") { site in
            try call("openat", .here, site.path("file"), .flags(O_RDWR | O_TRUNC), 0)
        },
        truncation("openat2(O_TRUNC)") { site in
            try call("openat2", .here, site.path("file"), .words([UInt64(O_RDWR | O_TRUNC), 0, 0]), 24)
        },
        creation("openat2(O_CREAT)") { site in
            try call("openat2", .here, site.path("new"), .words([UInt64(creating), 0o644, 0]), 24)  // struct open_how
        },
        writing("write") { site in
            let text = Array("after write".utf8)
            try call("write", .descriptor(site.descriptor), .bytes(text), .number(text.count))
        },
        writing("pwrite64") { site in
            try call("pwrite64", .descriptor(site.descriptor), .bytes(Array("after pwrite64".utf8)), 14, 0)
        },
        writing("writev") { site in
            try call("writev", .descriptor(site.descriptor), .vector(["after ", "writev"]), 2)
        },
        writing("pwritev") { site in
            try call("pwritev", .descriptor(site.descriptor), .vector(["after ", "pwritev"]), 2, 0, 0)
        },
        writing("pwritev2") { site in
            try call("pwritev2", .descriptor(site.descriptor), .vector(["after ", "pwritev2"]), 2, 0, 0, 0)
        },
        naming("truncate", "truncate", given: ["file": .file("content")], expected: ["file": .file("cont")]) { site in
            try call("truncate", site.path("file"), 4)
        },
        TracedCall(
            name: "ftruncate", kind: "truncate", given: ["file": .file("content")], opened: O_WRONLY,
            expected: ["file": .file("con")]
        ) { site in
            try call("ftruncate", .descriptor(site.descriptor), 3)
            return nil
        },
        naming("mkdirat", "mkdir", expected: ["new": .directory]) { site in
            _ = try onDirectory(site) { try call("mkdirat", $0, "new", 0o755) }
        },
        naming(
            "unlinkat", "unlink", given: ["old": .file("content"), "other": .file("stays")],
            expected: ["other": .file("stays")]
        ) { site in
            _ = try onDirectory(site) { try call("unlinkat", $0, "old", 0) }
        },
        naming("unlinkat(AT_REMOVEDIR)", "rmdir", given: ["old": .directory]) { site in
            try call("unlinkat", .here, site.path("old"), .flags(AT_REMOVEDIR))
        },
        naming("renameat2", "rename", given: ["old": .file("content")], expected: ["new": .file("content")]) { site in
            try call("renameat2", .here, site.path("old"), .here, site.path("new"), 0)
        },
        TracedCall(
            name: "mmap and a store", kind: "store", given: ["file": .file("0123456789")], opened: O_RDWR,
            expected: ["file": .file("01234X6789")]
        ) { site in
            let protection = PROT_READ | PROT_WRITE
            let address = try call(
                "mmap", 0, 4096, .flags(protection), .flags(MAP_SHARED), .descriptor(site.descriptor), 0)
            support_store(address + 5, UInt8(ascii: "X"))
            try call("munmap", .number(address), 4096)
            return nil
        },
    ]

    /// Not setxattr, fallocate and chattr: zfs-fuse has none of them.
    private static let linksAndAttributes: [TracedCall] = [
        naming(
            "linkat", "link", given: ["old": .file("content")],
            expected: ["old": .file("content"), "new": .file("content")]
        ) { site in
            try call("linkat", .here, site.path("old"), .here, site.path("new"), 0)
        },
        naming("symlinkat", "create", expected: ["new": .other(S_IFLNK | 0o777)]) { site in
            _ = try onDirectory(site) { try call("symlinkat", "/anywhere", $0, "new") }
        },
        naming("mknodat", "create", expected: ["new": .other(S_IFIFO | 0o600)]) { site in
            try call("mknodat", .here, site.path("new"), .number(Int(S_IFIFO) | 0o600), 0)
        },
        attributing("fchmod", O_RDONLY) { site in try call("fchmod", .descriptor(site.descriptor), 0o600) },
        attributing("fchown", O_RDONLY) { site in try call("fchown", .descriptor(site.descriptor), 7, 7) },
        attributing("fchmodat") { site in try call("fchmodat", .here, site.path("file"), 0o600) },
        attributing("fchownat") { site in try call("fchownat", .here, site.path("file"), 7, 7, 0) },
        attributing("utimensat") { site in
            try call("utimensat", .here, site.path("file"), .words([1_000_000_000, 0, 1_000_000_000, 0]), 0)
        },
        attributing("utimensat of a descriptor", O_RDONLY) { site in
            try call("utimensat", .descriptor(site.descriptor), 0, .words([1_000_000_000, 0, 1_000_000_000, 0]), 0)
        },
        copying("sendfile") { site, source in
            try call("sendfile", .descriptor(site.descriptor), source, 0, 7)
        },
        copying("copy_file_range") { site, source in
            try call("copy_file_range", source, 0, .descriptor(site.descriptor), 0, 7, 0)
        },
        copying("splice") { site, source in
            var ends: [CInt] = [0, 0]
            guard pipe(&ends) == 0 else { throw CallError(call: "pipe", errno: .init(rawValue: errno)) }
            defer { ends.forEach { close($0) } }
            try call("splice", source, 0, .descriptor(ends[1]), 0, 7, 0)
            try call("splice", .descriptor(ends[0]), 0, .descriptor(site.descriptor), 0, 7, 0)
        },
    ]

    private static func attributing(
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

    /// From the file `source` to `file`.
    private static func copying(
        _ name: String, _ act: @escaping @Sendable (Site, Argument) throws -> Void
    ) -> TracedCall {
        TracedCall(
            name: name, kind: "write", given: ["file": .file("before."), "source": .file("content")], opened: O_WRONLY,
            expected: ["file": .file("content"), "source": .file("content")]
        ) { site in
            let source = try OpenFile(site.directory + "/source", O_RDONLY)
            try act(site, .descriptor(source.raw))
            return nil
        }
    }

    private static let pathsOnly: [TracedCall] = [
        naming(
            "link", "link", given: ["old": .file("content")],
            expected: ["old": .file("content"), "new": .file("content")]
        ) { site in
            try call("link", site.path("old"), site.path("new"))
        },
        naming("symlink", "create", expected: ["new": .other(S_IFLNK | 0o777)]) { site in
            try call("symlink", "/anywhere", site.path("new"))
        },
        naming("mknod", "create", expected: ["new": .other(S_IFIFO | 0o600)]) { site in
            try call("mknod", site.path("new"), .number(Int(S_IFIFO) | 0o600), 0)
        },
        attributing("chmod") { site in try call("chmod", site.path("file"), 0o600) },
        attributing("chown") { site in try call("chown", site.path("file"), 7, 7) },
        attributing("lchown") { site in try call("lchown", site.path("file"), 7, 7) },
        creation("open(O_CREAT)") { site in try call("open", site.path("new"), .flags(creating), 0o644) },
        creation("creat") { site in try call("creat", site.path("new"), 0o644) },
        truncation("creat over a file") { site in try call("creat", site.path("file"), 0o644) },
        truncation("open(O_TRUNC)") { site in try call("open", site.path("file"), .flags(O_WRONLY | O_TRUNC), 0) },
        naming("mkdir", "mkdir", expected: ["new": .directory]) { site in try call("mkdir", site.path("new"), 0o755) },
        naming("unlink", "unlink", given: ["old": .file("content")]) { site in try call("unlink", site.path("old")) },
        naming("rmdir", "rmdir", given: ["old": .directory]) { site in try call("rmdir", site.path("old")) },
        naming(
            "rename", "rename", given: ["old": .file("content"), "new": .file("covered")],
            expected: ["new": .file("content")]
        ) { site in
            try call("rename", site.path("old"), site.path("new"))
        },
    ]

    private static let renameat = naming(
        "renameat", "rename", given: ["old": .file("content")], expected: ["new": .file("content")]
    ) { site in
        _ = try onDirectory(site) { try call("renameat", $0, "old", $0, "new") }
    }
}
