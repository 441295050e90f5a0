import CLinux
import CTestSupport
import Datasets
import FoundationEssentials
import Glibc
import Subprocess
import SystemPackage
import Testing
import Tracing

extension IntegrationTests {
    @Suite("kairos trace")
    struct TraceTests {
        /// The sets that this kernel takes. Which ones is its own affair; that there is one is another test's.
        static let sets: [ProbeSet] = [.vfs, .syscalls].filter { set in
            (try? Probes(set, mode: .watch, ringBytes: 1 << 16)) != nil
        }

        /// What this kernel's user gets. The other set is another machine's best.
        static let best = Array(sets.prefix(1))

        enum Ground: String, CaseIterable, Sendable { case temporary, dataset }

        @Test("each operation is shown once, with every field as it was", arguments: sets, Ground.allCases)
        func eachOnce(set: ProbeSet, place: Ground) async throws {
            let fixture = try Fixture.current()
            let there = place == .dataset ? fixture.path("a") + "/traced" : nil
            if let there { try makeDirectory(there) }
            defer { if let there { removeTree(there) } }
            var deeds: [TraceDeed] = []
            var thread = 0
            var (before, after) = (UInt64(0), UInt64(0))
            let options = ["--probes", set.rawValue, "--op", "all", "--failed", "--pid", "\(getpid())"]
            var directory = ""
            var status = stat()
            let all = try await TraceRun.lines(options, in: there) { run in
                directory = run.directory
                thread = try call("gettid")
                before = SystemClock.monotonic()
                var work = TraceDeeds(directory: run.directory)
                try work.doAll(hasFailures: true)
                after = SystemClock.monotonic()
                deeds = work.done
                stat(run.directory, &status)
            }
            let lines = all.filter { line in
                [line.path, line.oldPath].contains { $0?.hasPrefix(directory + "/") ?? false }
            }
            // tmpfs has no writeback, and tells nobody of its dirty pages.
            if lines.first?.fs == "tmpfs" { deeds.removeAll { $0.op == "store" } }
            let heard = lines.map { "\($0.op) \($0.oldPath.map { $0 + " -> " } ?? "")\($0.path ?? "?")" }
            #expect(heard == deeds.map(\.description))
            guard heard == deeds.map(\.description) else { return }
            let device = try #require(DeviceNumber(stDevice: UInt64(status.st_dev)))
            for (line, deed) in zip(lines, deeds) {
                let what = Comment(rawValue: "\(deed.description): \(line)")
                #expect(line.v == 1, what)
                #expect(line.pid == Int(getpid()) && line.tid == thread && line.ppid == Int(getppid()), what)
                #expect(line.uid == Int(getuid()), what)
                #expect(line.comm == Self.command(), what)
                #expect(line.tsNs >= before && line.tsNs <= after, what)
                #expect(line.dev == device.description, what)
                #expect(line.dataset == (place == .dataset ? fixture.name("a") : nil), what)
                #expect(place == .dataset ? line.fs == "zfs" : line.fs?.isEmpty == false, what)
                #expect(line.bytes == deed.bytes, what)
                #expect(line.offset == deed.offset, what)
                #expect(line.epoch == nil && !line.probe.isEmpty, what)
                let failed = deed.result.flatMap { $0 < 0 ? Errno(rawValue: CInt(-$0)) : nil }
                #expect(line.errno == failed.map(Self.name), what)
                // A call that succeeded is told by functions of the kernel, which know no system call, or by the call's end.
                if failed != nil || set == .syscalls { #expect(line.ret == deed.result.map(Int64.init), what) }
                if let inode = line.inode, line.errno == nil, let known = deed.inode { #expect(inode == known, what) }
                if set == .vfs, failed == nil { #expect(line.inode != nil && line.generation != nil, what) }
                if !line.flags.contains("given") && failed == nil { #expect(line.inode != nil, what) }
            }
        }

        /// The test's own `comm`.
        private static func command() -> String? {
            (try? contents(of: "/proc/self/task/\(try call("gettid"))/comm")).map {
                String(decoding: $0.dropLast(), as: UTF8.self)
            }
        }

        private static func name(_ errno: Errno) -> String {
            [
                .noSuchFileOrDirectory: "ENOENT", .fileExists: "EEXIST", .isDirectory: "EISDIR",
                .badFileDescriptor: "EBADF",
            ][errno] ?? "?\(errno)"
        }

        @Test("a recording, replayed, shows the same events", arguments: best)
        func recording(set: ProbeSet) async throws {
            let file = "/tmp/kairos-recording-\(getpid())"
            defer { unlink(file) }
            var deeds: [TraceDeed] = []
            var directory = ""
            let options = [
                "--probes", set.rawValue, "--op", "all", "--failed", "--pid", "\(getpid())", "--record", file,
            ]
            let there = try Fixture.current().path("a") + "/recorded"
            try makeDirectory(there)
            defer { removeTree(there) }
            let shown = try await TraceRun.lines(options, in: there) { run in
                directory = run.directory
                var work = TraceDeeds(directory: run.directory)
                try work.doAll(hasFailures: true)
                deeds = work.done
            }
            #expect(shown.isEmpty, "what is recorded is not printed")
            let replayed = try await KairosProcess.output([
                "trace", "--replay", file, "--json", "--op", "all", "--failed", directory,
            ])
            #expect(replayed.status == .exited(0), "\(replayed.stderr)")
            let lines = try replayed.stdout.split(separator: "\n").map { try TraceLine(line: Array($0.utf8)) }
            #expect(
                lines.map { "\($0.op) \($0.oldPath.map { $0 + " -> " } ?? "")\($0.path ?? "?")" }
                    == deeds.map(\.description))
            #expect(lines.map(\.bytes) == deeds.map(\.bytes) && lines.map(\.offset) == deeds.map(\.offset))
            let unlinks = try await KairosProcess.output([
                "trace", "--replay", file, "--op", "delete", "--no-header", directory,
            ])
            #expect(
                unlinks.stdout.split(separator: "\n").count
                    == deeds.filter { ["unlink", "rmdir"].contains($0.op) && ($0.result ?? 0) >= 0 }.count)
            // Cut short, it yields what is whole, and says where that ends.
            truncate(file, off_t(try contents(of: file).count - 1))
            let cut = try await KairosProcess.output(["trace", "--replay", file, "--json"])
            #expect(
                cut.status == .exited(1) && cut.stderr.contains("ends in the middle of a block, at byte 16"), "\(cut)")
        }

        @Test("filters leave out what is not asked for", arguments: best)
        func filters(set: ProbeSet) async throws {
            func shown(_ options: [String], _ body: @escaping (String) throws -> Void) async throws -> [TraceLine] {
                var directory = ""
                return try await TraceRun.lines(["--probes", set.rawValue] + options) { run in
                    directory = run.directory
                    try body(run.directory)
                }.filter { $0.path?.hasPrefix(directory) ?? false }
            }
            func make(_ name: String, _ directory: String, from place: Place? = nil) throws {
                try call("mkdirat", .here, .text(directory + "/" + name), 0o777, from: place)
            }
            // What it is asked for is shown, and nothing else.
            let byOperation = try await shown(["--op", "rmdir,rename"]) { directory in
                try make("d", directory)
                try call("renameat", .here, .text(directory + "/d"), .here, .text(directory + "/e"))
                try call("unlinkat", .here, .text(directory + "/e"), .flags(0x200))
            }
            #expect(byOperation.map(\.op) == ["rename", "rmdir"])
            let byPID = try await shown(["--pid", "\(getpid())"]) { directory in
                try make("own", directory)
                try make("child's", directory, from: Place(directory: "/"))
            }
            #expect(byPID.compactMap(\.path).map { $0.split(separator: "/").last } == ["own"])
            let following = try await shown(["--pid", "\(getpid())", "--follow"]) { directory in
                try make("own", directory)
                try make("child's", directory, from: Place(directory: "/"))
            }
            #expect(following.compactMap(\.path).map { $0.split(separator: "/").last } == ["own", "child's"])
            let byName = try await shown(["--comm", "a name of its own that is long"]) { directory in
                try make("own", directory)
                try make("named", directory, from: Place(title: Array("a name of its own that is long".utf8)))
            }
            #expect(byName.compactMap(\.path).map { $0.split(separator: "/").last } == ["named"])
            #expect(byName.allSatisfy { $0.comm == "a name of its o" })
            let byUser = try await shown(["--user", "65534"]) { directory in
                chmod(directory, 0o777)
                try make("root's", directory)
                try make("nobody's", directory, from: Place(user: 65534))
            }
            #expect(byUser.compactMap(\.path).map { $0.split(separator: "/").last } == ["nobody's"])
            #expect(byUser.allSatisfy { $0.uid == 65534 })
        }

        @Test("a tree is its directory and what lies or is mounted below, however one comes there", arguments: best)
        func trees(set: ProbeSet) async throws {
            let fixture = try Fixture.current()
            let a = fixture.path("a")
            try makeDirectory(a + "/tree/sub")
            try makeDirectory(a + "/tree2")
            defer { for name in ["/tree", "/tree2"] { removeTree(a + name) } }
            let lines = try await TraceRun.lines(["--probes", set.rawValue, "--op", "mkdir", a + "/tree"]) { _ in
                for path in ["tree/one", "tree/sub/two", "tree2/three", "four", "nested/five"] {
                    try call("mkdirat", .here, .text(a + "/" + path), 0o755)
                }
                let sub = try OpenFile(a + "/tree/sub", O_RDONLY | O_DIRECTORY)
                try call("mkdirat", .descriptor(sub.raw), "six", 0o755)
                try call("mkdirat", .descriptor(sub.raw), "../../tree2/seven", 0o755)
            }
            for name in ["four", "nested/five"] { rmdir(a + "/" + name) }
            #expect(lines.compactMap(\.path) == ["tree/one", "tree/sub/two", "tree/sub/six"].map { a + "/" + $0 })
            let whole = try await TraceRun.lines(["--probes", set.rawValue, "--op", "mkdir", a]) { _ in
                for path in ["four", "nested/five", "../b/eight"] {
                    try call("mkdirat", .here, .text(a + "/" + path), 0o755)
                }
            }
            for name in ["four", "nested/five", "../b/eight"] { rmdir(a + "/" + name) }
            #expect(whole.compactMap(\.path) == ["four", "nested/five"].map { a + "/" + $0 })
            let dataset = try await TraceRun.lines(
                ["--probes", set.rawValue, "--op", "mkdir", fixture.name("a/nested")]
            ) { _ in
                for path in ["four", "nested/five"] { try call("mkdirat", .here, .text(a + "/" + path), 0o755) }
            }
            for name in ["four", "nested/five"] { rmdir(a + "/" + name) }
            #expect(dataset.compactMap(\.path) == [a + "/nested/five"])
            #expect(dataset.map(\.dataset) == [fixture.name("a/nested")])
        }

        @Test("a target is what has its name: replaced, renamed, or reached from beside it", arguments: best)
        func targets(set: ProbeSet) async throws {
            let fixture = try Fixture.current()
            let here = fixture.path("a") + "/targets"
            try makeDirectory(here + "/in")
            defer { removeTree(here) }
            try write("1", to: here + "/file")
            let place = Place(directory: here)
            let lines = try await TraceRun.lines(
                ["--probes", set.rawValue, "--op", "all", "--op", "create", here + "/in", here + "/file"]
            ) { run in
                // Into the tree and out of it, from beside it.
                try write("x", to: here + "/x")
                try call("renameat", .here, "x", .here, "in/x", from: place)
                try call("renameat", .here, "in/x", .here, "y", from: place)
                // The file that is its name from now on.
                try write("2", to: here + "/new")
                try call("renameat", .here, "new", .here, "file", from: place)
                // From the moment on at which it was told of, it is followed.
                let isTold = await wait(for: KairosProcess.patience) {
                    run.kairos.lines.contains { String(decoding: $0, as: UTF8.self).contains("targets/new") }
                }
                #expect(isTold)
                try write("3", to: here + "/file")
                try call("unlinkat", .here, "file", 0, from: place)
            }
            let heard = lines.filter { ["rename", "write", "unlink"].contains($0.op) }.map { line in
                line.op + " "
                    + [line.oldPath, line.path].compactMap { $0?.dropFirst(here.count + 1) }.joined(separator: " ")
            }
            #expect(heard == ["rename x in/x", "rename in/x y", "rename new file", "write file", "unlink file"])
        }

        /// Operations that follow each other at once are told in short, against the first: only while who and where are the same.
        @Test("in quick succession, who and where stay right", arguments: sets)
        func succession(set: ProbeSet) async throws {
            let fixture = try Fixture.current()
            let here = fixture.path("a") + "/quick"
            try makeDirectory(here)
            defer { removeTree(here) }
            var wanted: [String] = []
            func act() throws {
                let own = try #require(Self.command())
                defer { kairos_thread_name(pthread_self(), own) }
                let file = try OpenFile(here + "/a", O_CREAT | O_RDWR)
                let other = try OpenFile(here + "/b", O_CREAT | O_RDWR)
                for round in 0..<200 {
                    let (name, path) = ("quick-\(round % 3)", round % 2 == 0 ? "a" : "c")
                    kairos_thread_name(pthread_self(), name)
                    for _ in 0..<3 { try call("write", .descriptor(file.raw), "x", 1) }
                    wanted += Array(repeating: "\(name) \(path)", count: 3)
                    try call("write", .descriptor(other.raw), "y", 1)
                    wanted.append("\(name) b")
                    let next = round % 2 == 0 ? "c" : "a"
                    try call("renameat", .here, .text(here + "/" + path), .here, .text(here + "/" + next))
                }
            }
            let options = ["--probes", set.rawValue, "--op", "write", "--pid", "\(getpid())", here]
            let lines = try await TraceRun.lines(options) { run in
                try act()
                // At its end it does not wait for a reader that is slow.
                _ = await wait(for: .seconds(60)) { run.kairos.lines.count >= wanted.count }
            }
            #expect(lines.map { "\($0.comm ?? "?") \($0.path?.split(separator: "/").last ?? "?")" } == wanted)
            #expect(lines.filter { $0.path?.hasSuffix("/b") ?? false }.map(\.offset) == (0..<200).map { $0 })
        }

        @Test("names may hold any byte, be long and deep", arguments: best)
        func hostileNames(set: ProbeSet) async throws {
            let names: [[UInt8]] = [
                Array("new\nline".utf8), Array("\u{1B}]0;title\u{7}\u{1B}[2J".utf8), Array("right\u{202E}left".utf8),
                [0xFF, 0xFE, UInt8(ascii: "x")], Array("\"quoted\\".utf8),
                [UInt8](repeating: UInt8(ascii: "n"), count: 255),
                [0xC2, 0x9B], [0x7F],
            ]
            var directory = ""
            var deep = ""
            let options = ["--probes", set.rawValue, "--op", "create,mkdir", "--pid", "\(getpid())"]
            func act(_ run: TraceRun) throws {
                directory = run.directory
                for name in names {
                    let path = Array(directory.utf8) + [UInt8(ascii: "/")] + name
                    close(CInt(try call("openat", .here, .name(path), .flags(O_CREAT | O_WRONLY), 0o644)))
                }
                deep = directory
                for _ in 0..<64 {
                    deep += "/deeper"
                    try call("mkdirat", .here, .text(deep), 0o755)
                }
            }
            let lines = try await TraceRun.lines(options) { run in try act(run) }
            let prefix = Array((directory + "/").utf8)
            let own = lines.filter { $0.name?.starts(with: prefix) ?? false }
            #expect(own.prefix(names.count).map { $0.name.map { Array($0.dropFirst(prefix.count)) } } == names)
            #expect(own.count == names.count + 64)
            #expect(own.last?.path == deep)
            try await TraceRun.run(["--no-header"] + options) { run in
                try act(run)
                _ = try await run.kairos.stop(.interrupt)
                for line in run.kairos.lines {
                    #expect(line.allSatisfy { $0 >= 0x20 && $0 != 0x7F }, "\(String(decoding: line, as: UTF8.self))")
                    #expect(String(decoding: line, as: UTF8.self).unicodeScalars.allSatisfy(SafeText.isPrintable))
                }
                let here = Array((directory + "/").utf8)
                #expect(run.kairos.lines.count { $0.firstRange(of: here) != nil } == names.count + 64)
            }
        }

        @Test("it never shows itself, even where it writes")
        func itself() async throws {
            let fixture = try Fixture.current()
            let recording = fixture.path("a") + "/recording"
            defer { unlink(recording) }
            try await TraceRun.run(["--op", "all", "--record", recording, fixture.path("a")]) { run in
                try makeDirectory(fixture.path("a") + "/seen")
                rmdir(fixture.path("a") + "/seen")
                // A second old, a block is written: into the tree that is traced.
                let isWritten = await wait(for: KairosProcess.patience) {
                    ((try? contents(of: recording))?.count ?? 0) > 16
                }
                #expect(isWritten)
                _ = try await run.kairos.stop(.interrupt)
            }
            let replayed = try await KairosProcess.output(["trace", "--replay", recording, "--json", "--op", "all"])
            let ops = try replayed.stdout.split(separator: "\n").map { try TraceLine(line: Array($0.utf8)).op }
            #expect(ops == ["mkdir", "rmdir"], "\(replayed.stdout)")
        }
    }
}
