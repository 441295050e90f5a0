import Datasets
import Glibc
import Journal
import Scratch
import Snapshots
import Subprocess
import TestSupport
import Testing

extension IntegrationTests {
    /// What `kairos run` writes down of its snapshots, read as a command reads it.
    @Suite("The journal of kairos run")
    struct JournalTests {
        private func guid(_ fixture: Fixture, _ dataset: String) async throws -> UInt64 {
            let text = String(
                decoding: try await fixture.zfs("get", "-Hp", "-o", "value", "guid", dataset), as: UTF8.self)
            return try #require(UInt64(text.split(separator: "\n").first ?? ""))
        }

        /// A directory of root's, gone afterwards.
        private func directory(_ body: (String) async throws -> Void) async throws {
            var template = Array("/tmp/kairos-journal-XXXXXX\0".utf8CString)
            try #require(mkdtemp(&template) != nil)
            let path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            defer {
                for suffix in ["", "-wal", "-shm"] { unlink(path + "/journal.db" + suffix) }
                rmdir(path)
            }
            try await body(path + "/journal.db")
        }

        @Test("which file, what was done to it, by whom, and in which snapshot it is")
        func rows() async throws {
            let fixture = try Fixture.current()
            let (dataset, path) = (fixture.name("a"), fixture.path("a"))
            try await directory { journal in
                var names: [String] = []
                var triggers: [String: String] = [:]
                try await KairosProcess.run(["run", "--json", "--journal", journal] + .prompt + [dataset]) { kairos in
                    try await kairos.ready()
                    func change(_ body: () throws -> Void) async throws {
                        let start = kairos.claim().start
                        try body()
                        let event = try await kairos.event("snapshot", from: start) { $0.event == "snapshot" }
                        names.append(event.snapshot ?? "")
                        triggers[event.snapshot ?? ""] = event.trigger
                    }
                    try await change { try write("one", to: path + "/journaled") }
                    try await change { rename(path + "/journaled", path + "/moved") }
                    try await change { unlink(path + "/moved") }
                    let (status, _) = try await kairos.stop()
                    #expect(status.isSuccess, "\(kairos.transcript)")
                }
                let reader = try JournalReader(journal)
                let guid = try await guid(fixture, dataset)
                let written = try reader.changes(of: Array("journaled".utf8), in: guid)
                #expect(written.map(\.snapshot) == Array(names.prefix(2)), "\(written)")
                #expect(written.first?.change.kinds.all.isSuperset(of: [.create, .write]) == true, "\(written)")
                #expect(written.allSatisfy { $0.change.pid == UInt32(getpid()) && $0.change.user == 0 })
                #expect(written.last?.change.newPath == Array("moved".utf8))
                let deleted = try reader.deletions(below: [], in: guid)
                #expect(deleted.map(\.change.path) == [Array("moved".utf8)] && deleted.map(\.snapshot) == [names[2]])
                var now = timespec()
                clock_gettime(CLOCK_REALTIME, &now)
                let age = Int64(now.tv_sec) * 1_000_000_000 - (deleted.first?.change.last ?? 0)
                #expect((-2_000_000_000...600_000_000_000).contains(age), "\(age)")
                // What followed from marks alone is known in full; what a check found may be more than the records say.
                let known = try reader.snapshots(in: guid)
                #expect(names.allSatisfy { known[$0] == (triggers[$0] == "quiet") }, "\(triggers) \(known)")
            }
        }

        /// Two names of a rename, from the process's working directory in the dataset.
        static let renames = [
            ("s/b", "c1"), ("c2", "s/d"), ("./e", "g"), ("f", "./h"), ("s/i", "s/j"), ("./k", "s/../l"), ("m", "n"),
        ]

