import CRestoreSupport
import Glibc
import SystemPackage
import TestSupport
import Synchronization
import Testing

@testable import Restore

/// Among users who want it to go wrong, and after kills.
@Suite("Restoring among others", .serialized)
struct SafetyTests {
    @Test(
        "swapped for links and directories while it restores, it never gets out",
        arguments: [Scratch.disk, Scratch.memory])
    func race(place: String) throws {
        let scratch = try Scratch(on: place)
        let (root, live, outside) = (
            try scratch.directory("snapshot"), try scratch.directory("live"), try scratch.directory("outside")
        )
        #expect(tree_make(try scratch.directory("snapshot/tree"), 21, 40) >= 0)
        try write("file", to: root + "/file")
        #expect(tree_make(try scratch.directory("outside/precious"), 22, 40) >= 0)
        let before = try record(outside)
        mkdir(live + "/victim", 0o755)
        try write("mine", to: live + "/victim/mine")
        let racer = tree_race(live, "victim", outside + "/precious")
        var (done, failed) = (0, 0)
        for round in 0..<300 {
            let path = round.isMultiple(of: 2) ? "tree" : "file"
            let options = round % 3 == 0 ? RestoreOptions(mode: .beside) : inPlace()
            do {
                try Restoring(
                    root: root, path: path, directory: live, name: round % 3 == 0 ? "beside-\(round)" : "victim",
                    options: options
                ).run()
                done += 1
            } catch let error as RestoreError {
                failed += 1
                #expect([.taken, .failed, .refused].contains(error.kind), "\(error)")
            }
        }
        let swaps = tree_race_stop(racer)
        #expect(swaps > 100 && done > 100, "\(swaps) swaps, \(done) done, \(failed) failed")
        #expect(difference(try record(outside), before) == "")
        // What has its name is whole, or one of the racer's own.
        for name in try names(in: live) where name.hasPrefix("beside-") {
            let number = Int(name.dropFirst(7)) ?? 0
            let expected = try record(root + (number.isMultiple(of: 2) ? "/tree" : "/file"))
            #expect(difference(try record(live + "/" + name), expected) == "", "\(name)")
        }
    }

    @Test("killed at any point: the original is old or new and whole, and the next restore tidies up")
    func killed() throws {
        var random = SplitMix64(seed: 77)
        var (kills, remainders) = (0, 0)
        for place in [Scratch.disk, Scratch.memory] {
            let cases: [(String, String, Bool)] = [
                ("in-place", "tree", false), ("in-place", "file", false), ("in-place", "tree", true),
                ("keep", "tree", false),
                ("beside", "tree", false),
            ]
            for (mode, path, plain) in cases {
                let scratch = try Scratch(on: place)
                let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
                #expect(tree_make(try scratch.directory("snapshot/tree"), 31, 60) >= 0)
                try write(String(repeating: "new ", count: 10_000), to: root + "/file")
                #expect(tree_make(try scratch.directory("live/tree"), 32, 60) >= 0)
                try write("old", to: live + "/file")
                let (old, new) = (try record(live + "/" + path), try record(root + "/" + path))
                for _ in 0..<22 {
                    let child = try Child([mode, root, path, live, path] + (plain ? [String(Int.max), "plain"] : []))
                    // From its first system calls to well into the second restore.
                    usleep(UInt32.random(in: 500...60_000, using: &random))
                    child.kill()
                    kills += 1
                    remainders += try names(in: live).count { $0.hasPrefix(".kairos-restore-") }
                    let isThere = access(live + "/" + path, F_OK) == 0
                    // Only two steps can leave the name without a file: the old one is in the stage then, and comes back.
                    #expect(isThere || plain)
                    if isThere {
                        let now = try record(live + "/" + path)
                        #expect(now == old || now == new, "\(difference(now, new))")
                    }
                    let opened = try open(live)
                    for leftover in try Stage.sweep(opened) {
                        if case .left(let reason) = leftover.fate { Issue.record("\(reason)") }
                    }
                    let now = try record(live + "/" + path)
                    #expect(now == old || now == new)
                    #expect(try !names(in: live).contains { $0.hasPrefix(".kairos-restore-") })
                    if mode == "keep" || mode == "beside" {
                        for name in try names(in: live) where name.hasPrefix("tree.version") {
                            let kept = try record(live + "/" + name)
                            #expect(kept == old || kept == new, "\(name)")
                            #expect(Removal.empty(try open(live + "/" + name)) == nil && rmdir(live + "/" + name) == 0)
                        }
                    }
                }
            }
        }
        #expect(kills == 220 && remainders > 20, "\(kills) kills, \(remainders) remainders")
    }

