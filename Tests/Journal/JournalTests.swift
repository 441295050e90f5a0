import Datasets
import Foundation
import Glibc
import GRDB
import Snapshots
import Synchronization
import TestSupport
import Testing

@testable import Journal

/// A directory of root's own for one journal.
private final class Place: Sendable {
    let directory: String
    let said = Mutex<[Journal.Report]>([])

    init() throws {
        var template = Array("/tmp/kairos-journal-XXXXXX\0".utf8CString)
        try #require(mkdtemp(&template) != nil)
        directory = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    var path: String { directory + "/journal.db" }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    func journal(_ limits: Journal.Limits = Journal.Limits()) throws -> Journal {
        try Journal(path, limits: limits) { report in self.said.withLock { $0.append(report) } }
    }

    /// Writes these, and ends.
    func write(_ entries: [JournalEntry], limits: Journal.Limits = Journal.Limits()) throws {
        let journal = try journal(limits)
        for entry in entries { journal.add(entry) }
        #expect(journal.end(within: .seconds(60)), "\(said.withLock { $0 })")
    }

    var warnings: [String] { said.withLock { $0.compactMap { if case .warning(let text) = $0 { text } else { nil } } } }
}

private func change(
    _ path: String, _ kinds: ChangeKinds, to newPath: String? = nil, inode: UInt64 = 7, command: String = "vi",
    at time: Int64 = 5
) -> JournalChange {
    JournalChange(
        path: Array(path.utf8), newPath: newPath.map { Array($0.utf8) }, inode: inode, generation: 3, kinds: kinds,
        command: Array(command.utf8), pid: 12, user: 1000, first: time * 1_000_000, last: time * 1_000_000)
}

private func entry(
    _ name: String, taken: Int64 = 100, guid: UInt64 = .max, isWhole: Bool = true, _ changes: [JournalChange]
) -> JournalEntry {
    JournalEntry(
        dataset: "tank/a", guid: guid, snapshot: name, taken: taken, trigger: "quiet", isWhole: isWhole,
        changes: changes, clock: 1_000_000_000)
}

private let write = ChangeKinds(.write)
private let unlink = ChangeKinds(.unlink)

@Suite("The journal")
struct JournalTests {
    @Test("what was written is read back, of one file and one process together")
    func roundTrip() throws {
        let place = try Place()
        let odd: [UInt8] = [0xff, 0x0a, 0x2f, 0x27, 0x25]
        var strange = change("", write)
        strange.path = odd
        try place.write([
            entry("k1", [change("d/f", ChangeKinds(.create), at: 1), change("d/f", write, at: 3), strange]),
            entry("k2", [change("d/f", ChangeKinds(.rename), to: "d/g", command: "mv", at: 9)]),
        ])
        let reader = try JournalReader(place.path)
        let rows = try reader.changes(of: Array("d/f".utf8), in: .max)
        #expect(rows.map(\.snapshot) == ["k1", "k2"])
        var expected = change("d/f", [ChangeKinds(.create), write])
        (expected.first, expected.last) = (1_001_000_000, 1_003_000_000)
        #expect(rows.first?.change == expected)
        #expect(rows.last?.change.newPath == Array("d/g".utf8) && rows.last?.change.command == Array("mv".utf8))
        #expect(try reader.changes(of: Array("d/g".utf8), in: .max).map(\.snapshot) == ["k2"])
        #expect(try reader.changes(of: odd, in: .max).map(\.change.path) == [odd])
        #expect(try reader.changes(of: odd, in: 1).isEmpty)
        #expect(try reader.snapshots(in: .max) == ["k1": true, "k2": true])
    }

