import CRestoreSupport
import Glibc
import Synchronization
import SystemPackage
import Testing

@testable import Restore

@Suite("Copying")
struct CopyTests {
    @Test(
        "a tree of everything is the same afterwards: bytes, holes, owners, times, attributes, links",
        arguments: [Scratch.disk, Scratch.memory], Array(UInt64(1)...6))
    func trees(place: String, seed: UInt64) throws {
        let scratch = try Scratch(on: place)
        let root = try scratch.directory("snapshot")
        let tree = try scratch.directory("snapshot/tree")
        #expect(tree_make(tree, seed, 400) >= 0)
        let expected = try record(tree)
        let live = try scratch.directory("live")
        var last = RestoreProgress()
        let report = try Restoring(root: root, path: "tree", directory: live, name: "back").run { last = $0 }
        #expect(difference(try record(live + "/back"), expected) == "")
        #expect(report.isWhole && report.losses.isEmpty && report.remainder == nil, "\(report)")
        #expect(last.entries == last.totalEntries && last.bytes == last.totalBytes, "\(last)")
        #expect(report.files + report.directories + report.others + report.hardLinks == last.entries)
        #expect(try names(in: live) == ["back"])

        // And over another one.
        #expect(tree_make(scratch("live/back"), seed + 100, 100) >= 0)
        let replaced = try Restoring(root: root, path: "tree", directory: live, name: "back", options: inPlace()).run()
        #expect(replaced.hasReplaced && replaced.remainder == nil)
        #expect(difference(try record(live + "/back"), expected) == "")
        #expect(try names(in: live) == ["back"])
    }

