import CRestoreSupport
import Datasets
import FoundationEssentials
import Glibc
import Restore
import Scratch
import Subprocess
import SystemPackage
import TestSupport
import Testing

extension IntegrationTests {
    /// Getting back, out of real snapshots: `.zfs` with OpenZFS, a clone with zfs-fuse.
    @Suite("Restoring")
    struct RestoreTests {
        private struct Row: Decodable {
            var name: String
            var files: Int?
            var added: Int?
            var removed: Int?
            var replaced: Int?
            var error: String?
            var safetySnapshot: String?
        }

        /// A dataset of its own around a test.
        private func dataset(_ name: String, _ body: (Fixture, String) async throws -> Void) async throws {
            let fixture = try Fixture.current()
            try await fixture.zfs("create", fixture.name(name))
            do { try await body(fixture, fixture.path(name)) } catch {
                _ = try? await fixture.patiently("destroy", "-R", fixture.name(name))
                throw error
            }
            try await fixture.patiently("destroy", "-R", fixture.name(name))
        }

        private func open(
            _ fixture: Fixture, _ dataset: String, _ snapshot: String, _ body: (String) async throws -> Void
        ) async throws {
            if OpenZFS.isInKernel { return try await body(fixture.path(dataset) + "/.zfs/snapshot/" + snapshot) }
            try await SnapshotReader(fixture: fixture).open("\(fixture.name(dataset))@\(snapshot)", body)
        }

        private func record(_ path: String) throws -> String {
            // zfs-fuse tells nothing of holes, and has no trusted attributes.
            guard let text = OpenZFS.isInKernel ? tree_record(path) : tree_record_plain(path) else {
                throw CallError(call: "walk \(path)", errno: Errno(rawValue: errno))
            }
            defer { free(text) }
            // A file of a single block that is nothing but a hole is a hole in the snapshot, and may be data in the live dataset.
            return String(cString: text).split(separator: "\n").map { line in
                let words = line.split(separator: " ")
                let size = words.lazy.compactMap { $0.hasPrefix("size=") ? Int($0.dropFirst(5)) : nil }.first ?? 0
                return words.filter { !$0.hasPrefix("data=") || size > 1 << 17 }.joined(separator: " ")
            }.joined(separator: "\n")
        }

        private func difference(_ left: String, _ right: String) -> String {
            let (left, right) = (left.split(separator: "\n"), right.split(separator: "\n"))
            let (only, other) = (left.filter { !right.contains($0) }, right.filter { !left.contains($0) })
            return (only.prefix(5).map { "< \($0)" } + other.prefix(5).map { "> \($0)" }).joined(separator: "\n")
        }

        private func expectSame(
            _ path: String, _ expected: String, in fixture: Fixture, sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            // As long as a file is dirty OpenZFS may call a hole data.
            if OpenZFS.isInKernel { try await fixture.pool.command.runPool(["sync", fixture.pool.name]) }
            let differs = difference(try record(path), expected)
            #expect(differs.isEmpty, "\(differs)", sourceLocation: sourceLocation)
        }

        /// Names in a directory that belong to a restore at work. (`Tree` reads no names that are not UTF-8.)
        private func remainders(in directory: String) -> [String] {
            guard let stream = opendir(directory) else { return ["?"] }
            defer { closedir(stream) }
            var names: [String] = []
            while let entry = readdir(stream) {
                let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                    String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                }
                if name.hasPrefix(".kairos-restore-") { names.append(name) }
            }
            return names
        }

        private func restore(
            _ root: String, _ path: String, to directory: String, _ name: String, _ mode: RestoreOptions.Mode
        ) throws -> RestoreReport {
            let root = try DestinationDirectory.named(Array(root.utf8))
            let directory = try DestinationDirectory.named(Array(directory.utf8))
            return try Restorer.copy(
                RestoreSource(root: root.descriptor, path: Array(path.utf8), owner: root),
                to: RestoreDestination(in: directory, name: Array(name.utf8)), RestoreOptions(mode: mode))
        }

