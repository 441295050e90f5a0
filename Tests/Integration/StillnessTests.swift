import CTestSupport
import Glibc
import SystemPackage
import Testing

/// Something that changes no file.
struct Harmless: Sendable, CustomTestStringConvertible {
    var name: String
    /// The error that the call must fail with; nil: it must succeed.
    var errno: Errno?
    /// Done to the directory, which holds `file` (16 bytes), `full/inner` and `private` (mode 0600).
    var act: @Sendable (String) throws -> Void

    var testDescription: String { name }

    /// `traced` is a call that would be a change if it succeeded.
    static func failing(_ name: String, _ errno: Errno, _ act: @escaping @Sendable (String) throws -> Void) -> Harmless
    {
        Harmless(name: name, errno: errno, act: act)
    }

    private static let nobody = Place(user: 65534)

    static let all: [Harmless] = [
        Harmless(name: "open for reading, read, pread64, lseek") { directory in
            let file = try OpenFile(directory + "/file", O_RDONLY)
            let buffer = [UInt8](repeating: 0, count: 16)
            try call("read", .descriptor(file.raw), .bytes(buffer), 16)
            try call("pread64", .descriptor(file.raw), .bytes(buffer), 8, 4)
            try call("lseek", .descriptor(file.raw), 0, 0)
        },
        Harmless(name: "stat, statx, readdir") { directory in
            let room = [UInt8](repeating: 0, count: 4096)
            try call("newfstatat", .here, .text(directory + "/file"), .bytes(room), 0)
            try call("statx", .here, .text(directory + "/file"), 0, 0x7FF, .bytes(room))
            let opened = try OpenFile(directory, O_RDONLY | O_DIRECTORY)
            try call("getdents64", .descriptor(opened.raw), .bytes(room), 4096)
        },
        Harmless(name: "open for writing and close") { directory in
            _ = try OpenFile(directory + "/file", O_RDWR)
            _ = try OpenFile(directory + "/file", O_RDWR | O_CREAT)
        },
        Harmless(name: "fsync and fdatasync") { directory in
            let file = try OpenFile(directory + "/file", O_RDWR)
            try call("fsync", .descriptor(file.raw))
            try call("fdatasync", .descriptor(file.raw))
        },
        Harmless(name: "room for what is there already") { directory in
            let file = try OpenFile(directory + "/file", O_RDWR)
            do {
                // The second keeps the size: OpenZFS sets nothing aside.
                try call("fallocate", .descriptor(file.raw), 0, 0, 8)
                try call("fallocate", .descriptor(file.raw), 1, 0, 4096)
            } catch let error as CallError where error.errno == .notSupported {
                // zfs-fuse has none.
            }
        },
        Harmless(name: "a rename of a file to its own name") { directory in
            try call("renameat", .here, .text(directory + "/file"), .here, .text(directory + "/file"))
        },
        Harmless(name: "write of nothing") { directory in
            let file = try OpenFile(directory + "/file", O_WRONLY)
            try call("write", .descriptor(file.raw), .bytes([0]), 0)
        },
        Harmless(name: "a shared mapping that is only read") { directory in
            let file = try OpenFile(directory + "/file", O_RDWR)
            let address = try call(
                "mmap", 0, 4096, .flags(PROT_READ | PROT_WRITE), .flags(MAP_SHARED), .descriptor(file.raw), 0)
            _ = UnsafePointer<UInt8>(bitPattern: address)?.pointee
            try call("munmap", .number(address), 4096)
        },
        Harmless(name: "a store to a private mapping") { directory in
            let file = try OpenFile(directory + "/file", O_RDWR)
            let address = try call(
                "mmap", 0, 4096, .flags(PROT_READ | PROT_WRITE), .flags(MAP_PRIVATE), .descriptor(file.raw), 0)
            support_store(address, UInt8(ascii: "X"))
            try call("munmap", .number(address), 4096)
        },
        failing("unlink of a missing file", .noSuchFileOrDirectory) { directory in
            try call("unlinkat", .here, .text(directory + "/missing"), 0)
        },
        failing("mkdir over a directory", .fileExists) { directory in
            try call("mkdirat", .here, .text(directory + "/full"), 0o755)
        },
        // Not of a full directory: zfs-fuse takes up a transaction group for that, and then its figures say "changed".
        failing("rmdir of a file", .notDirectory) { directory in
            try call("unlinkat", .here, .text(directory + "/file"), .flags(AT_REMOVEDIR))
        },
        failing("linkat over a file", .fileExists) { directory in
            try call("linkat", .here, .text(directory + "/file"), .here, .text(directory + "/private"), 0)
        },
        failing("fchmodat of a missing file", .noSuchFileOrDirectory) { directory in
            try call("fchmodat", .here, .text(directory + "/missing"), 0o600)
        },
        failing("rename of a missing file", .noSuchFileOrDirectory) { directory in
            try call("renameat2", .here, .text(directory + "/missing"), .here, .text(directory + "/new"), 0)
        },
        failing("write to a descriptor for reading", .badFileDescriptor) { directory in
            let file = try OpenFile(directory + "/file", O_RDONLY)
            try call("write", .descriptor(file.raw), .bytes([0]), 1)
        },
        failing("ftruncate of a descriptor for reading", .invalidArgument) { directory in
            let file = try OpenFile(directory + "/file", O_RDONLY)
            try call("ftruncate", .descriptor(file.raw), 1)
        },
        failing("truncate of a missing file", .noSuchFileOrDirectory) { directory in
            try call("truncate", .text(directory + "/missing"), 1)
        },
        failing("open of a missing file", .noSuchFileOrDirectory) { directory in
            try call("openat", .here, .text(directory + "/missing"), .flags(O_RDWR), 0)
        },
        failing("open(O_CREAT | O_EXCL) of a file", .fileExists) { directory in
            try call("openat", .here, .text(directory + "/file"), .flags(O_RDWR | O_CREAT | O_EXCL), 0o644)
        },
        failing("open(O_TRUNC) without permission", .permissionDenied) { directory in
            try call("openat", .here, .text(directory + "/private"), .flags(O_WRONLY | O_TRUNC), 0, from: nobody)
        },
        failing("open(O_CREAT) without permission", .permissionDenied) { directory in
            try call("openat", .here, .text(directory + "/new"), .flags(O_WRONLY | O_CREAT), 0o644, from: nobody)
        },
        failing("a path that cannot be read", .badAddress) { _ in
            try call("unlinkat", .here, 8, 0)
        },
    ]
}