    @Test("what was to be kept is kept, also when its name was taken since")
    func keptNameTaken() throws {
        let scratch = try Scratch()
        let live = try scratch.directory("live")
        for name in ["tree", "tree.version", "tree.version-2"] {
            try write(name, to: try scratch.directory("live/" + name) + "/file")
        }
        do {
            // As a SIGKILL leaves it after the exchange.
            let stage = try Stage(in: try open(live))
            try stage.directory.makeDirectory(Stage.old)
            let inode = try stage.directory.status(of: Stage.old).identity.inode
            try stage.announce(Stage.Swap(old: inode, name: Array("tree".utf8), kept: Array("tree.version".utf8)))
        }
        #expect(try Stage.sweep(open(live)).map(\.fate) == [.removed])
        #expect(try names(in: live).sorted() == ["tree", "tree.version", "tree.version-2", "tree.version-3"])
        #expect(read(live + "/tree.version-2/file") == "tree.version-2")
    }

    @Test("what only looks like a remainder is left alone")
    func forged() throws {
        let scratch = try Scratch()
        let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
        try write("x", to: root + "/f")
        func path(_ name: String) -> String { live + "/.kairos-restore-" + name }
        // Root's own directory that a user gave the name; one of a user's; one with another's mark; a file; a link.
        mkdir(path("root"), 0o700)
        try write("precious", to: path("root") + "/precious")
        mkdir(path("user"), 0o700)
        chown(path("user"), 1000, 1000)
        try write("kairos restore: a working directory, inode 1\n", to: path("user") + "/kairos-stage")
        mkdir(path("copied"), 0o700)
        try write("kairos restore: a working directory, inode 1\n", to: path("copied") + "/kairos-stage")
        try write("x", to: path("file"))
        symlink(root, path("link"))
        mkdir(path("empty"), 0o700)
        let report = try Restoring(root: root, path: "f", directory: live, name: "f").run()
        #expect(report.leftovers.map(\.name) == [Array(".kairos-restore-empty".utf8)])
        #expect(try names(in: live).count == 6)
        #expect(read(path("root") + "/precious") == "precious")
        // A living one has a lock.
        let stage = try Stage(in: try open(live))
        #expect(try Restoring(root: root, path: "f", directory: live, name: "g").run().leftovers.isEmpty)
        #expect(stage.remove() == nil)
    }

    @Test(
        "another user's directory does not get into a tree that is removed, by a descriptor that its owner kept",
        arguments: [Scratch.disk, Scratch.memory])
    func movedIn(place: String) throws {
        let scratch = try Scratch(on: place)
        let (root, live, shared) = (
            try scratch.directory("snapshot"), try scratch.directory("live"), try scratch.directory("shared")
        )
        _ = try scratch.directory("snapshot/tree")
        try write("new", to: root + "/tree/f")
        // The attacker's tree, some directories deep, and a directory of the victim's that its group may write to.
        let (attacker, victim) = (uid_t(4001), uid_t(4002))
        var kept: [CInt] = []
        defer { for descriptor in kept { close(descriptor) } }
        for path in ["live/tree", "live/tree/a", "live/tree/a/b", "live/tree/c"] {
            let path = try scratch.directory(path)
            chown(path, attacker, attacker)
            kept.append(Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC))
        }
        chmod(shared, 0o777)
        let theirs = try scratch.directory("shared/theirs")
        let secret = try scratch.directory("shared/theirs/private")
        try write("thesis", to: secret + "/thesis")
        chmod(theirs, 0o777)
        chmod(secret, 0o700)
        for path in [theirs, secret, secret + "/thesis"] { chown(path, victim, victim) }

