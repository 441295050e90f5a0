import Datasets
import Foundation
import GRDB
import Snapshots

/// What a journal tells. For one thread at a time, as a program that looks and ends.
public final class JournalReader: Sendable {
    /// A change, and the snapshot that captured it.
    public struct Recorded: Sendable, Hashable {
        /// After `@`.
        public var snapshot: String
        public var change: JournalChange
        /// Of a deletion: a file of that name was made before the same snapshot was taken.
        public var isMade = false
        /// Of a deletion: a file was renamed to that name before the same snapshot was taken.
        public var isMovedHere = false
    }

    /// For tests, which count its steps.
    let queue: DatabaseQueue
    private let path: String

    /// - Throws: `.missing` when there is none, `.damaged`, `.locked`, `.newer`.
    public init(_ path: String) throws(JournalError) {
        self.path = path
        queue = try JournalFile(path).openForReading()
    }

    /// What was changed at a path, or led to it or away from it by the renaming of a directory above it; the oldest first.
    ///
    /// - Parameters:
    ///   - path: from the dataset's root.
    ///   - dataset: its GUID.
    public func changes(of path: [UInt8], in dataset: UInt64) throws(JournalError) -> [Recorded] {
        var above: [[UInt8]] = []
        for (index, byte) in path.enumerated() where byte == UInt8(ascii: "/") { above.append(Array(path[..<index])) }
        // A directory that is written to or touched leaves what is in it as it was.
        let moved = (ChangeKinds.deletions.union([ChangeKinds(.rename), ChangeKinds(.mkdir)])).rawValue
        return try read(of: dataset, without: []) { database, id in
            var rows = try Self.rows(database, id, "c.path = ?", [Data(path).databaseValue])
            rows += try Self.rows(database, id, "c.new_path = ?", [Data(path).databaseValue])
            for directory in above {
                let bytes = Data(directory).databaseValue
                rows += try Self.rows(database, id, "c.path = ? AND c.kinds & \(moved) <> 0", [bytes])
                rows += try Self.rows(database, id, "c.new_path = ?", [bytes])
            }
            return Self.ordered(rows)
        }
    }

    /// The names that went away below a directory, the newest first.
    ///
    /// - Parameters:
    ///   - directory: from the dataset's root; empty: all of it.
    ///   - since: milliseconds since 1970.
    public func deletions(
        below directory: [UInt8], in dataset: UInt64, since: Int64? = nil
    ) throws(JournalError) -> [Recorded] {
        try read(of: dataset, without: []) { database, id in
            var condition = "c.kinds & \(ChangeKinds.deletions.rawValue) <> 0"
            var values: [DatabaseValue] = []
            if let since {
                condition += " AND c.last >= ?"
                values.append(since.databaseValue)
            }
            if !directory.isEmpty {
                condition += " AND c.path > ? AND c.path < ?"
                values += Self.range(below: directory)
            }
            var rows = try Self.rows(database, id, condition, values)
            try Self.noteMakings(&rows, database, id, condition, values)
            return Self.ordered(rows).reversed()
        }
    }

    /// The snapshots that captured a renaming of something below a directory to a place outside it.
    public func snapshots(movedOutOf directory: [UInt8], in dataset: UInt64) throws(JournalError) -> Set<String> {
        if directory.isEmpty { return [] }
        return try read(of: dataset, without: []) { database, id in
            try String.fetchSet(
                database,
                sql: """
                    SELECT name FROM snapshot WHERE id IN
                      (SELECT snapshot FROM change WHERE dataset = ?1 AND path > ?2 AND path < ?3
                       AND new_path IS NOT NULL AND NOT (new_path > ?2 AND new_path < ?3))
                    """, arguments: StatementArguments([id.databaseValue] + Self.range(below: directory)))
        }
    }

