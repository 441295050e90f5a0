import Datasets

/// What was deleted below a directory and is still in a snapshot.
public struct DeletedFiles: Sendable {
    /// A file or directory that was deleted. A directory stands for what was deleted with it.
    public struct Entry: Sendable, Hashable {
        /// From the dataset's root.
        public var path: [UInt8]
        /// Nil for a directory of which only the files are listed here: it went away later, or was renamed.
        public var status: FileStatus?
        /// The last snapshot that has it.
        public var last: Int
        /// The first one that has it no more; nil: none.
        public var missing: Int?
        /// Of a directory: the files below it that went with it, and their bytes.
        public var files = 0
        public var bytes: UInt64 = 0
        /// Of a directory: files that were deleted from it before, which `last` does not have.
        public var before = 0
        /// Something else is at its path by now.
        public var isThereAgain = false
        public var changes: [RecordedChange] = []
    }

    /// The newest deletion first.
    public let entries: [Entry]
    public let snapshots: [Snapshot]
    /// The snapshots that could not be looked at, and why. Printable.
    public let passedOver: [Int: String]
    /// So many snapshots were compared with their successors; the others are older than was asked for.
    public let compared: Int

    /// Looks for what was deleted.
    ///
    /// - Parameters:
    ///   - directory: from the dataset's root; it may be gone itself.
    ///   - since: nothing that was gone before is told.
    ///   - all: each file, also of directories, and those that are there again.
    public static func read(
        below directory: [UInt8], from store: some SnapshotStore, dataset: UInt64 = 0,
        history: (any ChangeHistory)? = nil, since: Timestamp? = nil, all: Bool = false,
        onHistoryFailure: ((any Error) -> Void)? = nil
    ) throws(TreeFault) -> DeletedFiles {
        let reader = DeletedReader(store, directory)
        return try reader.read(dataset, history, since, all: all, onHistoryFailure ?? { _ in })
    }
}

private final class DeletedReader<Store: SnapshotStore> {
    private typealias Entry = DeletedFiles.Entry

    private let store: Store
    private let directory: [UInt8]
    private let snapshots: [Snapshot]
    private var passedOver: [Int: String] = [:]
    private var compared = 0
    /// Of the renamed that were looked for one by one: each may take looking at all names, which comparing does for all at once.
    private var searched = 0
    private var mostSearched: Int { 5 }
    private var now: Int { snapshots.count }

    init(_ store: Store, _ directory: [UInt8]) {
        self.store = store
        self.directory = directory
        snapshots = store.snapshots
    }

    func read(
        _ dataset: UInt64, _ history: (any ChangeHistory)?, _ since: Timestamp?, all: Bool,
        _ onHistoryFailure: (any Error) -> Void
    ) throws(TreeFault) -> DeletedFiles {
        var known: [String: Bool] = [:]
        var deletions: [RecordedChange] = []
        if let history {
            do {
                known = try history.snapshotsKnownInFull(in: dataset)
                deletions = try history.deletions(below: directory, in: dataset, since: since)
                // What was below the directory then has another path in the rows.
                for change in directory.isEmpty ? [] : try history.changes(of: directory, in: dataset)
                where change.newPath != nil { known[change.snapshot] = false }
                // And so has what was deleted after it was moved out of the directory.
                for name in try history.snapshots(movedOutOf: directory, in: dataset) { known[name] = false }
            } catch {
                (known, deletions) = ([:], [])
                onHistoryFailure(error)
            }
        }
        var found: [Entry] = []
        /// The listing of the place before, which is the newer one.
        var newer: (place: Int, listing: TreeListing)?
        let recorded = Dictionary(grouping: deletions, by: \.snapshot)
        var covered = covered(known)
        // The newest first: what was deleted just now is asked for most.
        for missing in (0...now).reversed() where missing > 0 {
            if missing < now, let since, snapshots[missing].time < since { break }
            if let start = covered.starts[missing] {
                // What was done while it was taken is noted with the next one.
                let next = (missing + 1..<now).first { known[snapshots[$0].name] != nil }
                let own = [missing, next].compactMap { $0 }.flatMap { recorded[snapshots[$0].name] ?? [] }
                if let sure = try deleted(own, from: start, to: missing) {
                    found += sure
                    continue
                }
                // It is compared, with what lies between as well.
                covered.within.subtract((start + 1)..<missing)
            }
            if covered.within.contains(missing) { continue }
            guard let last = (0..<missing).last(where: { passedOver[$0] == nil }), passedOver[missing] == nil else {
                continue
            }
            compared += 1
            var model: TreeListing?
            if newer?.place != missing {
                // The live files after the newest snapshot: what they have of it need not be read.
                if missing == now { model = try list(last, like: nil) }
                let listing: TreeListing?
                if let model {
                    listing = try listLive(like: model, last)
                } else {
                    listing = try list(missing, like: nil)
                }
                guard let listing else { continue }
                newer = (missing, listing)
            }
            guard let later = newer?.listing else { continue }
            // One that cannot be looked at is passed over: its predecessor is compared in its place.
            var older = last
            var listing = model
            if listing == nil { listing = try list(older, like: later) }
            while listing == nil, let before = (0..<older).last(where: { passedOver[$0] == nil }) {
                older = before
                listing = try list(older, like: later)
            }
            guard let listing else { break }
            found += try compare(older, listing, missing, later)
            newer = (older, listing)
        }
        let who = Dictionary(grouping: deletions, by: \.path)
        for index in found.indices where found[index].changes.isEmpty {
            let missing = found[index].missing
            let captor = missing.flatMap { start in (start..<now).first { known[snapshots[$0].name] != nil } }
            guard let captor else { continue }
            found[index].changes = (who[found[index].path] ?? []).filter { $0.snapshot == snapshots[captor].name }
        }
        let entries = try all ? listed(found) : folded(found)
        return DeletedFiles(entries: entries, snapshots: snapshots, passedOver: passedOver, compared: compared)
    }