        @Test("trees of everything come back out of a snapshot as they were, beside and in place")
        func trees() async throws {
            try await dataset("restore") { fixture, live in
                for seed in UInt64(1)...3 {
                    let tree = live + "/tree\(seed)"
                    mkdir(tree, 0o755)
                    #expect(tree_make(tree, seed, 150) >= 0)
                }
                try await fixture.zfs("snapshot", fixture.name("restore") + "@s")
                try await open(fixture, "restore", "s") { root in
                    for seed in UInt64(1)...3 {
                        let name = "tree\(seed)"
                        let expected = try record(root + "/" + name)
                        #expect(tree_make(live + "/" + name, seed + 50, 80) >= 0)
                        let beside = try restore(root, name, to: live, "beside\(seed)", .beside)
                        #expect(beside.isWhole && beside.remainder == nil, "\(beside)")
                        if OpenZFS.isInKernel { #expect(beside.losses.isEmpty, "\(beside.losses)") }
                        try await expectSame(live + "/beside\(seed)", expected, in: fixture)
                        let replaced = try restore(root, name, to: live, name, .inPlace(keepsOld: false))
                        #expect(replaced.hasReplaced && replaced.remainder == nil, "\(replaced)")
                        try await expectSame(live + "/" + name, expected, in: fixture)
                    }
                }
                #expect(remainders(in: live).isEmpty)
            }
        }

        @Test(
            "the command: a dry run, in place after a snapshot, a deleted file under its name, beside with the time in the name"
        )
        func command() async throws {
            try await dataset("restore-verb") { fixture, live in
                try makeDirectory(live + "/docs/sub")
                try write("first", to: live + "/docs/report.txt")
                try write("inner", to: live + "/docs/sub/inner.txt")
                try await fixture.zfs("snapshot", fixture.name("restore-verb") + "@s")
                try write("second", to: live + "/docs/report.txt")
                try write("new", to: live + "/docs/new.txt")
                try call("unlinkat", .here, .text(live + "/docs/sub/inner.txt"), 0)
                do {
                    func run(_ arguments: String...) async throws -> (TerminationStatus, [Row], String) {
                        let (status, output, messages) = try await KairosProcess.output(
                            ["restore", "--json", "--snapshot", "s", "--zfs-command", fixture.pool.command.zfs]
                                + arguments)
                        let decoder = JSONDecoder()
                        decoder.keyDecodingStrategy = .convertFromSnakeCase
                        let rows = output.isEmpty ? [] : try decoder.decode([Row].self, from: Data(output.utf8))
                        return (status, rows, messages)
                    }
                    // Nothing is written before all are found, and nothing is replaced without a word.
                    let before = try Tree.read(live)
                    for arguments in [
                        [live + "/docs/report.txt", live + "/docs/gone.txt"], ["--in-place", live + "/docs"],
                        ["--in-place", "--to", "/tmp", live + "/docs"], ["--in-place", "--yes", live],
                    ] {
                        let (status, _, messages) = try await KairosProcess.output(
                            ["restore", "--snapshot", "s", "--zfs-command", fixture.pool.command.zfs] + arguments)
                        #expect(status == .exited(2) && !messages.isEmpty, "\(arguments): \(messages)")
                    }
                    let (_, planned, _) = try await run("--in-place", "--dry-run", live + "/docs")
                    #expect(planned.first?.added == 1 && planned.first?.removed == 1 && planned.first?.replaced == 3)
                    #expect(try Tree.read(live) == before)

                    let (status, rows, messages) = try await run(
                        live + "/docs/sub/inner.txt", live + "/docs/report.txt")
                    #expect(status.isSuccess && rows.first?.name == "inner.txt", "\(messages)")
                    let beside = try #require(rows.last?.name)
                    #expect(beside.hasPrefix("report.2") && beside.hasSuffix(".txt"))
                    #expect(try Tree.read(live)["docs/" + beside] == .file("first"))
                    #expect(try Tree.read(live)["docs/report.txt"] == .file("second"))

                    let (ended, replaced, words) = try await run("--in-place", "--yes", live + "/docs")
                    #expect(ended.isSuccess, "\(words)")
                    #expect(
                        try Tree.read(live).entries.keys.sorted() == [
                            "docs", "docs/report.txt", "docs/sub", "docs/sub/inner.txt",
                        ])
                    #expect(try Tree.read(live)["docs/report.txt"] == .file("first"))
                    let safety = try #require(replaced.first?.safetySnapshot)
                    #expect(try await fixture.snapshots(of: "restore-verb") == ["s", safety])
                    let old = try await SnapshotReader(fixture: fixture).tree(
                        of: "\(fixture.name("restore-verb"))@\(safety)")
                    #expect(old["docs/new.txt"] == .file("new") && old["docs/report.txt"] == .file("second"))
                }
            }
        }

