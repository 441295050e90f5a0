import Datasets
import FoundationEssentials
import Glibc
import Journal
import Recovery
import Scratch
import Snapshots
import Subprocess
import SystemPackage
import TestSupport
import Testing
import Tracing

extension IntegrationTests {
    /// Looking back and getting back, on histories that are known: `.zfs` with OpenZFS, clones with zfs-fuse.
    @Suite("Looking back")
    struct RecoveryTests {
        struct Place: Decodable { var snapshot: String }
        private struct Change: Decodable, Hashable {
            var comm: String
            var pid: UInt32
            var op: [String]
        }
        private struct Row: Decodable {
            var event: String
            var version: Int?
            var path: String?
            var pathRaw: Data?
            var first: Place?
            var last: Place?
            var isLive: Bool?
            var isThereAgain: Bool?
            var missing: Place?
            var renamedFrom: String?
            var renamedFromRaw: Data?
            var renamedTo: String?
            var renamedToRaw: Data?
            var changes: [Change]?
        }
        /// Of `kairos deleted`: no event.
        private struct Deleted: Decodable {
            var path: String?
            var pathRaw: Data?
            var last: Place
            var missing: Place?
            var isThereAgain: Bool
            var changes: [Change]
        }
        private struct Listed: Decodable {
            var snapshot: String
            var isKairos: Bool
            var trigger: String?
            var isKept: Bool
            var reason: String
        }

        private static func bytes(_ text: String?, _ raw: Data?) -> [UInt8]? {
            raw.map { Array($0) } ?? text.map { Array($0.utf8) }
        }

        func dataset(_ name: String, _ body: (Fixture, String) async throws -> Void) async throws {
            let fixture = try Fixture.current()
            try await fixture.zfs("create", fixture.name(name))
            do { try await body(fixture, fixture.path(name)) } catch {
                _ = try? await fixture.patiently("destroy", "-R", fixture.name(name))
                throw error
            }
            let left = try await fixture.zfs("list", "-H", "-o", "name", "-r", fixture.pool.name)
            #expect(!String(decoding: left, as: UTF8.self).contains("kairos-view"))
            try await fixture.patiently("destroy", "-R", fixture.name(name))
        }

        func kairos(
            _ fixture: Fixture, _ arguments: [String], _ paths: [[UInt8]] = []
        ) async throws -> (status: TerminationStatus, stdout: [UInt8], stderr: String) {
            try await KairosProcess.bytes(
                arguments + ["--zfs-command", fixture.pool.command.zfs] + (paths.isEmpty ? [] : ["--"]), paths: paths)
        }

        func decode<Value: Decodable>(_ type: Value.Type, _ bytes: [UInt8]) throws -> Value {
            let decoder = JSONDecoder()
            decoder.keyDecodingStrategy = .convertFromSnakeCase
            return try decoder.decode(type, from: Data(bytes))
        }

        // MARK: A known history

