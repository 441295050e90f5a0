import Background
import Datasets
import Foundation
import GRDB
import Snapshots
import Synchronization

/// Writes down what each snapshot captured, on a thread of its own. Who hands something over never waits.
///
/// It is a convenience and no promise: what it cannot write is told, and the snapshots hold it all the same.
public final class Journal: Sendable {
    /// What a journal has to say. Printable.
    public enum Report: Sendable, Hashable {
        case notice(String)
        case warning(String)
    }

    /// How much may be there and wait.
    public struct Limits: Sendable {
        /// The file's size in bytes, from which on the details of the oldest snapshots go.
        public var bytes: Int64 = 1 << 30
        /// Changes that wait to be written, beyond which snapshots are noted without theirs.
        public var waiting = 1_000_000
        /// How long after a failure it is tried again.
        public var pause: Duration = .seconds(10)

        public init() {}
    }

    private enum Job: Sendable {
        case entry(JournalEntry)
        /// What of Kairos's there is: others are forgotten, and those that are not known noted.
        case reconcile(dataset: String, guid: UInt64, names: [(name: String, taken: Int64)], forgets: Bool)
        case stamps(SnapshotStamps)
        /// The daemon comes to its end.
        case end
    }

    private struct State {
        var jobs: [Job] = []
        var changes = 0
        var isWritten = false
    }

    private let file: JournalFile
    private let limits: Limits
    private let report: @Sendable (Report) -> Void
    private let state = Mutex(State())
    private let wakeup = Semaphore()
    private let ended = Semaphore()

    /// Starts the thread; it opens the file.
    ///
    /// - Parameters:
    ///   - path: absolute, in a directory that only root may write to.
    ///   - report: called on the journal's thread.
    public init(
        _ path: String, limits: Limits = Limits(), report: @escaping @Sendable (Report) -> Void
    ) throws(JournalError) {
        file = try JournalFile(path)
        self.limits = limits
        self.report = report
        WorkerThreads.shared.perform { self.run() }
    }

    /// Where it is when nothing else is said.
    public static let standardPath = "/var/lib/kairos/journal.db"

    /// Before a program starts to write there: whether Kairos made what is there, if anything.
    ///
    /// - Throws: `.foreign`. What else is wrong may pass, and a journal reports it.
    public static func refuseForeign(_ path: String) throws(JournalError) {
        do throws(JournalError) {
            let file = try JournalFile(path)
            try file.checkPlace()
            _ = try file.checkOrigin()
        } catch { if error.kind == .foreign { throw error } }
    }

    /// The files that it writes to.
    public static func files(of path: String) -> [String] { JournalFile.suffixes.map { path + $0 } }

    /// Notes a snapshot. Returns at once.
    public func add(_ entry: JournalEntry) {
        state.withLock { state in
            var entry = entry
            if state.changes + entry.changes.count > limits.waiting, !entry.changes.isEmpty {
                entry.changes = []
                entry.isWhole = false
            }
            state.changes += entry.changes.count
            state.jobs.append(.entry(entry))
        }
        wakeup.signal()
    }

    /// Makes what it knows of a dataset's snapshots what there is.
    ///
    /// - Parameters:
    ///   - names: of all of Kairos's snapshots of it, after `@`; times in milliseconds since 1970.
    ///   - forgets: whether those that are not among them are gone.
    public func reconcile(dataset: String, guid: UInt64, names: [(name: String, taken: Int64)], forgets: Bool) {
        state.withLock { $0.jobs.append(.reconcile(dataset: dataset, guid: guid, names: names, forgets: forgets)) }
        wakeup.signal()
    }

    /// Notes what ZFS says of snapshots that it knows.
    public func note(_ stamps: SnapshotStamps) {
        state.withLock { $0.jobs.append(.stamps(stamps)) }
        wakeup.signal()
    }

    /// Writes what waits, and ends the thread.
    ///
    /// - Parameter isStopped: asked five times a second; true: it is not waited for any longer.
    /// - Returns: whether all of it was written in time.
    public func end(within limit: Duration, unless isStopped: () -> Bool = { false }) -> Bool {
        state.withLock { $0.jobs.append(.end) }
        wakeup.signal()
        let deadline = ContinuousClock.now + limit
        while !isStopped() {
            let left = deadline - .now
            if ended.wait(for: min(max(left, .zero), .milliseconds(200))) { return state.withLock(\.isWritten) }
            if left <= .zero { return false }
        }
        return false
    }

