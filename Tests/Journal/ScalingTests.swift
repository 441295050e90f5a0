import Foundation
import GRDB
import GRDBSQLite
import Snapshots
import Testing

@testable import Journal

/// How many steps SQLite takes for an answer: they do not depend on the machine, as seconds do.
@Suite("Questions to a large journal")
struct ScalingTests {
    /// A deletion, by the number of its snapshot.
    private typealias Deletion = (snapshot: Int, path: String)

    /// - Returns: SQLite's steps, divided by ten, for the deletions of all of a dataset and of a directory.
    private func steps(_ deletions: [Deletion]) throws -> [Int] {
        var template = Array("/tmp/kairos-journal-XXXXXX\0".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let directory = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let journal = try Journal(directory + "/journal.db") { _ in }
        for (snapshot, rows) in Dictionary(grouping: deletions, by: \.snapshot).sorted(by: { $0.key < $1.key }) {
            let changes = rows.flatMap { row in
                [(ChangeKinds(.create), "vi"), (ChangeKinds(.unlink), "rm")].map { kinds, command in
                    JournalChange(
                        path: Array(row.path.utf8), newPath: nil, inode: 7, generation: 3, kinds: kinds,
                        command: Array(command.utf8), pid: 12, user: 1000, first: 1, last: 1)
                }
            }
            journal.add(
                JournalEntry(
                    dataset: "tank/a", guid: 5, snapshot: "k\(snapshot)", taken: Int64(snapshot), trigger: "quiet",
                    isWhole: true, changes: changes, clock: 0))
        }
        #expect(journal.end(within: .seconds(300)))
        let reader = try JournalReader(directory + "/journal.db")
        return try ["", "d"].map { below in
            let count = UnsafeMutablePointer<Int>.allocate(capacity: 1)
            defer { count.deallocate() }
            count.pointee = 0
            try reader.queue.read { database in
                sqlite3_progress_handler(
                    database.sqliteConnection, 10,
                    { context in
                        context?.assumingMemoryBound(to: Int.self).pointee += 1
                        return 0
                    }, count)
            }
            let rows = try reader.deletions(below: Array(below.utf8), in: 5)
            try reader.queue.read { sqlite3_progress_handler($0.sqliteConnection, 0, nil, nil) }
            #expect(rows.count == deletions.count && rows.allSatisfy { $0.isMade && !$0.isMovedHere })
            return count.pointee
        }
    }

    @Test("'deleted' takes twice the steps for twice the deletions: of many names at once, or of one name often")
    func deletions() throws {
        let shapes: [(Int) -> Deletion] = [{ (0, "d/file \($0)") }, { ($0, "d/lock") }]
        for shape in shapes {
            let few = try steps((0..<400).map(shape))
            let many = try steps((0..<800).map(shape))
            for (few, many) in zip(few, many) { #expect(many * 2 <= few * 5, "\(few), then \(many)") }
        }
    }
}