        /// What a command said, as the model has it.
        private func log(_ bytes: [UInt8], below root: [UInt8]) throws -> HistoryModel.Log {
            func relative(_ path: [UInt8]?) -> [UInt8]? { path.map { Array($0.dropFirst(root.count + 1)) } }
            func place(_ place: Place?) throws -> Int? { try place.map { try #require(Int($0.snapshot.dropFirst())) } }
            var log = HistoryModel.Log()
            for row in try decode([Row].self, bytes) {
                let path = try #require(relative(Self.bytes(row.path, row.pathRaw)))
                switch row.event {
                case "version":
                    log.versions.append(
                        HistoryModel.Version(
                            path: path, first: try #require(try place(row.first)),
                            last: try #require(try place(row.last)),
                            renamedFrom: relative(Self.bytes(row.renamedFrom, row.renamedFromRaw)),
                            isLive: row.isLive ?? false))
                    #expect(row.version == log.versions.count)
                case "deleted", "renamed":
                    log.gone.append(
                        HistoryModel.Gone(
                            path: path, last: try #require(try place(row.last)), missing: try place(row.first),
                            renamedTo: relative(Self.bytes(row.renamedTo, row.renamedToRaw))))
                case "unsaved": log.isUnsaved = true
                default: Issue.record("an event \(row.event)")
                }
            }
            log.gone.sort { $0.last < $1.last }
            return log
        }

        /// With a link that has a former directory's name by now; and one of neither.
        private static let seeds = TestSeeds.of([2_825_104_952, 3_584_258].prefix(OpenZFS.isBrief ? 1 : 2))

        @Test(
            "every command shows a random history as it was: log, deleted, cat, diff, restore, list",
            arguments: seeds)
        func history(seed: UInt64) async throws {
            try await dataset("history") { fixture, live in
                var random = SplitMix64(seed: seed)
                var model = HistoryModel()
                var paths: Set<[UInt8]> = []
                let snapshots = OpenZFS.isBrief ? 4 : 6
                for index in 0...snapshots {
                    for _ in 0..<6 {
                        guard let operation = model.random(&random) else { continue }
                        try RealTree(live).apply(operation)
                        model.apply(operation)
                        paths.formUnion(model.live.keys)
                    }
                    guard index < snapshots else { break }
                    try await fixture.zfs("snapshot", fixture.name("history") + "@s\(index)")
                    model.snapshot()
                }
                let root = Array(live.utf8)
                let whole: ([UInt8]) -> [UInt8] = { $0.isEmpty ? root : root + [UInt8(ascii: "/")] + $0 }
                var ordered = paths.sorted { $0.lexicographicallyPrecedes($1) }.shuffled(using: &random)
                if OpenZFS.isBrief { ordered = Array(ordered.prefix(8)) }
                var looked = 0
                for path in ordered {
                    let named = "seed \(seed), \(SafeText.line(path, limit: 600))"
                    let expected = model.log(path)
                    let (status, output, messages) = try await kairos(fixture, ["log", "--json"], [whole(path)])
                    #expect(status == .exited(expected.versions.isEmpty ? 1 : 0), "\(named): \(messages)")
                    let told = try log(output, below: root)
                    #expect(told == expected, "\(named): \(messages)")
                    guard told == expected, looked < (OpenZFS.isBrief ? 4 : 12) else { continue }
                    try await checkContents(fixture, expected, model, whole, path, named, &looked)
                }
                let directories = Set(model.snapshots.flatMap { $0.filter(\.value.kind.isDirectory).map(\.key) })
                for directory in [[]] + directories.prefix(OpenZFS.isBrief ? 2 : 5) {
                    let expected = model.deletions(below: directory)
                    let (status, output, messages) = try await kairos(
                        fixture, ["deleted", "--all", "--json"], [whole(directory)])
                    let named = "seed \(seed), below \(SafeText.line(directory, limit: 600)): \(messages)"
                    #expect(status == .exited(expected.isEmpty ? 1 : 0), "\(named)")
                    let told = try decode([Deleted].self, output).map { row in
                        HistoryModel.Deletion(
                            path: Array((Self.bytes(row.path, row.pathRaw) ?? []).dropFirst(root.count + 1)),
                            last: try #require(Int(row.last.snapshot.dropFirst())),
                            missing: try row.missing.map { try #require(Int($0.snapshot.dropFirst())) },
                            isThereAgain: row.isThereAgain)
                    }
                    #expect(Set(told) == expected && told.count == expected.count, "\(named)")
                }
                let (status, output, messages) = try await kairos(
                    fixture, ["list", "--all", "--json", fixture.name("history")])
                #expect(status.isSuccess, "\(messages)")
                let listed = try decode([Listed].self, output)
                #expect(listed.map(\.snapshot) == (0..<snapshots).map { "s\($0)" })
                #expect(listed.allSatisfy { !$0.isKairos && $0.isKept })
            }
        }

        /// That `cat`, `diff` and `restore` take the versions that `log` has told of.
        private func checkContents(
            _ fixture: Fixture, _ log: HistoryModel.Log, _ model: HistoryModel, _ whole: ([UInt8]) -> [UInt8],
            _ path: [UInt8], _ named: String, _ looked: inout Int
        ) async throws {
            var before: HistoryModel.Node?
            for (number, version) in zip(1..., log.versions) {
                let node = model.snapshots[version.last][version.path]
                guard case .file(let bytes)? = node?.kind else {
                    let (status, _, messages) = try await kairos(
                        fixture, ["cat", "--version", "\(number)"], [whole(path)])
                    #expect(status == .exited(2) && !messages.isEmpty, "\(named), version \(number)")
                    before = nil
                    continue
                }
                looked += 1
                let (status, output, messages) = try await kairos(
                    fixture, ["cat", "--version", "\(number)"], [whole(path)])
                #expect(status.isSuccess && output == bytes, "\(named), version \(number): \(messages)")
                let (again, same, words) = try await kairos(
                    fixture, ["cat", "--snapshot", "s\(version.last)"], [whole(path)])
                #expect(again.isSuccess && same == bytes, "\(named), s\(version.last): \(words)")
                if let before {
                    let (status, output, messages) = try await KairosProcess.bytes(
                        ["diff", "--zfs-command", fixture.pool.command.zfs, "--"],
                        paths: [whole(path), Array("\(number - 1)".utf8), Array("\(number)".utf8)])
                    let isSame = before.kind == node?.kind && before.mode == node?.mode
                    #expect(status == .exited(isSame ? 0 : 1), "\(named), \(number): \(messages)")
                    #expect(output.isEmpty == isSame, "\(named), \(number)")
                }
                before = node
                let place = "/run/kairos-restored-\(getpid())"
                defer { unlink(place) }
                let (restored, _, problems) = try await kairos(
                    fixture, ["restore", "-q", "--version", "\(number)", "--to", place], [whole(path)])
                #expect(restored.isSuccess, "\(named), \(number): \(problems)")
                #expect(try contents(of: place) == bytes, "\(named), \(number)")
            }
        }

        // MARK: With a journal

        @Test("with what Kairos wrote down log and deleted say the same, and who did it")
        func journaled() async throws {
            let journal = "/run/kairos-recovery-\(getpid())"
            defer {
                for suffix in ["", "-wal", "-shm"] { unlink(journal + "/journal.db" + suffix) }
                rmdir(journal)
            }
            try await dataset("journaled") { fixture, live in
                var random = SplitMix64(seed: 7)
                var model = HistoryModel()
                var paths: Set<[UInt8]> = []
                let name = fixture.name("journaled")
                let command = ["run", "--json", "--journal", journal + "/journal.db"] + .prompt + [name]
                try await KairosProcess.run(command) { kairos in
                    try await kairos.ready()
                    for _ in 0..<(OpenZFS.isBrief ? 3 : 6) {
                        var isChanged = false
                        let start = kairos.claim().start
                        for _ in 0..<5 {
                            guard let operation = model.random(&random) else { continue }
                            try RealTree(live).apply(operation)
                            model.apply(operation)
                            isChanged = true
                            paths.formUnion(model.live.keys)
                        }
                        model.snapshot()
                        guard isChanged else { continue }
                        try await kairos.event("a snapshot", from: start) { $0.event == "snapshot" }
                    }
                    // Somebody else's is among them.
                    try await fixture.zfs("snapshot", name + "@foreign")
                    let start = kairos.claim().start
                    try write("last", to: live + "/last")
                    try await kairos.event("a snapshot", from: start) { $0.event == "snapshot" }
                    let (status, _) = try await kairos.stop()
                    #expect(status.isSuccess, "\(kairos.transcript)")
                }
                let root = Array(live.utf8)
                var told = 0
                func compare(_ arguments: [String], _ path: [UInt8]) async throws {
                    let with = try await kairos(fixture, arguments + ["--journal", journal + "/journal.db"], [path])
                    let without = try await kairos(fixture, arguments + ["--journal", "none"], [path])
                    #expect(with.status == without.status && with.stderr == without.stderr, "\(SafeText.line(path))")
                    let one = try JSONValue(parsing: with.stdout).withoutChanges
                    let other = try JSONValue(parsing: without.stdout).withoutChanges
                    told += one.count
                    #expect(other.count == 0)
                    #expect(one.rows == other.rows, "\(SafeText.line(path)): \(one)\n\(other)")
                }
                for path in paths.sorted(by: { $0.lexicographicallyPrecedes($1) }).prefix(OpenZFS.isBrief ? 5 : 10) {
                    try await compare(["log", "--json"], root + [UInt8(ascii: "/")] + path)
                }
                // And cat, diff and restore take the same versions.
                for path in paths.sorted(by: { $0.lexicographicallyPrecedes($1) }).prefix(OpenZFS.isBrief ? 5 : 10) {
                    var answers: [(status: TerminationStatus, stdout: [UInt8], stderr: String)] = []
                    for place in ["none", journal + "/journal.db"] {
                        answers.append(
                            try await kairos(
                                fixture, ["restore", "--dry-run", "--journal", place],
                                [root + [UInt8(ascii: "/")] + path]))
                    }
                    #expect(
                        answers[0].status == answers[1].status && answers[0].stdout == answers[1].stdout
                            && answers[0].stderr == answers[1].stderr, "\(SafeText.line(path)): \(answers)")
                }
                try await compare(["deleted", "--all", "--json"], root)
                try await compare(["log", "--json"], root + Array("/last".utf8))
                #expect(told > 0)
                let (_, output, _) = try await kairos(
                    fixture, ["log", "--json", "--journal", journal + "/journal.db"], [root + Array("/last".utf8)])
                let change = try #require(try decode([Row].self, output).first?.changes?.first)
                #expect(change.pid == UInt32(getpid()) && change.op.contains("create"))
                let (_, list, _) = try await kairos(fixture, ["list", "--json", name])
                let rows = try decode([Listed].self, list)
                #expect(!rows.isEmpty && rows.allSatisfy { $0.isKairos && $0.trigger != nil && $0.isKept }, "\(rows)")
                // Damaged, it is told of, and the snapshots have it all.
                try write("no database at all, " + String(repeating: "x", count: 5000), to: journal + "/journal.db")
                let (status, _, messages) = try await kairos(
                    fixture, ["log", "--json", "--journal", journal + "/journal.db"], [root + Array("/last".utf8)])
                #expect(status.isSuccess && messages.contains("read from the snapshots"), "\(messages)")
            }
        }

        @Test("what is held open of one snapshot stays readable, however many others are looked at after it")
        func held() async throws {
            try await dataset("held") { fixture, live in
                for number in 0..<7 {
                    try write("version \(number)", to: live + "/file")
                    try await fixture.zfs("snapshot", "\(fixture.name("held"))@\(number)")
                }
                let place = try PlaceFinder(try MountTable.read(), directory: []).find(Array(live.utf8))
                let view = try DatasetView(place, fixture.pool.command)
                defer { view.close() }
                let first = try view.root(of: 0)
                // The same one again, and then more than are kept at a time.
                for index in view.snapshots.indices {
                    let names = try view.look(into: .snapshot(index)) { tree throws(TreeFault) in
                        try tree.entries(of: [])
                    }
                    #expect(names?.map { String(decoding: $0.name, as: UTF8.self) } == ["file"])
                }
                let file = openat(first.rawValue, "file", O_RDONLY)
                var bytes = [UInt8](repeating: 0, count: 9)
                #expect(read(file, &bytes, bytes.count) == 9)
                close(file)
                try first.close()
                #expect(String(decoding: bytes, as: UTF8.self) == "version 0")
                #expect(view.problems == [])
            }
        }

        @Test(
            "of snapshots that Kairos wrote down ZFS is not asked again, and the list is the same; looking mounts nothing",
            .enabled(if: OpenZFS.isInKernel, "zfs-fuse has no .zfs/snapshot"))
        func stamped() async throws {
            let journal = "/run/kairos-stamped-\(getpid())"
            let path = journal + "/journal.db"
            defer {
                for suffix in ["", "-wal", "-shm"] { unlink(path + suffix) }
                rmdir(journal)
            }
            try await dataset("stamped") { fixture, live in
                let name = fixture.name("stamped")
                var namer = SnapshotNamer()
                for number in 0..<3 {
                    try write("\(number)", to: live + "/file")
                    try await fixture.zfs("snapshot", "\(name)@\(namer.next(wallClock: SystemClock.wall()))")
                }
                try await KairosProcess.run(["run", "--json", "--journal", path] + .prompt + [name]) { kairos in
                    try await kairos.ready()
                    // It asks ZFS a moment after its start.
                    let isStamped = await wait(for: KairosProcess.patience) {
                        ((try? JournalReader(path).stamps(ofDatasetNamed: name))?.stamps.count ?? 0) >= 3
                    }
                    #expect(isStamped, "\(kairos.transcript)")
                    _ = try await kairos.stop()
                }
                for foreign in ["a b", "daily"] { try await fixture.zfs("snapshot", "\(name)@\(foreign)") }
                // A name that is made again is not what it was.
                try await fixture.patiently("destroy", "\(name)@daily")
                try write("later", to: live + "/file")
                try await fixture.zfs("snapshot", "\(name)@daily")

                /// The list with what was written down, and without.
                func lists() throws -> (with: [Snapshot], without: [Snapshot]) {
                    let place = try PlaceFinder(try MountTable.read(), directory: []).find(Array(live.utf8))
                    let history = JournalHistory(try JournalReader(path))
                    let with = try DatasetView(place, try logging(fixture), history: history)
                    let without = try DatasetView(place, fixture.pool.command)
                    #expect(with.guid == without.guid)
                    return (with.snapshots, without.snapshots)
                }
                func asked() throws -> [String] {
                    defer { unlink(fixture.pool.directory + "/asking-zfs.asked") }
                    return String(
                        decoding: try contents(of: fixture.pool.directory + "/asking-zfs.asked"), as: UTF8.self
                    )
                    .split(separator: "\n").map(String.init)
                }
                let (with, without) = try lists()
                #expect(with == without && with.count >= 5)
                #expect(with.last?.name == "daily")
                let foreign: Set<String> = [name, name + "@a b", name + "@daily"]
                // The one that Kairos took at its start or its end may have come after it asked.
                let questions = Set(try asked())
                #expect(questions.isSuperset(of: foreign) && questions.subtracting(foreign).count <= 2, "\(questions)")
                let named = with.prefix(3).map { "\(name)@\($0.name)" }
                #expect(questions.isDisjoint(with: named), "\(questions)")

                let (status, output, messages) = try await kairos(
                    fixture, ["log", "--json"], [Array((live + "/file").utf8)])
                #expect(status.isSuccess, "\(messages)")
                #expect(try decode([Row].self, output).count { $0.event == "version" } >= 4)
                #expect(!(try MountTable.read().entries.contains { $0.source.starts(with: Array((name + "@").utf8)) }))

                // Another dataset of that name: nothing of what was written down is its own.
                try await fixture.patiently("destroy", "-r", name)
                try await fixture.zfs("create", name)
                for other in with.prefix(2) { try await fixture.zfs("snapshot", "\(name)@\(other.name)") }
                let (new, all) = try lists()
                #expect(new == all && new.count == 2 && new.first?.createtxg != with.first?.createtxg)
                #expect(try asked().contains("-d"))
            }
        }

        /// A `zfs` that does what the real one does, and writes down what `zfs get` is asked about.
        private func logging(_ fixture: Fixture) throws -> ZFSCommand {
            let path = fixture.pool.directory + "/asking-zfs"
            try write(
                """
                #!/bin/sh
                seen=
                for argument; do
                    case $argument in
                    -d) echo -d >>"$0.asked" ;;
                    guid,*) seen=1 ;;
                    *) [ -z "$seen" ] || printf '%s\\n' "$argument" >>"$0.asked" ;;
                    esac
                done
                exec '\(fixture.pool.command.zfs)' "$@"

                """, to: path, mode: 0o755)
            return ZFSCommand(zfs: path)
        }

        // MARK: What is wrong

        @Test("what cannot be: each is refused with the reason, and status 2")
        func refused() async throws {
            try await dataset("look-refused") { fixture, live in
                try write("text", to: live + "/file")
                try await fixture.zfs("snapshot", fixture.name("look-refused") + "@s")
                for (arguments, words) in [
                    (["log", "/proc/self/stat"], "not on ZFS"), (["log", ""], "empty path"),
                    (["cat", live + "/file", "--at", "soon"], "is no time"),
                    (["cat", live], "is a directory"), (["cat", "--json", live + "/file"], "no JSON"),
                    (["deleted", "--since", "soonish", live], "is no time"),
                    (["list", "no/such/dataset"], "no/such/dataset"),
                    (["diff", live + "/file", "9"], "has no version 9"),
                ] {
                    let (status, output, messages) = try await kairos(fixture, arguments)
                    #expect(
                        status == .exited(2) && output.isEmpty && messages.contains(words), "\(arguments): \(messages)")
                }
                for (arguments, words) in [
                    (["log", live + "/nothing"], "in none of 1 snapshot"),
                    (["cat", live + "/nothing"], "is not in any"),
                    (["cat", live + "/file", "--at", "2020-01-01"], "no snapshot as old"),
                    (["cat", live + "/file", "--snapshot", "other"], "has no snapshot other"),
                    (["deleted", live], "nothing that was deleted"),
                ] {
                    let (status, _, messages) = try await kairos(fixture, arguments)
                    #expect(status == .exited(1) && messages.contains(words), "\(arguments): \(messages)")
                }
                // A dataset that is not mounted is told of, and not taken for its parent.
                try await fixture.zfs("create", fixture.name("look-refused") + "/child")
                try await fixture.patiently("unmount", fixture.name("look-refused") + "/child")
                let (status, _, messages) = try await kairos(fixture, ["log", live + "/child/file"])
                #expect(status == .exited(2) && messages.contains("zfs mount"), "\(messages)")
            }
        }
    }
}

extension JSONValue {
    /// Objects of an array without their `changes`, and how many these were.
    fileprivate var withoutChanges: (rows: [JSONValue], count: Int) {
        var count = 0
        let rows = (array ?? []).map { row -> JSONValue in
            var members = row.object ?? [:]
            count += members.removeValue(forKey: "changes")?.array?.count ?? 0
            return .object(members)
        }
        return (rows, count)
    }
}

/// Does a model's operations to real files.
private struct RealTree {
    let root: [UInt8]