    // MARK: On its thread

    private func run() {
        var database: DatabaseQueue?
        var waiting: [Job] = []
        var told: String?
        var failing = false
        var asides = 0
        while true {
            if waiting.isEmpty { wakeup.wait() } else { _ = wakeup.wait(for: limits.pause) }
            waiting += state.withLock { state in
                defer {
                    state.jobs = []
                    state.changes = 0
                }
                return state.jobs
            }
            let mustEnd = waiting.contains { if case .end = $0 { true } else { false } }
            do {
                // Somebody moved it away: what is written to it then is nobody's.
                if database != nil, !file.isThere { database = nil }
                let open = try database ?? file.openForWriting()
                database = open
                try write(waiting, to: open)
                waiting = []
                if failing {
                    report(.notice("the journal is written again"))
                    (failing, told) = (false, nil)
                }
            } catch {
                let error = JournalError(error, file.path)
                if error.description != told {
                    report(.warning("\(error.description); snapshots are taken all the same"))
                    told = error.description
                }
                failing = true
                shed(&waiting)
                if error.kind == .damaged {
                    try? database?.close()
                    database = nil
                    // At once, also at the end: what waits is not lost with what is damaged. A disk that damages each is given up.
                    asides += 1
                    if asides <= 3, setAside() {
                        wakeup.signal()
                        continue
                    }
                }
            }
            if mustEnd {
                try? database?.close()
                state.withLock { $0.isWritten = waiting.isEmpty }
                ended.signal()
                return
            }
        }
    }

    /// Keeps what waits for a journal that cannot be written within its bounds: the details go first, then the oldest.
    private func shed(_ waiting: inout [Job]) {
        var count = 0
        for place in waiting.indices.reversed() {
            guard case .entry(var entry) = waiting[place] else { continue }
            count += entry.changes.count + 1
            guard count > limits.waiting else { continue }
            entry.changes = []
            entry.isWhole = false
            waiting[place] = .entry(entry)
        }
        // What is not noted is found when it is reconciled.
        if waiting.count > 100_000 { waiting.removeFirst(waiting.count - 100_000) }
    }

    /// Of one that is damaged nothing is thrown away.
    private func setAside() -> Bool {
        do throws(JournalError) {
            let aside = try file.setAside(at: Int64(time(nil)))
            report(.warning("the journal is set aside as \(SafeText.line(aside, limit: 300)), and another one begun"))
            return true
        } catch {
            report(.warning(error.description))
            return false
        }
    }

    private func write(_ jobs: [Job], to database: DatabaseQueue) throws {
        guard !jobs.isEmpty else { return }
        // One transaction: a death in its middle leaves the journal as it was before.
        try database.write { database in
            for job in jobs {
                switch job {
                case .entry(let entry): try Self.insert(entry, database)
                case .reconcile(let dataset, let guid, let names, let forgets):
                    try Self.reconcile(dataset, guid, names, forgets, database)
                case .stamps(let stamps): try Self.note(stamps, database)
                case .end: break
                }
            }
        }
        try shrink(database)
    }

    private static func id(of dataset: String, _ guid: UInt64, _ database: Database) throws -> Int64 {
        try database.execute(
            sql: """
                INSERT INTO dataset (guid, name) VALUES (?, ?)
                ON CONFLICT (guid) DO UPDATE SET name = excluded.name WHERE name <> excluded.name
                """, arguments: [Int64(bitPattern: guid), dataset])
        return try Int64.fetchOne(
            database, sql: "SELECT id FROM dataset WHERE guid = ?", arguments: [Int64(bitPattern: guid)]) ?? 0
    }