        let descriptors = kept
        let errors = Mutex<[CInt]>([])
        let restoring = Restoring(root: root, path: "tree", directory: live, name: "tree", options: inPlace())
        let report = try Removal.$willClear.withValue({ _ in
            for descriptor in descriptors {
                let error = tree_move_in(attacker, theirs, descriptor, "theirs")
                errors.withLock { $0.append(error) }
            }
        }) { try restoring.run() }
        #expect(report.remainder == nil && report.isWhole)
        #expect(try names(in: live) == ["tree"] && read(live + "/tree/f") == "new")
        #expect(read(secret + "/thesis") == "thesis")
        // The stage, and the four directories of the tree; what was removed by then is not there any more.
        #expect(errors.withLock { $0.count } == 20)
        #expect(errors.withLock { $0.allSatisfy { [EACCES, ENOENT].contains($0) } && $0.contains(EACCES) })
    }

    @Test("a file system that is mounted in the tree is not carried off")
    func mounts() throws {
        let scratch = try Scratch()
        let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
        _ = try scratch.directory("snapshot/tree")
        _ = try scratch.directory("live/tree")
        let inner = try scratch.directory("live/tree/inner")
        #expect(tree_mount(inner, "size=1m") == 0)
        defer { tree_unmount(inner) }
        try write("precious", to: inner + "/precious")
        let restoring = Restoring(root: root, path: "tree", directory: live, name: "tree", options: inPlace())
        #expect(try restoring.compare().mounts == [Array("inner".utf8)])
        let error = #expect(throws: RestoreError.self) { try restoring.run() }
        #expect(error?.kind == .refused && "\(String(describing: error))".contains("mounted"))
        let itself = Restoring(root: root, path: "tree", directory: live + "/tree", name: "inner", options: inPlace())
        #expect(throws: RestoreError.self) { try itself.run() }
        #expect(read(inner + "/precious") == "precious")
        #expect(try names(in: inner) == ["precious"])
        // As a source it is another file system's, and told.
        let report = try Restoring(root: live, path: "tree", directory: root, name: "copy").run()
        #expect(report.skipped.map(\.path) == [Array("inner".utf8)])
    }

    @Test("--to follows links of root's in root's directories, and no others")
    func namedDirectories() throws {
        let scratch = try Scratch(on: "/run")
        let real = try scratch.directory("real")
        _ = try scratch.directory("real/below")
        symlink("real", scratch("link"))
        symlink(real, scratch("absolute"))
        let shared = try scratch.directory("shared")
        chmod(shared, 0o1777)
        mkdir(shared + "/mine", 0o755)
        symlink(real, shared + "/link")
        let expected = try open(real + "/below").status().identity
        for path in [
            real + "/below", scratch("link/below"), scratch("absolute/below/"), scratch("link/../real/./below"),
        ] {
            let handle = try DestinationDirectory.named(Array(path.utf8))
            #expect(try Opened(owning: dup(handle.descriptor.rawValue), .destination).status().identity == expected)
        }
        _ = try DestinationDirectory.named(Array((shared + "/mine").utf8))
        for path in [shared + "/link/below", shared + "/mine/../mine", scratch("nothing"), "", real + "/below/x\0y"] {
            #expect(throws: RestoreError.self) { _ = try DestinationDirectory.named(Array(path.utf8)) }
        }
    }

    @Test("a mount point is one of that device, and no link of a user's to a directory in the same dataset")
    func mountPoints() throws {
        let scratch = try Scratch()
        let live = try scratch.directory("live")
        #expect(tree_mount(live, "size=1m") == 0)
        defer { tree_unmount(live) }
        mkdir(live + "/inner", 0o755)
        symlink("live/inner", scratch("link"))
        let device = try open(live).status().identity.device
        func original(_ path: String, _ device: UInt64) throws {
            _ = try DestinationDirectory.original(
                mountPoint: Array(path.utf8), device: device, path: [], creating: nil)
        }
        try original(live, device)
        for (path, device) in [(live, device + 1), (scratch("link"), device), (live + "/inner", device)] {
            #expect(throws: RestoreError.self) { try original(path, device) }
        }
    }

    @Test("missing directories of an original come back as they were; links in its place are not followed")
    func originalDirectories() throws {
        let scratch = try Scratch()
        let (root, live, outside) = (
            try scratch.directory("snapshot"), try scratch.directory("live"), try scratch.directory("outside")
        )
        for name in ["a", "a/b", "a/b/c"] { mkdir(root + "/" + name, 0o755) }
        chown(root + "/a/b", 1000, 100)
        chmod(root + "/a/b", 0o2750)
        let fd = try FileDescriptor.open(FilePath(root), .readOnly)
        defer { try? fd.close() }
        let source = RestoreSource(root: fd, path: [])
        func open(_ path: String, creating: Bool = true) throws -> [String] {
            try DestinationDirectory.original(
                mountPoint: Array(live.utf8), device: nil, path: Array(path.utf8), creating: creating ? source : nil
            ).made.map { String(decoding: $0, as: UTF8.self) }
        }
        #expect(throws: RestoreError.self) { try open("a/b/c", creating: false) }
        #expect(try open("a/b/c") == ["a", "a/b", "a/b/c"])
        #expect(try open("a/b/c") == [])
        var status = stat()
        #expect(stat(live + "/a/b", &status) == 0 && status.st_mode & 0o7777 == 0o2750 && status.st_uid == 1000)
        #expect(try names(in: live) == ["a"])
        #expect(try names(in: live + "/a") == ["b"])
        #expect(throws: RestoreError.self) { try open("not-in-snapshot") }
        rmdir(live + "/a/b/c")
        symlink(outside, live + "/a/b/c")
        for path in ["a/b/c", "a/b/c/d"] {
            let error = #expect(throws: RestoreError.self) { try open(path) }
            #expect(error?.kind == .refused || error?.kind == .failed)
        }
        #expect(try names(in: outside).isEmpty)
    }
}