    init(_ root: String) { self.root = Array(root.utf8) }

    private func whole(_ path: [UInt8]) -> [CChar] {
        (root + [UInt8(ascii: "/")] + path + [0]).map { CChar(bitPattern: $0) }
    }

    private func check(_ result: CInt, _ what: String, _ path: [UInt8]) throws {
        guard result >= 0 else {
            throw CallError(call: "\(what) \(SafeText.line(path, limit: 600))", errno: Errno(rawValue: errno))
        }
    }

    private func put(_ bytes: [UInt8], _ path: [UInt8]) throws {
        let raw = open(whole(path), O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        try check(raw, "open", path)
        defer { close(raw) }
        try check(CInt(Glibc.write(raw, bytes, bytes.count)), "write", path)
    }

    func apply(_ operation: HistoryModel.Operation) throws {
        switch operation {
        case .write(let path, let bytes): try put(bytes, path)
        case .replace(let path, let bytes):
            let parent = HistoryModel.parent(path)
            let temporary = (parent.isEmpty ? [] : parent + [UInt8(ascii: "/")]) + Array(".temporary".utf8)
            try put(bytes, temporary)
            try check(Glibc.rename(whole(temporary), whole(path)), "rename", path)
        case .mkdir(let path): try check(Glibc.mkdir(whole(path), 0o755), "mkdir", path)
        case .symlink(let path, let target):
            try check(
                Glibc.symlink((target + [0]).map { CChar(bitPattern: $0) }, whole(path)), "symlink", path)
        case .chmod(let path, let mode): try check(Glibc.chmod(whole(path), mode), "chmod", path)
        case .remove(let path): try remove(path)
        case .rename(let from, let to): try check(Glibc.rename(whole(from), whole(to)), "rename", from)
        }
    }

    private func remove(_ path: [UInt8]) throws {
        if unlink(whole(path)) == 0 { return }
        guard let stream = opendir(whole(path)) else { return try check(-1, "unlink", path) }
        var names: [[UInt8]] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if name != Array(".".utf8), name != Array("..".utf8) { names.append(name) }
        }
        closedir(stream)
        for name in names { try remove(path + [UInt8(ascii: "/")] + name) }
        try check(rmdir(whole(path)), "rmdir", path)
    }
}