    @Test("the same without flags of rename, as OpenZFS 2.1 and zfs-fuse are")
    func withoutFlags() throws {
        let scratch = try Scratch()
        let root = try scratch.directory("snapshot")
        #expect(tree_make(try scratch.directory("snapshot/tree"), 9, 200) >= 0)
        try write("file", to: scratch("snapshot/file"))
        let live = try scratch.directory("live")
        try Publication.$withoutFlags.withValue(true) {
            for _ in 0..<2 {
                let report = try Restoring(root: root, path: "tree", directory: live, name: "tree", options: inPlace())
                    .run()
                #expect(report.remainder == nil)
            }
            for name in ["file", "kept-1", "kept-2"] {
                var options = RestoreOptions(mode: .beside)
                options.names = { Array("kept-\($0)".utf8) }
                #expect(
                    try Restoring(root: root, path: "file", directory: live, name: "file", options: options).run().name
                        == Array(name.utf8))
            }
        }
        #expect(difference(try record(live + "/tree"), try record(scratch("snapshot/tree"))) == "")
        #expect(try names(in: live) == ["file", "kept-1", "kept-2", "tree"])
    }

    @Test("any kind in the place of any other, with the old one kept or not, with and without exchange")
    func kinds() throws {
        let make: [String: (String) throws -> Void] = [
            "file": { try write("content", to: $0) },
            "directory": {
                mkdir($0, 0o755)
                try write("inner", to: $0 + "/inner")
            },
            "symlink": { symlink("nowhere", $0) }, "fifo": { mkfifo($0, 0o600) },
            "nothing": { _ in },
        ]
        for (old, makeOld) in make {
            for (new, makeNew) in make where new != "nothing" {
                for keepsOld in [false, true] {
                    for withoutFlags in [false, true] {
                        let scratch = try Scratch(on: Scratch.memory)
                        let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
                        try makeNew(root + "/x")
                        try makeOld(live + "/x")
                        let before = old == "nothing" ? "" : try record(live + "/x")
                        let report = try Publication.$withoutFlags.withValue(withoutFlags) {
                            try Restoring(
                                root: root, path: "x", directory: live, name: "x", options: inPlace(keepsOld: keepsOld)
                            ).run()
                        }
                        let what = Comment(rawValue: "\(new) for \(old), \(keepsOld), \(withoutFlags): \(report)")
                        #expect(difference(try record(live + "/x"), try record(root + "/x")) == "", what)
                        #expect(report.remainder == nil && report.hasReplaced == (old != "nothing"), what)
                        let isKept = keepsOld && old != "nothing"
                        #expect(try names(in: live) == (isKept ? ["kept-1", "x"] : ["x"]), what)
                        if isKept { #expect(difference(try record(live + "/kept-1"), before) == "", what) }
                    }
                }
            }
        }
    }

    @Test("beside never overwrites: the next free name is taken, and when there is none it says so")
    func beside() throws {
        let scratch = try Scratch()
        let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
        try write("old", to: root + "/f.txt")
        let name = VersionName(Array("f.txt".utf8), stamp: "S", isDirectory: false)
        for expected in ["f.txt", "f.S.txt", "f.S-2.txt"] {
            var options = RestoreOptions(mode: .beside)
            options.names = { name.candidate($0) }
            let report = try Restoring(root: root, path: "f.txt", directory: live, name: "f.txt", options: options)
                .run()
            #expect(String(decoding: report.name, as: UTF8.self) == expected)
        }
        let error = #expect(throws: RestoreError.self) {
            try Restoring(root: root, path: "f.txt", directory: live, name: "f.txt").run()
        }
        #expect(error?.kind == .taken)
        #expect(try names(in: live) == ["f.S-2.txt", "f.S.txt", "f.txt"])
    }

    @Test("5,000 directories in each other, with names of 200 bytes: copied, compared, replaced, removed")
    func deep() throws {
        let scratch = try Scratch()
        let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
        _ = try scratch.directory("snapshot/deep")
        #expect(tree_deep(root + "/deep", 5000, 200) == 0)
        let restoring = Restoring(root: root, path: "deep", directory: live, name: "deep", options: inPlace())
        #expect(try restoring.run().directories == 5001)
        #expect(tree_depth(live + "/deep", 200) == 5000)
        let comparison = try restoring.compare()
        #expect(comparison.replaced.entries == 5002 && comparison.added.entries == 0 && comparison.removed.entries == 0)
        let report = try restoring.run()
        #expect(report.hasReplaced && report.remainder == nil)
        #expect(tree_depth(live + "/deep", 200) == 5000)
    }

    @Test("holes stay holes, at the end too, and what is cut by them is right")
    func sparse() throws {
        for place in [Scratch.disk, Scratch.memory] {
            let scratch = try Scratch(on: place)
            let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
            let file = try FileDescriptor.open(
                FilePath(root + "/f"), .readWrite, options: .create, permissions: .ownerReadWrite)
            try file.resize(to: 300 << 20)
            try file.writeAll(toAbsoluteOffset: (100 << 20) + 12345, "middle".utf8)
            try file.close()
            let report = try Restoring(root: root, path: "f", directory: live, name: "f").run()
            #expect(report.bytes == 300 << 20)
            #expect(difference(try record(live + "/f"), try record(root + "/f")) == "")
            var status = stat()
            #expect(stat(live + "/f", &status) == 0 && status.st_blocks < 1000)
        }
    }

    @Test("three sparse files of 8 EiB are more than 64 bits hold, and are counted as that")
    func huge() throws {
        let scratch = try Scratch(on: Scratch.memory)
        _ = try scratch.directory("d")
        for name in ["a", "b", "c"] {
            try write("", to: scratch("d/" + name))
            try #require(truncate(scratch("d/" + name), off_t.max) == 0)
        }
        let count = try TreeWalk.count(try open(scratch.path), Array("d".utf8), isStopped: { false })
        #expect(count.entries == 4 && count.bytes == .max)
        var sum = UInt64(1)
        sum.addSize(Int64(-5))
        sum.addSize(UInt64.max)
        #expect(sum == .max)
    }

    @Test("a progress in pieces, and an end between two of them")
    func cancelled() throws {
        let scratch = try Scratch()
        let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
        #expect(tree_make(try scratch.directory("snapshot/tree"), 5, 300) >= 0)
        try write("original", to: live + "/tree")
        for limit in [0, 1, 50, 200] {
            let count = Atomic(0)
            var options = inPlace()
            options.isStopped = { count.load(ordering: .relaxed) > limit }
            let error = #expect(throws: RestoreError.self) {
                try Restoring(root: root, path: "tree", directory: live, name: "tree", options: options).run { _ in
                    count.add(1, ordering: .relaxed)
                }
            }
            #expect(error?.kind == .cancelled)
            #expect(try names(in: live) == ["tree"])
            #expect(read(live + "/tree") == "original")
        }
    }

    @Test("no room: nothing is changed, nothing is left, and it says what to do")
    func noSpace() throws {
        let scratch = try Scratch()
        let root = try scratch.directory("snapshot")
        let live = try scratch.directory("live")
        try write("x", to: try scratch.directory("snapshot/tree") + "/first")
        let big = try FileDescriptor.open(
            FilePath(root + "/tree/big"), .readWrite, options: .create, permissions: .ownerReadWrite)
        for offset in 0..<64 {
            try big.writeAll(toAbsoluteOffset: Int64(offset) << 16, [UInt8](repeating: 7, count: 1 << 16))
        }
        try big.close()
        #expect(tree_mount(live, "size=2m,mode=755") == 0)
        defer { tree_unmount(live) }
        mkdir(live + "/tree", 0o755)
        try write("original", to: live + "/tree/mine")
        let before = try record(live + "/tree")
        for options in [inPlace(), RestoreOptions(mode: .beside)] {
            for path in ["tree", "tree/big"] {
                let error = #expect(throws: RestoreError.self) {
                    try Restoring(root: root, path: path, directory: live, name: "tree", options: options).run()
                }
                #expect(error?.kind == .noSpace, "\(String(describing: error))")
                #expect("\(String(describing: error))".contains("--to"))
            }
        }
        #expect(difference(try record(live + "/tree"), before) == "")
        #expect(try names(in: live) == ["tree"])
    }

    @Test(
        "immutable and append-only come back, also on the top and on hard links, and are no hindrance in what is replaced"
    )
    func flags() throws {
        let scratch = try Scratch()
        let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
        let tree = try scratch.directory("snapshot/tree")
        _ = try scratch.directory("snapshot/tree/sub")
        try write("x", to: tree + "/file")
        try write("y", to: tree + "/sub/linked")
        link(tree + "/sub/linked", tree + "/again")
        let flagged = ["/file", "/sub/linked", "/sub", ""]
        for name in flagged { #expect(tree_set_flags(tree + name, UInt32(tree_immutable)) == 0) }
        for _ in 0..<2 {
            let report = try Restoring(root: root, path: "tree", directory: live, name: "back", options: inPlace())
                .run()
            #expect(report.flagged == 4 && report.losses.isEmpty && report.remainder == nil, "\(report)")
            for name in flagged + ["/again"] { #expect(tree_get_flags(live + "/back" + name) == tree_immutable) }
            #expect(difference(try record(live + "/back"), try record(tree)) == "")
            // What is immutable itself nobody can rename, root neither.
            let error = #expect(throws: RestoreError.self) {
                try Restoring(root: root, path: "tree", directory: live, name: "back", options: inPlace()).run()
            }
            #expect(error?.remedy?.contains("chattr") == true, "\(String(describing: error))")
            #expect(tree_set_flags(live + "/back", 0) == 0)
        }
    }

    @Test("without privileges no set-user-ID bit, capability or device comes along, and all of it is told")
    func privileges() throws {
        let scratch = try Scratch()
        let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
        let tree = try scratch.directory("snapshot/tree")
        try write("x", to: tree + "/suid")
        chmod(tree + "/suid", 0o4755)
        chmod(tree, 0o2755)
        mknod(tree + "/null", S_IFCHR | 0o666, makedev(1, 3))
        let capability: [UInt8] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        #expect(tree_set_xattr(tree + "/suid", "security.capability", capability, capability.count) == 0)
        var options = RestoreOptions(mode: .beside)
        options.carriesPrivileges = false
        let report = try Restoring(root: root, path: "tree", directory: live, name: "t", options: options).run()
        #expect(report.skipped.map(\.path) == [Array("null".utf8)] && report.losses.count == 2, "\(report)")
        var status = stat()
        #expect(stat(live + "/t/suid", &status) == 0 && status.st_mode & 0o7777 == 0o755)
        #expect(tree_get_xattr(live + "/t/suid", "security.capability", nil, 0) == -1)
        #expect(stat(live + "/t", &status) == 0 && status.st_mode & 0o7777 == 0o2755)
    }

    @Test("what is being restored has nothing of the directory's default ACL in it, at no time")
    func defaultACL() throws {
        for place in [Scratch.disk, Scratch.memory] {
            let scratch = try Scratch(on: place)
            let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
            #expect(tree_make(try scratch.directory("snapshot/tree"), 11, 60) >= 0)
            // user::rwx user:1234:rwx group::rwx mask::rwx other::rwx
            var acl: [UInt8] = [2, 0, 0, 0]
            for (tag, id) in [(1, -1), (2, 1234), (4, -1), (16, -1), (32, -1)] as [(UInt8, Int32)] {
                acl += [tag, 0, 7, 0] + withUnsafeBytes(of: id.littleEndian) { Array($0) }
            }
            #expect(tree_set_xattr(live, "system.posix_acl_default", acl, acl.count) == 0)
            chmod(live, 0o2777)
            try Restoring(root: root, path: "tree", directory: live, name: "back").run { _ in
                guard let list = try? names(in: live), let stage = list.first(where: { $0.hasPrefix(".kairos") }) else {
                    return
                }
                var status = stat()
                #expect(stat(live + "/" + stage, &status) == 0 && status.st_mode & 0o777 == 0o700)
                #expect(tree_get_xattr(live + "/" + stage, "system.posix_acl_access", nil, 0) == -1)
            }
            #expect(difference(try record(live + "/back"), try record(root + "/tree")) == "")
        }
    }

    @Test("bad input does nothing")
    func badInput() throws {
        let scratch = try Scratch()
        let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
        try write("x", to: root + "/f")
        symlink("f", root + "/link")
        symlink(".", root + "/loop")
        for (path, name, kind) in [
            ("f", "", RestoreError.Kind.refused), ("f", "a/b", .refused), ("f", "..", .refused),
            ("f", String(repeating: "x", count: 256), .refused), ("../snapshot/f", "f", .refused),
            ("gone", "f", .notFound),
            ("gone/f", "f", .notFound), ("loop/f", "f", .refused), ("f/x", "f", .refused),
        ] {
            let error = #expect(throws: RestoreError.self) {
                try Restoring(root: root, path: path, directory: live, name: name).run()
            }
            #expect(error?.kind == kind, "\(path) as \(name): \(String(describing: error))")
            #expect(try names(in: live).isEmpty)
        }
        // A link is restored as such.
        try Restoring(root: root, path: "link", directory: live, name: "link").run()
        #expect(difference(try record(live + "/link"), try record(root + "/link")) == "")
        // And the root as a directory.
        let whole = try Restoring(root: root, path: "", directory: live, name: "all").run()
        #expect(whole.directories == 1)
        #expect(difference(try record(live + "/all"), try record(root)) == "")
    }
}

func makedev(_ major: UInt64, _ minor: UInt64) -> dev_t { dev_t(major << 8 | minor) }