    @Test("what ZFS said of snapshots is kept until one of that name is taken again, and is that of the right dataset")
    func stamps() throws {
        let place = try Place()
        let stamp = SnapshotStamp(createtxg: .max, creation: 1_700_000_000)
        let journal = try place.journal()
        for name in ["k1", "k2", "k3"] { journal.add(entry(name, [])) }
        journal.note(
            SnapshotStamps(guid: .max, stamps: ["k1": stamp, "k2": stamp, "k9": stamp, "k3": SnapshotStamp()]))
        journal.note(SnapshotStamps(guid: 1, stamps: ["k3": stamp]))
        journal.add(entry("k2", []))
        #expect(journal.end(within: .seconds(60)))
        #expect(place.warnings.isEmpty, "\(place.warnings)")
        let reader = try JournalReader(place.path)
        #expect(
            try reader.stamps(ofDatasetNamed: "tank/a") == SnapshotStamps(guid: .max, stamps: ["k1": stamp]))
        #expect(try reader.stamps(ofDatasetNamed: "tank") == nil)
        // Another dataset took the name.
        try place.write([entry("k1", guid: 5, [])])
        #expect(
            try JournalReader(place.path).stamps(ofDatasetNamed: "tank/a") == SnapshotStamps(guid: 5, stamps: [:]))
    }

    @Test("values of other types than Kairos writes are refused, and end nothing")
    func types() throws {
        let place = try Place()
        for (column, value) in [
            ("inode", "'seven'"), ("path", "1.5"), ("new_path", "3.25"), ("first", "x'00ff'"), ("generation", "1e300"),
        ] {
            try place.write([entry("k1", [change("f", write, to: "f")])])
            do {
                let queue = try DatabaseQueue(path: place.path)
                try queue.write { try $0.execute(sql: "UPDATE change SET \(column) = \(value)") }
            }
            let reader = try JournalReader(place.path)
            for path in ["f", "g"] { _ = try? reader.changes(of: Array(path.utf8), in: .max) }
            for suffix in JournalFile.suffixes { Glibc.unlink(place.path + suffix) }
        }
        try place.write([entry("k1", [change("f", write)])])
        do {
            let queue = try DatabaseQueue(path: place.path)
            try queue.write { try $0.execute(sql: "UPDATE snapshot SET name = x'ff00', whole = 'yes'") }
        }
        let reader = try JournalReader(place.path)
        #expect(throws: JournalError.self) { try reader.snapshots(in: .max) }
        #expect(throws: JournalError.self) { try reader.changes(of: Array("f".utf8), in: .max) }
    }

    @Test("one of an older Kairos is brought up to date, with what is in it")
    func older() throws {
        let place = try Place()
        try place.write([entry("k1", [change("f", write)])])
        do {
            let queue = try DatabaseQueue(path: place.path)
            try queue.write { database in
                try database.execute(
                    sql: """
                        ALTER TABLE snapshot DROP COLUMN createtxg;
                        ALTER TABLE snapshot DROP COLUMN creation;
                        DELETE FROM grdb_migrations WHERE identifier = 'v2';
                        """)
            }
        }
        let error = #expect(throws: JournalError.self) { try JournalReader(place.path) }
        #expect(error?.description.contains("older Kairos") == true)
        try place.write([entry("k2", [])])
        let reader = try JournalReader(place.path)
        #expect(try reader.snapshots(in: .max) == ["k1": true, "k2": true])
        #expect(try reader.changes(of: Array("f".utf8), in: .max).map(\.snapshot) == ["k1"])
    }

    @Test("which snapshots captured a change below a directory, or a renaming out of it")
    func below() throws {
        let place = try Place()
        try place.write([
            entry("k1", [change("d", ChangeKinds(.attr)), change("d0", write), change("e/f", write)]),
            entry("k2", [change("d/f", write)]),
            entry("k3", [change("d/f", ChangeKinds(.rename), to: "d/g")]),
            entry("k4", [change("d/g", ChangeKinds(.rename), to: "d0")]),
            entry("k5", [change("e/f", ChangeKinds(.rename), to: "d/h")]),
            entry("k6", []),
        ])
        let reader = try JournalReader(place.path)
        let directory = Array("d".utf8)
        #expect(try reader.snapshots(changedBelow: directory, in: .max) == ["k2", "k3", "k4", "k5"])
        #expect(try reader.snapshots(movedOutOf: directory, in: .max) == ["k4"])
        #expect(try reader.snapshots(changedBelow: [], in: .max) == ["k1", "k2", "k3", "k4", "k5"])
        #expect(try reader.snapshots(movedOutOf: [], in: .max) == [])
        #expect(try reader.snapshots(changedBelow: directory, in: 1) == [])
    }

    @Test("a directory above that was renamed or removed is told of, one that was touched is not")
    func above() throws {
        let place = try Place()
        try place.write([
            entry("k1", [change("a", ChangeKinds(.attr)), change("a/b", ChangeKinds(.rename), to: "c")]),
            entry("k2", [change("c", ChangeKinds(.rmdir)), change("a/bb", write)]),
        ])
        let reader = try JournalReader(place.path)
        #expect(try reader.changes(of: Array("a/b/f".utf8), in: .max).map(\.snapshot) == ["k1"])
        #expect(try reader.changes(of: Array("c/f".utf8), in: .max).map(\.snapshot) == ["k1", "k2"])
    }

    @Test("deletions below a directory: none of its namesakes, the newest first, since a time")
    func deletions() throws {
        let place = try Place()
        try place.write([
            entry("k1", [change("d/x", unlink, at: 1), change("d0", unlink, at: 2), change("dd/y", unlink, at: 3)]),
            entry("k2", [change("d/z/w", ChangeKinds(.rmdir), at: 8), change("d/v", write, at: 9)]),
        ])
        let reader = try JournalReader(place.path)
        func paths(_ directory: String, since: Int64? = nil) throws -> [String] {
            try reader.deletions(below: Array(directory.utf8), in: .max, since: since).map {
                String(decoding: $0.change.path, as: UTF8.self)
            }
        }
        #expect(try paths("d") == ["d/z/w", "d/x"])
        #expect(try paths("") == ["d/z/w", "dd/y", "d0", "d/x"])
        #expect(try paths("", since: 1003) == ["d/z/w", "dd/y"])
    }

    @Test("snapshots that are gone are forgotten with all they had, unknown ones are noted as such")
    func reconcile() throws {
        let place = try Place()
        let journal = try place.journal()
        for (place, name) in ["k1", "k2", "k4", "k5"].enumerated() {
            journal.add(entry(name, taken: 100 + Int64(place), [change("f", write)]))
        }
        journal.reconcile(dataset: "tank/new", guid: .max, names: [("k2", 101)], forgets: false)
        journal.reconcile(
            dataset: "tank/new", guid: .max, names: [("k2", 101), ("k3", 50), ("k5", 103)], forgets: true)
        #expect(journal.end(within: .seconds(60)))
        let reader = try JournalReader(place.path)
        // What k1 and k4 had captured is in no row any more.
        #expect(try reader.snapshots(in: .max) == ["k2": false, "k3": false, "k5": false])
        #expect(try reader.changes(of: Array("f".utf8), in: .max).map(\.snapshot) == ["k2", "k5"])
    }

    @Test("its file is root's alone, and a place that others can write to is refused")
    func place() throws {
        let place = try Place()
        try place.write([entry("k1", [])])
        var status = stat()
        #expect(stat(place.path, &status) == 0 && status.st_mode & 0o777 == 0o600)
        let open = try Place()
        chmod(open.directory, 0o777)
        let journal = try open.journal()
        journal.add(entry("k1", []))
        #expect(!journal.end(within: .seconds(60)))
        #expect(open.warnings.contains { $0.contains("others may write") && $0.contains("--journal") })
        let linked = try Place()
        symlink("/etc/passwd", linked.path)
        let other = try linked.journal()
        other.add(entry("k1", []))
        #expect(!other.end(within: .seconds(60)))
        #expect(linked.warnings.contains { $0.contains("no file of root's") })
        #expect(throws: JournalError.self) { try JournalReader(linked.path) }
    }

    @Test("one that is damaged is set aside and another begun; nothing of it is thrown away")
    func damaged() throws {
        let place = try Place()
        try place.write([entry("k0", [change("f", write)])])
        var garbage = try #require(FileManager.default.contents(atPath: place.path))
        // The application ID is all that is left to know it by.
        for index in garbage.indices where !(68..<72).contains(index) { garbage[index] = 0x5a }
        #expect(FileManager.default.createFile(atPath: place.path, contents: garbage))
        #expect(throws: JournalError.self) { try JournalReader(place.path) }
        try place.write([entry("k1", [change("f", write)])])
        #expect(place.warnings.contains { $0.contains("set aside") })
        #expect(try JournalReader(place.path).snapshots(in: .max) == ["k1": true])
        let aside = try FileManager.default.contentsOfDirectory(atPath: place.directory).filter {
            $0.contains(".damaged-") && !$0.hasSuffix("-wal") && !$0.hasSuffix("-shm")
        }
        #expect(aside.count == 1)
        #expect(FileManager.default.contents(atPath: "\(place.directory)/\(aside.first ?? "")") == garbage)
    }

    /// What is at a path, with its mode, and what lies beside it.
    private func state(_ place: Place) throws -> [String: Data] {
        var status = stat()
        try #require(stat(place.path, &status) == 0)
        var state = ["mode": Data("\(status.st_mode)".utf8)]
        for name in try FileManager.default.contentsOfDirectory(atPath: place.directory) {
            state[name] = FileManager.default.contents(atPath: place.directory + "/" + name)
        }
        return state
    }

    @Test(
        "what Kairos did not make is refused, and neither changed nor renamed",
        arguments: ["text", "short", "empty", "no tables", "rollback", "wal", "other ID", "damaged"])
    func foreign(kind: String) throws {
        let place = try Place()
        switch kind {
        case "text": try Data("/dev/sda1 / ext4 defaults 0 1\n".utf8).write(to: URL(fileURLWithPath: place.path))
        case "empty": try Data().write(to: URL(fileURLWithPath: place.path))
        case "short": try Data("x".utf8).write(to: URL(fileURLWithPath: place.path))
        default:
            var configuration = Configuration()
            if kind == "wal" { configuration.journalMode = .wal }
            let queue = try DatabaseQueue(path: place.path, configuration: configuration)
            try queue.write { database in
                try database.execute(sql: "CREATE TABLE bookmark (url TEXT); INSERT INTO bookmark VALUES ('a')")
                if kind == "no tables" { try database.execute(sql: "DROP TABLE bookmark") }
                if kind == "other ID" { try database.execute(sql: "PRAGMA application_id = 7; DROP TABLE bookmark") }
            }
            try queue.close()
        }
        if kind == "damaged" {
            var bytes = try #require(FileManager.default.contents(atPath: place.path))
            for index in bytes.indices where index >= 100 { bytes[index] = 0x5a }
            try bytes.write(to: URL(fileURLWithPath: place.path))
        }
        chmod(place.path, 0o644)
        let before = try state(place)
        let error = #expect(throws: JournalError.self) { try JournalReader(place.path) }
        #expect(error?.kind == .foreign)
        #expect(throws: JournalError.self) { try Journal.refuseForeign(place.path) }
        let journal = try place.journal()
        journal.add(entry("k1", [change("f", write)]))
        #expect(!journal.end(within: .seconds(60)))
        #expect(place.warnings.contains { $0.contains("--journal PATH") })
        #expect(try state(place) == before)
    }

    @Test("one by a Kairos that wrote no application ID is known by its tables, also those still in its log")
    func unmarked() throws {
        let place = try Place()
        try place.write([entry("k1", [change("f", write)])])
        let log = try DatabaseQueue(path: place.path)
        try log.write { try $0.execute(sql: "PRAGMA application_id = 0") }
        try log.close()
        #expect(try JournalOrigin.of(place.path) == .kairosUnmarked)
        #expect(try JournalReader(place.path).snapshots(in: .max) == ["k1": true])
        try place.write([entry("k2", [])])
        #expect(try JournalOrigin.of(place.path) == .kairos)
        #expect(try JournalReader(place.path).snapshots(in: .max) == ["k1": true, "k2": true])
        // Killed when all of its tables were in the log alone.
        let young = try Place()
        var configuration = Configuration()
        configuration.journalMode = .wal
        let queue = try DatabaseQueue(path: young.path, configuration: configuration)
        try JournalSchema.migrator.migrate(queue)
        #expect(try JournalOrigin.of(young.path) == .kairosUnmarked)
        // Nothing was ever in it.
        #expect(try JournalOrigin.of(young.path + "-none") == .fresh)
        // Killed just after it had made the file.
        close(Glibc.open(young.path + "-empty", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600))
        #expect(try JournalOrigin.of(young.path + "-empty") == .fresh)
    }

    @Test("its header says whose it is before there is anything in it")
    func mark() throws {
        let place = try Place()
        let queue = try JournalFile(place.path).openForWriting()
        let own = try queue.read { try Int32.fetchOne($0, sql: "PRAGMA application_id") }
        #expect(own == JournalOrigin.applicationID)
        let header = try #require(FileManager.default.contents(atPath: place.path))
        #expect(Array(header[68..<72]) == Array("Kair".utf8))
        #expect(place.warnings.isEmpty)
    }

    @Test("one that is locked is waited for, and what waits is written when it is free")
    func locked() throws {
        let place = try Place()
        try place.write([])
        var limits = Journal.Limits()
        limits.pause = .milliseconds(10)
        let holder = try DatabaseQueue(path: place.path)
        let journal = try place.journal(limits)
        try holder.inDatabase { database in
            try database.execute(sql: "BEGIN EXCLUSIVE")
            journal.add(entry("k1", [change("f", write)]))
            #expect(waitUntil { !place.warnings.isEmpty })
            try database.execute(sql: "ROLLBACK")
        }
        #expect(waitUntil { place.said.withLock { $0.contains(.notice("the journal is written again")) } })
        #expect(journal.end(within: .seconds(60)))
        #expect(place.warnings.count == 1 && place.warnings[0].contains("taken all the same"))
        #expect(try JournalReader(place.path).snapshots(in: .max) == ["k1": true])
    }

    @Test("one of a newer Kairos is left alone")
    func newer() throws {
        let place = try Place()
        try place.write([])
        do {
            let queue = try DatabaseQueue(path: place.path)
            try queue.write { try $0.execute(sql: "INSERT INTO grdb_migrations VALUES ('v9')") }
        }
        let error = #expect(throws: JournalError.self) { try JournalReader(place.path) }
        #expect(error?.kind == .newer)
        let journal = try place.journal()
        journal.add(entry("k1", []))
        #expect(!journal.end(within: .seconds(60)))
        #expect(place.warnings.contains { $0.contains("newer Kairos") })
    }

    @Test("too large, the oldest snapshots lose their details and say so")
    func bounded() throws {
        let place = try Place()
        var limits = Journal.Limits()
        limits.bytes = 400_000
        let entries = (0..<60).map { number in
            entry("k\(number)", taken: Int64(number), (0..<100).map { change("d/\(number)-\($0)", write) })
        }
        for batch in 0..<6 { try place.write(Array(entries[batch * 10..<batch * 10 + 10]), limits: limits) }
        let reader = try JournalReader(place.path)
        let known = try reader.snapshots(in: .max)
        #expect(known.count == 60 && known["k0"] == false && known["k59"] == true)
        #expect(try reader.changes(of: Array("d/0-1".utf8), in: .max).isEmpty)
        #expect(try reader.changes(of: Array("d/59-1".utf8), in: .max).count == 1)
    }

    @Test("more than may wait is noted without its changes")
    func waiting() throws {
        let place = try Place()
        var limits = Journal.Limits()
        limits.waiting = 3
        let many = (0..<4).map { change("f\($0)", write) }
        try place.write([entry("k1", many), entry("k2", [change("g", write)])], limits: limits)
        #expect(try JournalReader(place.path).snapshots(in: .max) == ["k1": false, "k2": true])
    }

    /// Polls: what waits is a thread of the journal's own.
    private func waitUntil(_ condition: () -> Bool) -> Bool {
        for _ in 0..<6000 {
            if condition() { return true }
            usleep(10_000)
        }
        return false
    }
}