    private static func insert(_ entry: JournalEntry, _ database: Database) throws {
        let dataset = try id(of: entry.dataset, entry.guid, database)
        try database.execute(
            sql: """
                INSERT INTO snapshot (dataset, name, taken, trigger, whole) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (dataset, name) DO UPDATE SET trigger = excluded.trigger, whole = excluded.whole,
                  createtxg = NULL, creation = NULL
                """, arguments: [dataset, entry.snapshot, entry.taken, entry.trigger, entry.isWhole])
        let snapshot = try Int64.fetchOne(
            database, sql: "SELECT id FROM snapshot WHERE dataset = ? AND name = ?",
            arguments: [dataset, entry.snapshot])
        let statement = try database.cachedStatement(
            sql: """
                INSERT INTO change (snapshot, dataset, path, new_path, inode, generation, kinds, actor, pid, first, last)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """)
        struct Actor: Hashable {
            var command: [UInt8]
            var user: UInt32
        }
        var actors: [Actor: Int64] = [:]
        for change in entry.merged {
            let actor = Actor(command: change.command, user: change.user)
            let who: Int64
            if let known = actors[actor] {
                who = known
            } else {
                let values: StatementArguments = [Data(actor.command), Int64(actor.user)]
                try database.execute(
                    sql: "INSERT INTO actor (command, user) VALUES (?, ?) ON CONFLICT DO NOTHING", arguments: values)
                who =
                    try Int64.fetchOne(
                        database, sql: "SELECT id FROM actor WHERE command = ? AND user = ?", arguments: values) ?? 0
                actors[actor] = who
            }
            func milliseconds(_ time: Int64) -> Int64 { (time &+ entry.clock) / 1_000_000 }
            try statement.execute(arguments: [
                snapshot, dataset, Data(change.path), change.newPath.map { Data($0) },
                Int64(bitPattern: change.inode), Int64(change.generation), change.kinds.rawValue, who,
                Int64(change.pid), milliseconds(change.first), milliseconds(change.last),
            ])
        }
    }

    private static func reconcile(
        _ dataset: String, _ guid: UInt64, _ names: [(name: String, taken: Int64)], _ forgets: Bool,
        _ database: Database
    ) throws {
        let id = try id(of: dataset, guid, database)
        let known = Set(
            try String.fetchAll(database, sql: "SELECT name FROM snapshot WHERE dataset = ?", arguments: [id]))
        let there = Set(names.map(\.name))
        // By time, as their names sort: what only these had captured is not in the rows of the next one, which is not known in full then.
        for name in forgets ? known.subtracting(there).sorted() : [] {
            try database.execute(
                sql: """
                    UPDATE snapshot SET whole = 0 WHERE id = (
                      SELECT id FROM snapshot
                      WHERE dataset = ?1 AND taken > (SELECT taken FROM snapshot WHERE dataset = ?1 AND name = ?2)
                      ORDER BY taken LIMIT 1)
                    """, arguments: [id, name])
            try database.execute(sql: "DELETE FROM snapshot WHERE dataset = ? AND name = ?", arguments: [id, name])
        }
        // Taken before there was a journal, or just before Kairos was killed: what it captured nobody wrote down.
        for (name, taken) in names where !known.contains(name) {
            try database.execute(
                sql: "INSERT INTO snapshot (dataset, name, taken, trigger, whole) VALUES (?, ?, ?, '', 0)",
                arguments: [id, name, taken])
        }
    }

    private static func note(_ stamps: SnapshotStamps, _ database: Database) throws {
        let statement = try database.cachedStatement(
            sql: """
                UPDATE snapshot SET createtxg = ?, creation = ?
                WHERE name = ? AND dataset = (SELECT id FROM dataset WHERE guid = ?)
                """)
        for (name, stamp) in stamps.stamps {
            guard let createtxg = stamp.createtxg, let creation = stamp.creation else { continue }
            try statement.execute(arguments: [
                Int64(bitPattern: createtxg), creation, name, Int64(bitPattern: stamps.guid),
            ])
        }
    }

    /// Keeps the file within its bounds: the oldest snapshots lose their details.
    private func shrink(_ queue: DatabaseQueue) throws {
        while true {
            let isDone = try queue.write { database in
                let pages = try Int64.fetchOne(database, sql: "PRAGMA page_count") ?? 0
                let free = try Int64.fetchOne(database, sql: "PRAGMA freelist_count") ?? 0
                let size = try Int64.fetchOne(database, sql: "PRAGMA page_size") ?? 4096
                guard (pages - free) * size > limits.bytes else { return true }
                let oldest = try Int64.fetchAll(
                    database,
                    sql: """
                        SELECT id FROM snapshot WHERE EXISTS (SELECT 1 FROM change WHERE snapshot = snapshot.id)
                        ORDER BY taken LIMIT 20
                        """)
                guard !oldest.isEmpty else { return true }
                for snapshot in oldest {
                    try database.execute(sql: "DELETE FROM change WHERE snapshot = ?", arguments: [snapshot])
                    try database.execute(sql: "UPDATE snapshot SET whole = 0 WHERE id = ?", arguments: [snapshot])
                }
                return false
            }
            if isDone { return }
        }
    }
}