    // MARK: What was written down

    /// The snapshots whose deletions are all written down, by place, each with the one of Kairos's before it; and what lies between the two.
    ///
    /// The next one must be known in full, too: what was done while a snapshot was taken is noted there.
    private func covered(_ known: [String: Bool]) -> (starts: [Int: Int], within: Set<Int>) {
        var starts: [Int: Int] = [:]
        var within: Set<Int> = []
        let own = snapshots.indices.filter { known[snapshots[$0].name] != nil }
        guard own.count > 2 else { return (starts, within) }
        for place in 1..<own.count - 1 {
            guard known[snapshots[own[place]].name] == true, known[snapshots[own[place + 1]].name] == true else {
                continue
            }
            starts[own[place]] = own[place - 1]
            within.formUnion((own[place - 1] + 1)..<own[place])
        }
        return (starts, within)
    }

    /// Those of recorded deletions that a snapshot has, and that a later one has no more.
    ///
    /// - Parameter start: Kairos's snapshot before that one.
    /// - Returns: nil where what is recorded leaves it open.
    private func deleted(
        _ changes: [RecordedChange], from start: Int, to missing: Int
    ) throws(TreeFault) -> [Entry]? {
        guard !changes.isEmpty else { return [] }
        let byPath = Dictionary(grouping: changes, by: \.path)
        var left = Set(byPath.keys)
        var result: [Entry] = []
        let still = try look(missing) { (tree) throws(TreeFault) in try tree.kinds(of: left) }
        guard let still else { return [] }
        for place in (start..<missing).reversed() where !left.isEmpty {
            let asked = left
            let found = try look(place) { (tree) throws(TreeFault) in
                let kinds = try tree.kinds(of: asked)
                var gone: [[UInt8]: FileStatus] = [:]
                // What is still there, or there again, was put in its place or is another version of it.
                for (path, kind) in kinds where still[path] != kind { gone[path] = try tree.status(of: path) }
                return (there: Set(kinds.keys), gone: gone)
            }
            left.subtract(found?.there ?? [])
            for (path, status) in found?.gone ?? [:] {
                let rows = byPath[path] ?? []
                // It may be another file that was deleted, made after this one had been renamed.
                let isSure = rows.contains {
                    $0.snapshot == snapshots[missing].name && !$0.isMade && !$0.isMovedHere
                }
                if !isSure, place + 1 < missing || searched >= mostSearched { return nil }
                if !isSure, try isElsewhere(status, path, at: place, in: missing) { continue }
                result.append(Entry(path: path, status: status, last: place, missing: place + 1, changes: rows))
            }
        }
        // Neither there before, nor there now, nor made between: it, or a directory above it, had another name before.
        let isOpen = left.contains { path in
            still[path] == nil && !(byPath[path]?.contains(where: \.isMade) ?? false)
        }
        return isOpen ? nil : result
    }

    /// Whether a file of one place has another name in a later one.
    private func isElsewhere(
        _ status: FileStatus, _ path: [UInt8], at place: Int, in later: Int
    ) throws(TreeFault) -> Bool {
        searched += 1
        let sought = try look(place) { (tree) throws(TreeFault) in try RenameSearch(status, path, in: tree) }
        guard let sought else { return false }
        var left = FileHistory.searchLimit
        return try look(later) { (tree) throws(TreeFault) in
            try sought.find(in: tree, hints: [], left: &left).path != nil
        } ?? false
    }

    // MARK: Comparing

    private func look<Value>(
        _ index: Int, _ body: (any FileTree) throws(TreeFault) -> Value
    ) throws(TreeFault) -> Value? {
        if passedOver[index] != nil { return nil }
        do throws(TreeFault) {
            return try store.look(into: index == now ? .live : .snapshot(index), body)
        } catch {
            if error == .stopped || index == now { throw error }
            passedOver[index] = error.description
            return nil
        }
    }