extension IntegrationTests {
    @Suite(
        "What changes nothing makes no snapshot",
        .kairos(
            "a", "b",
            prepare: { fixture in
                let directory = fixture.path("a") + "/still"
                try makeDirectory(directory + "/full")
                try write("sixteen letters!", to: directory + "/file")
                try write("inner", to: directory + "/full/inner")
                try write("secret", to: directory + "/private", mode: 0o600)
            })
    )
    struct StillnessTests {
        @Test("reads, commit points alone, failed calls", arguments: Harmless.all)
        func harmless(_ harmless: Harmless) async throws {
            let fixture = try Fixture.current()
            try await KairosTrait.current().expectNoSnapshot(in: fixture) {
                do {
                    try harmless.act(fixture.path("a") + "/still")
                    #expect(harmless.errno == nil)
                } catch let error as CallError where harmless.errno != nil {
                    #expect(error.errno == harmless.errno, "\(error)")
                }
            }
        }

        @Test("a file without a name that is written hides no change that comes after it")
        func hidden() async throws {
            let fixture = try Fixture.current()
            let kairos = try KairosTrait.current()
            let path = fixture.path("a") + "/still/nameless"
            let file = try OpenFile(path, O_RDWR | O_CREAT)
            try call("unlinkat", .here, .text(path), 0)
            try await kairos.rest(in: fixture)
            for round in 0..<3 {
                try await kairos.expectNoSnapshot(in: fixture) {
                    try call("pwrite64", .descriptor(file.raw), .text("round \(round)"), 7, 0)
                }
                // Nothing else happens on the host: whoever is to notice has to be woken for this.
                _ = try await kairos.onlySnapshot(of: "a", in: fixture) {
                    try call("mkdirat", .here, .text(fixture.path("a") + "/still/seen-\(round)"), 0o755)
                }
            }
        }

        @Test("ten quiet seconds")
        func quietSeconds() async throws {
            let kairos = try KairosTrait.current()
            kairos.expectNothingUnclaimed()
            // Nothing tells that nothing comes: here the time itself is what is tested.
            try await Task.sleep(for: .seconds(10))
            kairos.expectNothingUnclaimed()
        }
    }
}
