import CRestoreSupport
import GRDB
import Glibc
import SystemPackage
import Testing

@testable import Restore

/// SQLite databases, written and read by SQLite itself.
@Suite("Restoring a database")
struct DatabaseTests {
    private static let files = ["", "-wal", "-shm", "-journal"]

    /// Makes `app.db` in a directory as a program has it that runs: these rows in the file, those in its log.
    ///
    /// - Parameter journal: not a log, but a transaction that is half written.
    private func make(_ directory: String, rows: Range<Int>, logged: Range<Int>, journal: Bool = false) throws {
        let scratch = try Scratch()
        var configuration = Configuration()
        configuration.journalMode = journal ? .default : .wal
        configuration.prepareDatabase { try $0.execute(sql: "PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 1") }
        let queue = try DatabaseQueue(path: scratch("app.db"), configuration: configuration)
        func insert(_ rows: Range<Int>, _ database: Database) throws {
            for row in rows {
                try database.execute(sql: "INSERT INTO t VALUES (?, hex(randomblob(500)))", arguments: [row])
            }
        }
        try queue.write { database in
            try database.execute(sql: "CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT)")
            try insert(rows, database)
        }
        if !journal { try queue.writeWithoutTransaction { _ = try $0.checkpoint(.truncate) } }
        let copy = {
            for suffix in Self.files {
                guard let bytes = bytes(scratch("app.db" + suffix)) else { continue }
                try put(bytes, at: directory + "/app.db" + suffix)
            }
        }
        if logged.isEmpty { return try copy() }
        if journal {
            struct Undone: Error {}
            #expect(throws: Undone.self) {
                try queue.write { database in
                    try insert(logged, database)
                    try copy()
                    throw Undone()
                }
            }
        } else {
            try queue.write { try insert(logged, $0) }
            try copy()
        }
    }

    private func bytes(_ path: String) -> [UInt8]? {
        guard let file = try? FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec) else { return nil }
        defer { try? file.close() }
        var result: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while let count = try? buffer.withUnsafeMutableBytes({ try file.read(into: $0) }), count > 0 {
            result += buffer[..<count]
        }
        return result
    }

    private func put(_ bytes: [UInt8], at path: String) throws {
        let file = try FileDescriptor.open(
            FilePath(path), .writeOnly, options: [.create, .truncate, .closeOnExec], permissions: .ownerReadWrite)
        try file.closeAfter { _ = try file.writeAll(bytes) }
    }

    /// What a program finds that opens it.
    private func rows(_ path: String) throws -> [Int] {
        try DatabaseQueue(path: path).read { database in
            #expect(try String.fetchOne(database, sql: "PRAGMA integrity_check") == "ok")
            return try Int.fetchAll(database, sql: "SELECT n FROM t ORDER BY n")
        }
    }

    private func restore(
        _ root: String, to directory: String, _ options: RestoreOptions = RestoreOptions(mode: .beside)
    ) throws -> RestoreReport {
        let root = try FileDescriptor.open(FilePath(root), .readOnly, options: .closeOnExec)
        let parent = try FileDescriptor.open(FilePath(directory), .readOnly, options: .closeOnExec)
        defer {
            try? root.close()
            try? parent.close()
        }
        let source = RestoreSource(root: root, path: Array("app.db".utf8))
        #expect(try DatabaseFiles.isDatabase(source))
        return try DatabaseFiles.copy(
            source, to: RestoreDestination(parent: parent, name: Array("app.db".utf8)), options)
    }

    private func text(_ names: [[UInt8]]) -> [String] { names.map { String(decoding: $0, as: UTF8.self) } }

    @Test("elsewhere: rows that are in the log alone come along")
    func elsewhere() throws {
        let scratch = try Scratch()
        let (root, other) = (try scratch.directory("snapshot"), try scratch.directory("other"))
        try make(root, rows: 0..<100, logged: 100..<150)
        let report = try restore(root, to: other)
        #expect(text(report.brought) == ["app.db-wal"] && report.isWhole)
        #expect(try rows(other + "/app.db") == Array(0..<150))
    }

    @Test(
        "in place: exactly the version's rows, whatever logs there were and are",
        arguments: [false, true], [false, true])
    func replaced(hadLog: Bool, hasLog: Bool) throws {
        let scratch = try Scratch()
        let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
        try make(root, rows: 0..<100, logged: hadLog ? 100..<150 : 0..<0)
        // Of the same size and later: what SQLite would apply.
        try make(live, rows: 1000..<1100, logged: hasLog ? 1100..<1150 : 0..<0)
        let report = try restore(root, to: live, inPlace())
        #expect(report.hasReplaced && report.isWhole && report.remainder == nil)
        #expect(text(report.brought) == (hadLog ? ["app.db-wal"] : []))
        #expect(report.setAside.contains(Array("app.db-wal".utf8)))
        #expect(try rows(live + "/app.db") == Array(0..<(hadLog ? 150 : 100)))
        #expect(try names(in: live).allSatisfy { $0.hasPrefix("app.db") })
    }

    @Test("a transaction that was half written is taken back, and one of the replaced database is not applied")
    func unfinished() throws {
        let scratch = try Scratch()
        let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
        try make(root, rows: 0..<100, logged: 100..<400, journal: true)
        try #require(bytes(root + "/app.db-journal")?.isEmpty == false)
        try make(live, rows: 1000..<1200, logged: 1200..<1500, journal: true)
        let report = try restore(root, to: live, inPlace())
        #expect(text(report.brought) == ["app.db-journal"] && text(report.setAside) == ["app.db-journal"])
        #expect(try rows(live + "/app.db") == Array(0..<100))
    }

    @Test("deleted without its log: under another name, and the log that is there stays as it is")
    func stale() throws {
        let scratch = try Scratch()
        let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
        try make(root, rows: 0..<100, logged: 0..<0)
        try make(live, rows: 0..<100, logged: 100..<105)
        let log = try #require(bytes(live + "/app.db-wal"))
        unlink(live + "/app.db")
        let names: @Sendable (Int) -> [UInt8]? = { Array("app-\($0).db".utf8) }
        let report = try restore(root, to: live, RestoreOptions(mode: .beside, names: names))
        #expect(text([report.name]) == ["app-1.db"] && report.avoided == Array("app.db-wal".utf8))
        #expect(bytes(live + "/app.db-wal") == log)
        #expect(try rows(live + "/app-1.db") == Array(0..<100))
    }

    @Test(
        "one that another process has open is not replaced", arguments: [("app.db-shm", 128), ("app.db", 0x4000_0002)])
    func open(file: String, byte: Int) throws {
        let scratch = try Scratch()
        let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
        try make(root, rows: 0..<100, logged: 0..<0)
        try make(live, rows: 0..<100, logged: 100..<105)
        let before = Self.files.map { bytes(live + "/app.db" + $0) }
        let pid = tree_hold_lock(live + "/" + file, byte, 1)
        try #require(pid > 0)
        let error = #expect(throws: RestoreError.self) { try restore(root, to: live, inPlace()) }
        kill(pid, SIGKILL)
        waitpid(pid, nil, 0)
        #expect(error?.kind == .refused && error?.why.contains("process \(pid)") == true)
        #expect(Self.files.map { bytes(live + "/app.db" + $0) } == before)
        #expect(try restore(root, to: live, inPlace()).hasReplaced)
    }

    @Test("what cannot be put in place leaves the logs where they were")
    func failed() throws {
        let scratch = try Scratch()
        let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
        try make(root, rows: 0..<100, logged: 0..<0)
        try make(live, rows: 0..<100, logged: 100..<105)
        unlink(live + "/app.db-shm")
        _ = try scratch.directory("live/app.db-shm")
        let before = Self.files.map { bytes(live + "/app.db" + $0) }
        #expect(throws: RestoreError.self) { try restore(root, to: live, inPlace()) }
        #expect(Self.files.map { bytes(live + "/app.db" + $0) } == before)
    }

    @Test(
        "killed before any change of a name: after the next restore it is the old database or the new one, with its log",
        arguments: [false, true], [false, true])
    func killed(journal: Bool, plain: Bool) throws {
        let scratch = try Scratch()
        let (root, old) = (try scratch.directory("snapshot"), try scratch.directory("old"))
        try make(root, rows: 0..<100, logged: 100..<(journal ? 400 : 150), journal: journal)
        try make(old, rows: 1000..<1100, logged: 1100..<(journal ? 1500 : 1150), journal: journal)
        let (before, after) = (Array(1000..<(journal ? 1100 : 1150)), Array(0..<(journal ? 100 : 150)))
        var found: [[Int]: Int] = [:]
        var isKilled = true
        while isKilled {
            let step = found.values.reduce(1, +)
            let live = try scratch.directory("live-\(step)")
            for suffix in Self.files {
                if let bytes = bytes(old + "/app.db" + suffix) { try put(bytes, at: live + "/app.db" + suffix) }
            }
            isKilled = try Child(
                ["database", root, "app.db", live, "app.db", "1"] + (plain ? ["plain"] : []) + ["\(step)"]
            ).isKilled()
            for leftover in try sweep(live) {
                if case .left(let reason) = leftover.fate { Issue.record("step \(step): \(reason)") }
            }
            let rows = try rows(live + "/app.db")
            #expect(rows == before || rows == after, "step \(step): \(rows.count) rows, from \(rows.first ?? -1)")
            #expect(try names(in: live).allSatisfy { $0.hasPrefix("app.db") })
            found[rows, default: 0] += 1
        }
        #expect(found[before, default: 0] > 3 && found[after, default: 0] > 3, "\(found.values)")
    }

    @Test(
        "killed without its log in place: a log or a database that is newer is not overwritten",
        arguments: ["log", "content", "database"])
    func killedAndChanged(what: String) throws {
        let scratch = try Scratch()
        let (root, live) = (try scratch.directory("snapshot"), try scratch.directory("live"))
        try make(root, rows: 0..<100, logged: 0..<0)
        let log = "\(live)/app.db-wal"
        var logged: [UInt8]?
        for step in 1... {
            for name in try names(in: live) where name.hasPrefix("app.db") { unlink(live + "/" + name) }
            try make(live, rows: 1000..<1100, logged: 1100..<1150)
            logged = bytes(log)
            let child = try Child(["database", root, "app.db", live, "app.db", "1", "\(step)"])
            try #require(child.isKilled(), "its log is never away")
            if access(log, F_OK) != 0 { break }
            _ = try sweep(live)
        }
        let database = live + "/app.db"
        switch what {
        case "log": try put(Array("newer".utf8), at: log)
        case "content": try put(try #require(bytes(database)), at: database)
        default:
            // Not the first one's inode number.
            try put(try #require(bytes(database)), at: live + "/copy")
            rename(live + "/copy", database)
        }
        let fates = try sweep(live).map(\.fate)
        guard case .left(let reason)? = fates.first else {
            Issue.record("\(fates)")
            return
        }
        #expect(reason.contains("app.db"))
        #expect(bytes(log) == (what == "log" ? Array("newer".utf8) : nil))
        let stage = try #require(try names(in: live).first { $0.hasPrefix(".kairos-restore-") })
        #expect(try names(in: live + "/" + stage).contains { bytes("\(live)/\(stage)/\($0)") == logged })
    }
}

/// What the next restore in a directory does first.
private func sweep(_ directory: String) throws -> [RestoreReport.Leftover] { try Stage.sweep(open(directory)) }