        @Test("of the snapshots there are: the newest that differs, one by name, one by time; on no way through a link")
        func lookup() async throws {
            try await dataset("restore-find") { fixture, live in
                func run(_ arguments: String...) async throws -> (TerminationStatus, String, String) {
                    try await KairosProcess.output(
                        ["restore", "--utc", "--zfs-command", fixture.pool.command.zfs] + arguments)
                }
                try makeDirectory(live + "/docs")
                try write("first", to: live + "/docs/report")
                try await fixture.zfs("snapshot", fixture.name("restore-find") + "@one")
                try write("second", to: live + "/docs/report")
                try await fixture.zfs("snapshot", fixture.name("restore-find") + "@two")
                // As it is now it is in the newest: the one before.
                var (status, output, messages) = try await run(live + "/docs/report")
                #expect(status.isSuccess && output.contains("5 B"), "\(output)\(messages)")
                try call("unlinkat", .here, .text(live + "/docs/report"), 0)
                (status, output, messages) = try await run(live + "/docs/report")
                #expect(status.isSuccess && output.hasSuffix("as report\n"), "\(output)\(messages)")
                #expect(try Tree.read(live)["docs/report"] == .file("second"))
                // The directory is gone, too; and a name that is no path.
                for entry in try Tree.read(live).entries.keys where entry.hasPrefix("docs/") {
                    unlink(live + "/" + entry)
                }
                rmdir(live + "/docs")
                (status, output, messages) = try await run(live + "/docs/report", "--snapshot", "one")
                #expect(status.isSuccess && messages.contains("made the directory docs"), "\(output)\(messages)")
                #expect(try Tree.read(live)["docs/report"] == .file("first"))
                symlink(live + "/docs", live + "/link")
                for (arguments, words) in [
                    ([live + "/link/report"], "symbolic link"), ([live + "/docs/nothing"], "is not in any"),
                    ([live + "/docs/report", "--snapshot", "three"], "has no snapshot three"),
                    ([live + "/docs/report", "--at", "1d ago"], "no snapshot as old"),
                    ([live + "/docs/report", "--at", "soon"], "is no time"), (["/proc/version"], "not on ZFS"),
                    ([live + "/docs/report", "--version", "9"], "has no version 9"),
                ] {
                    let (status, output, messages) = try await KairosProcess.output(
                        ["restore", "--utc", "--zfs-command", fixture.pool.command.zfs] + arguments)
                    #expect(
                        status == .exited(2) && output.isEmpty && messages.contains(words), "\(arguments): \(messages)")
                }
                (status, output, messages) = try await run(live + "/docs/report", "--at", "now")
                #expect(status.isSuccess && output.contains("6 B"), "\(output)\(messages)")
                (status, output, messages) = try await run(live + "/docs/../docs/report", "--version", "2")
                #expect(status.isSuccess && output.contains("6 B"), "\(output)\(messages)")
                if OpenZFS.isInKernel {
                    // A path into a snapshot means that snapshot.
                    (status, output, messages) = try await run(live + "/.zfs/snapshot/one/docs/report")
                    #expect(status.isSuccess && output.contains("5 B"), "\(output)\(messages)")
                }
                let left = try await fixture.zfs("list", "-H", "-o", "name", "-r", fixture.pool.name)
                #expect(!String(decoding: left, as: UTF8.self).contains("kairos-view"))
            }
        }

        @Test("killed while it replaces a tree on ZFS: old or new and whole, and tidied up by the next one")
        func killed() async throws {
            let child = FilePath(try KairosProcess.executable).removingLastComponent().appending("kairos-restore-child")
                .string
            try await dataset("restore-kill") { fixture, live in
                mkdir(live + "/tree", 0o755)
                #expect(tree_make(live + "/tree", 5, 40) >= 0)
                try await fixture.zfs("snapshot", fixture.name("restore-kill") + "@s")
                #expect(tree_make(live + "/tree", 6, 20) >= 0)
                try await open(fixture, "restore-kill", "s") { root in
                    let (old, new) = (try record(live + "/tree"), try record(root + "/tree"))
                    mkdir(live + "/probe", 0o755)
                    // OpenZFS from 2.2 on can exchange two names.
                    let inTwoSteps = try restore(root, "tree", to: live, "probe", .inPlace(keepsOld: false)).inTwoSteps
                    var random = SplitMix64(seed: 12)
                    for _ in 0..<(OpenZFS.isBrief ? 8 : 25) {
                        let pause = UInt32.random(in: 1000...400_000, using: &random)
                        #expect(tree_run_and_kill(child, "in-place", root, "tree", live, "tree", pause) == 0)
                        if exists(live + "/tree") {
                            let now = try record(live + "/tree")
                            #expect(now == old || now == new, "\(difference(now, new))")
                        } else {
                            #expect(inTwoSteps)
                        }
                        try write("x", to: live + "/other")
                        let report = try restore(live, "other", to: live, "again", .inPlace(keepsOld: false))
                        for leftover in report.leftovers {
                            if case .left(let reason) = leftover.fate { Issue.record("\(reason)") }
                        }
                        let now = try record(live + "/tree")
                        #expect(now == old || now == new, "\(difference(now, new))")
                        #expect(remainders(in: live).isEmpty, "\(remainders(in: live))")
                    }
                }
            }
        }

        @Test(
            "a large file is cloned: the pool grows by less than one per cent of it", .enabled(if: OpenZFS.isInKernel))
        func cloned() async throws {
            try await dataset("restore-clone") { fixture, live in
                let clones = try await fixture.pool.command.runPool(
                    ["get", "-H", "-o", "value", "feature@block_cloning", fixture.pool.name])
                guard
                    String(decoding: clones, as: UTF8.self).hasPrefix("en")
                        || String(decoding: clones, as: UTF8.self).hasPrefix("ac")
                else { return }
                let megabytes = OpenZFS.isBrief ? 96 : 384
                let file = try FileDescriptor.open(
                    FilePath(live + "/big"), .writeOnly, options: .create, permissions: .ownerReadWrite)
                let noise = try FileDescriptor.open("/dev/urandom", .readOnly)
                var block = [UInt8](repeating: 0, count: 1 << 20)
                for _ in 0..<megabytes {
                    let count = try block.withUnsafeMutableBytes { try noise.read(into: $0) }
                    #expect(try file.writeAll(block[..<count]) == 1 << 20)
                }
                try noise.close()
                try file.close()
                try await fixture.zfs("snapshot", fixture.name("restore-clone") + "@s")
                func allocated() async throws -> Int {
                    try await fixture.pool.command.runPool(["sync", fixture.pool.name])
                    let text = try await fixture.pool.command.runPool(
                        ["get", "-H", "-p", "-o", "value", "allocated", fixture.pool.name])
                    return try #require(Int(String(decoding: text, as: UTF8.self).filter(\.isNumber)))
                }
                let before = try await allocated()
                let report = try restore(live + "/.zfs/snapshot/s", "big", to: live, "back", .beside)
                let growth = try await allocated() - before
                #expect(report.kernelCopied == UInt64(megabytes) << 20)
                #expect(growth * 100 < megabytes << 20, "the pool grew by \(growth) bytes for \(megabytes) MiB")
                print("restored \(megabytes) MiB by cloning; the pool grew by \(growth) bytes")
            }
        }
    }
}