    /// The snapshots that captured a change of a name below a directory.
    public func snapshots(changedBelow directory: [UInt8], in dataset: UInt64) throws(JournalError) -> Set<String> {
        try read(of: dataset, without: []) { database, id in
            if directory.isEmpty {
                return try String.fetchSet(
                    database,
                    sql: """
                        SELECT name FROM snapshot WHERE dataset = ? AND EXISTS
                          (SELECT 1 FROM change WHERE snapshot = snapshot.id)
                        """, arguments: [id])
            }
            var names: Set<String> = []
            for column in ["path", "new_path"] {
                names.formUnion(
                    try String.fetchSet(
                        database,
                        sql: """
                            SELECT name FROM snapshot WHERE id IN
                              (SELECT snapshot FROM change WHERE dataset = ?1 AND \(column) > ?2 AND \(column) < ?3)
                            """, arguments: StatementArguments([id.databaseValue] + Self.range(below: directory))))
            }
            return names
        }
    }

    /// What begins with `directory/` lies between these: as bytes, before `directory0`.
    private static func range(below directory: [UInt8]) -> [DatabaseValue] {
        [UInt8(ascii: "/"), UInt8(ascii: "/") + 1].map { Data(directory + [$0]).databaseValue }
    }

    /// The snapshots that the journal knows by the names after `@`: true where each change since the one before it is known.
    public func snapshots(in dataset: UInt64) throws(JournalError) -> [String: Bool] {
        try read(of: dataset, without: [:]) { database, id in
            let rows = try Row.fetchCursor(
                database, sql: "SELECT name, whole FROM snapshot WHERE dataset = ?", arguments: [id])
            var result: [String: Bool] = [:]
            while let row = try rows.next() { result[try row.value(0)] = try row.value(1) }
            return result
        }
    }

    /// What ZFS said of the snapshots of the dataset that was called so last; nil: there was none. The caller compares its GUID.
    public func stamps(ofDatasetNamed name: String) throws(JournalError) -> SnapshotStamps? {
        do {
            return try queue.read { database in
                let row = try Row.fetchOne(
                    database, sql: "SELECT id, guid FROM dataset WHERE name = ? ORDER BY id DESC", arguments: [name])
                guard let row else { return nil }
                let id: Int64 = try row.value(0)
                var result = SnapshotStamps(guid: UInt64(bitPattern: try row.value(1)), stamps: [:])
                let rows = try Row.fetchCursor(
                    database,
                    sql: "SELECT name, createtxg, creation FROM snapshot WHERE dataset = ? AND createtxg IS NOT NULL",
                    arguments: [id])
                while let row = try rows.next() {
                    result.stamps[try row.value(0)] = SnapshotStamp(
                        createtxg: UInt64(bitPattern: try row.value(1)), creation: try row.value(2))
                }
                return result
            }
        } catch { throw JournalError(error, path) }
    }

    private func read<Value: Sendable>(
        of dataset: UInt64, without: Value, _ body: (Database, Int64) throws -> Value
    ) throws(JournalError) -> Value {
        do {
            return try queue.read { database in
                let id = try Int64.fetchOne(
                    database, sql: "SELECT id FROM dataset WHERE guid = ?", arguments: [Int64(bitPattern: dataset)])
                guard let id else { return without }
                return try body(database, id)
            }
        } catch { throw JournalError(error, path) }
    }

    private typealias Line = (id: Int64, snapshot: Int64, row: Recorded)