    /// - Parameter newer: of a later place, whose directories are taken over where they have not changed since.
    private func list(_ index: Int, like newer: TreeListing?) throws(TreeFault) -> TreeListing? {
        let settled = index < now && store.hasCoarseTimes ? snapshots[index].time.milliseconds / 1000 - 1 : .max
        return try look(index) { [directory] (tree) throws(TreeFault) in
            var listing = TreeListing()
            try listing.add(directory, of: tree, like: newer, settled: settled)
            return listing
        }
    }

    /// - Parameter newest: a listing of a snapshot, and its place.
    private func listLive(like newest: TreeListing, _ place: Int) throws(TreeFault) -> TreeListing? {
        let isCoarse = store.hasCoarseTimes
        let settled = isCoarse ? snapshots[place].time.milliseconds / 1000 - 1 : .max
        return try look(now) { [directory] (tree) throws(TreeFault) in
            var listing = TreeListing()
            try listing.add(directory, of: tree, like: newest, settled: settled, sparing: isCoarse)
            return listing
        }
    }

    private func compare(
        _ older: Int, _ old: TreeListing, _ missing: Int, _ listing: TreeListing
    ) throws(TreeFault) -> [Entry] {
        var comparison = TreeComparison(old: old, new: listing)
        comparison.compare(directory, with: directory)
        guard !comparison.candidates.isEmpty else { return [] }
        let settled = Int64.max
        let result = try look(older) { [directory, store, now] (tree) throws(TreeFault) -> [Entry] in
            try store.look(into: missing == now ? .live : .snapshot(missing)) {
                (newTree) throws(TreeFault) -> [Entry] in
                if !directory.isEmpty {
                    // It may have been moved out of the directory that is asked about.
                    var whole = listing
                    try whole.add([], of: newTree, like: nil, settled: settled)
                    comparison.new = whole
                }
                return try comparison.deleted(tree, newTree).map { path, status in
                    Entry(path: path, status: status, last: older, missing: missing == now ? nil : missing)
                }
            }
        }
        return result ?? []
    }

    // MARK: What is told

    private func order(_ left: Entry, _ right: Entry) -> Bool {
        let (one, other) = (left.missing ?? now, right.missing ?? now)
        return one == other ? left.path.lexicographicallyPrecedes(right.path) : one > other
    }

    private func there(_ paths: some Sequence<[UInt8]>) throws(TreeFault) -> Set<[UInt8]> {
        try store.look(into: .live) { (tree) throws(TreeFault) in
            var there: Set<[UInt8]> = []
            for path in paths where try tree.status(of: path) != nil { there.insert(path) }
            return there
        }
    }

    private func listed(_ found: [Entry]) throws(TreeFault) -> [Entry] {
        let there = try there(found.map(\.path))
        return found.map { entry in
            var entry = entry
            entry.isThereAgain = there.contains(entry.path)
            return entry
        }.sorted(by: order)
    }

    /// One line for each path that is not there now, and of a directory that is not there now one for all that was in it.
    private func folded(_ found: [Entry]) throws(TreeFault) -> [Entry] {
        var all = Set(found.map(\.path))
        for entry in found {
            for above in PathBytes.above(entry.path) where PathBytes.isWithin(above, directory) && above != directory {
                if !all.insert(above).inserted { break }
            }
        }
        let there = try there(all)
        var result: [[UInt8]: Entry] = [:]
        var only: [[UInt8]: Entry] = [:]
        for entry in found.sorted(by: order) where !there.contains(entry.path) {
            let top =
                PathBytes.above(entry.path).last {
                    PathBytes.isWithin($0, directory) && $0 != directory && !there.contains($0)
                } ?? entry.path
            let isFile = entry.status?.kind != .directory
            let bytes = isFile ? entry.status?.size ?? 0 : 0
            if top == entry.path {
                // An older deletion of the same path is an older version of it.
                guard let other = result[top] else {
                    result[top] = entry
                    continue
                }
                // Its files were met first.
                if other.status == nil, other.last == entry.last {
                    result[top]?.status = entry.status
                    result[top]?.changes = entry.changes
                }
                continue
            }
            if let other = result[top] {
                guard other.last == entry.last else {
                    result[top]?.before += isFile ? 1 : 0
                    continue
                }
                result[top]?.files += isFile ? 1 : 0
                // A user can give files any size: three sparse ones may be more than 64 bits hold.
                let (sum, over) = (result[top]?.bytes ?? 0).addingReportingOverflow(bytes)
                result[top]?.bytes = over ? .max : sum
            } else {
                var group = Entry(path: top, status: nil, last: entry.last, missing: entry.missing)
                group.files = isFile ? 1 : 0
                group.bytes = bytes
                group.changes = entry.changes
                result[top] = group
                only[top] = entry
            }
        }
        // A directory for the sake of one file would say less than the file.
        return result.map { top, entry in
            entry.status == nil && entry.files + entry.before < 2 ? only[top] ?? entry : entry
        }.sorted(by: order)
    }
}