        @Test("a rename by relative names, one of a single component, is written down with both")
        func relativeRenames() async throws {
            let fixture = try Fixture.current()
            let (dataset, path) = (fixture.name("a"), fixture.path("a"))
            let place = path + "/relative"
            try makeDirectory(place)
            try makeDirectory(place + "/s")
            defer { removeTree(place) }
            let renames = Self.renames + [(place + "/o", "p"), ("q", place + "/s/r")]
            func full(_ name: String) -> String { name.hasPrefix("/") ? name : place + "/" + name }
            for (old, _) in renames { try write("one", to: full(old)) }
            try await directory { journal in
                try await KairosProcess.run(["run", "--json", "--journal", journal] + .prompt + [dataset]) { kairos in
                    try await kairos.ready()
                    for (old, new) in renames {
                        let start = kairos.claim().start
                        try call(
                            "renameat2", .here, .text(old), .here, .text(new), 0, from: Place(directory: place))
                        try await kairos.event("snapshot", from: start) { $0.event == "snapshot" }
                    }
                    let (status, _) = try await kairos.stop()
                    #expect(status.isSuccess, "\(kairos.transcript)")
                }
                let reader = try JournalReader(journal)
                let guid = try await guid(fixture, dataset)
                func plain(_ name: String) -> [UInt8] {
                    let clean = full(name).replacing("/s/../", with: "/").replacing("/./", with: "/")
                    return Array(clean.dropFirst(path.count + 1).utf8)
                }
                for (old, new) in renames {
                    let rows = try reader.changes(of: plain(old), in: guid)
                    #expect(rows.map(\.change.newPath) == [plain(new)], "\(old) \(new): \(rows)")
                }
            }
        }

        @Test("on a watched dataset its own files make no snapshot")
        func ownFiles() async throws {
            let fixture = try Fixture.current()
            let (dataset, path) = (fixture.name("a"), fixture.path("a"))
            let place = path + "/var"
            mkdir(place, 0o700)
            defer {
                for suffix in ["", "-wal", "-shm"] { unlink(place + "/journal.db" + suffix) }
                rmdir(place)
            }
            try await KairosProcess.run(["run", "--json", "--journal", place + "/journal.db"] + .prompt + [dataset]) {
                kairos in
                try await kairos.ready()
                let start = kairos.claim().start
                try write("one", to: path + "/own")
                try await kairos.event("snapshot", from: start) { $0.event == "snapshot" }
                // Its row is written now, after that snapshot. Had it counted, there would be one of it.
                let guid = try await guid(fixture, dataset)
                let isWritten = await wait(for: .seconds(60)) {
                    guard let reader = try? JournalReader(place + "/journal.db") else { return false }
                    return (try? reader.changes(of: Array("own".utf8), in: guid).isEmpty) == false
                }
                #expect(isWritten, "\(kairos.transcript)")
                try await Task.sleep(for: .seconds(1))
                try call("mkdirat", .here, .text(path + "/own-directory"), 0o755)
                let (_, summary) = try await kairos.stop()
                rmdir(path + "/own-directory")
                let snapshots = kairos.events.dropFirst(start).filter { $0.event == "snapshot" }
                let known = snapshots.filter { !($0.changes ?? [:]).isEmpty }
                #expect(known.map(\.paths) == [["own"], ["own-directory"]], "\(kairos.transcript)")
                // A path elsewhere that could not be resolved makes a check, and ZFS's figures know of no exceptions.
                #expect(snapshots.count == 2 || summary?.unresolved ?? 0 > 0, "\(kairos.transcript)")
            }
        }

        @Test("killed at random, 100 times: what was said to be written is there, and the file is whole")
        func killed() async throws {
            try await directory { journal in
                var random = SplitMix64(seed: 11)
                var safe: Set<String> = []
                var next = 0
                for _ in 0..<100 {
                    try await KairosProcess.run(["journal-step", journal, "\(next)"]) { kairos in
                        let isGoing = await wait(for: .seconds(60)) { !kairos.lines.isEmpty }
                        #expect(isGoing, "\(kairos.transcript)")
                        try await Task.sleep(for: .microseconds(Int.random(in: 0...40_000, using: &random)))
                        try? kairos.signal(.kill)
                        _ = try await kairos.exit()
                        safe.formUnion(kairos.lines.map { String(decoding: $0, as: UTF8.self) })
                    }
                    next = safe.count + 1000 * (next / 1000 + 1)
                }
                let known = try JournalReader(journal).snapshots(in: 1)
                #expect(safe.isSubset(of: known.keys), "\(safe.subtracting(known.keys))")
                let reader = try JournalReader(journal)
                for name in known.keys {
                    // A snapshot's row came with all of its changes, or not at all.
                    let file = "d/\(name.dropFirst())-49"
                    #expect(try reader.changes(of: Array(file.utf8), in: 1).map(\.snapshot) == [name])
                }
                #expect(safe.count >= 100)
            }
        }
    }
}