    /// Notes at deletions whether something was made at their paths, or renamed to them, before the same snapshot.
    ///
    /// Each row of a path is read once, however many deletions it has. A search for each deletion is quadratic: in the names of one
    /// `rm -r` by the index of snapshots, in the deletions of one name by that of paths.
    private static func noteMakings(
        _ rows: inout [Line], _ database: Database, _ dataset: Int64, _ condition: String, _ values: [DatabaseValue]
    ) throws {
        let kinds = (ChangeKinds(.create).union(ChangeKinds(.mkdir))).rawValue
        let found = try Row.fetchCursor(
            database,
            sql: """
                WITH gone AS MATERIALIZED (SELECT c.path, c.snapshot FROM change c WHERE c.dataset = ?1 AND \(condition))
                SELECT m.path, m.snapshot, 0 FROM (SELECT DISTINCT path FROM gone) AS p CROSS JOIN change AS m
                  WHERE m.dataset = ?1 AND m.path = p.path AND m.kinds & \(kinds) <> 0
                    AND m.snapshot IN (SELECT snapshot FROM gone)
                UNION ALL
                SELECT m.new_path, m.snapshot, 1 FROM (SELECT DISTINCT path FROM gone) AS p CROSS JOIN change AS m
                  WHERE m.dataset = ?1 AND m.new_path = p.path AND m.snapshot IN (SELECT snapshot FROM gone)
                """, arguments: StatementArguments([dataset.databaseValue] + values))
        var made: [Int64: Set<[UInt8]>] = [:]
        var moved: [Int64: Set<[UInt8]>] = [:]
        while let row = try found.next() {
            let path = Array(try row.value(0, as: Data.self))
            let snapshot: Int64 = try row.value(1)
            if try row.value(2, as: Int64.self) == 0 {
                made[snapshot, default: []].insert(path)
            } else {
                moved[snapshot, default: []].insert(path)
            }
        }
        if made.isEmpty, moved.isEmpty { return }
        for index in rows.indices {
            let path = rows[index].row.change.path
            rows[index].row.isMade = made[rows[index].snapshot]?.contains(path) == true
            rows[index].row.isMovedHere = moved[rows[index].snapshot]?.contains(path) == true
        }
    }

    private static func ordered(_ rows: [Line]) -> [Recorded] {
        var seen: Set<Int64> = []
        return rows.filter { seen.insert($0.id).inserted }
            .sorted { ($0.row.change.last, $0.id) < ($1.row.change.last, $1.id) }.map(\.row)
    }

    private static func rows(
        _ database: Database, _ dataset: Int64, _ condition: String, _ values: [DatabaseValue]
    ) throws -> [Line] {
        let cursor = try Row.fetchCursor(
            database,
            sql: """
                SELECT c.rowid, s.name, c.path, c.new_path, c.inode, c.generation, c.kinds, a.command, c.pid, a.user, c.first, c.last,
                  c.snapshot
                FROM change c JOIN snapshot s ON s.id = c.snapshot JOIN actor a ON a.id = c.actor
                WHERE c.dataset = ? AND \(condition)
                """, arguments: StatementArguments([dataset.databaseValue] + values))
        var result: [Line] = []
        while let row = try cursor.next() {
            func bytes(_ place: Int) throws -> [UInt8]? { try row.value(place, as: Data?.self).map { Array($0) } }
            let change = JournalChange(
                path: try bytes(2) ?? [], newPath: try bytes(3), inode: UInt64(bitPattern: try row.value(4)),
                generation: UInt32(truncatingIfNeeded: try row.value(5, as: Int64.self)),
                kinds: ChangeKinds(rawValue: try row.value(6)),
                command: try bytes(7) ?? [], pid: UInt32(truncatingIfNeeded: try row.value(8, as: Int64.self)),
                user: UInt32(truncatingIfNeeded: try row.value(9, as: Int64.self)),
                first: Self.nanoseconds(try row.value(10)),
                last: Self.nanoseconds(try row.value(11)))
            result.append((try row.value(0), try row.value(12), Recorded(snapshot: try row.value(1), change: change)))
        }
        return result
    }

    private static func nanoseconds(_ milliseconds: Int64) -> Int64 {
        let (product, over) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
        return over ? .max : product
    }
}

extension Row {
    /// The value of a column. SQLite keeps text in a column of numbers, and a subscript of GRDB ends the program then.
    fileprivate func value<Value: DatabaseValueConvertible>(_ column: Int, as: Value.Type = Value.self) throws -> Value
    {
        try decode(Value.self, atIndex: column)
    }
}
