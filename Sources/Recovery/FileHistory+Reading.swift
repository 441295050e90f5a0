import Datasets
import Snapshots

extension FileHistory {
    /// How many names are looked at, in all, for where a file came from or went to.
    public static let searchLimit = 100_000

    /// Reads the versions of a path.
    ///
    /// - Parameters:
    ///   - path: from the dataset's root.
    ///   - dataset: its GUID, by which `history` knows it.
    ///   - history: what was written down; nil: all is read from the snapshots.
    /// - Throws: `.stopped`, and what went wrong with the live files. A snapshot that cannot be looked at is passed over.
    public static func read(
        _ path: [UInt8], from store: some SnapshotStore, dataset: UInt64 = 0, history: (any ChangeHistory)? = nil,
        searchLimit: Int = Self.searchLimit, onHistoryFailure: ((any Error) -> Void)? = nil
    ) throws(TreeFault) -> FileHistory {
        let reader = HistoryReader(store, dataset, history, searchLimit, onHistoryFailure ?? { _ in })
        return try reader.read(path)
    }
}

/// A path's states, snapshot by snapshot.
private final class HistoryReader<Store: SnapshotStore> {
    private struct Ordered {
        var place: Int
        /// At one place: what ended, then what began, then what is not saved yet.
        var rank: Int
        var path: [UInt8]
        var row: FileHistory.Row
    }

    private let store: Store
    private let dataset: UInt64
    private var history: (any ChangeHistory)?
    private let searchLimit: Int
    private let onHistoryFailure: (any Error) -> Void
    private let snapshots: [Snapshot]
    private var known: [String: Bool] = [:]
    private var recorded: [[UInt8]: [RecordedChange]] = [:]
    private var passedOver: [Int: String] = [:]
    private var searched = 0
    private var isBounded = false
    private var looked: [Bool]
    /// A glance was misled.
    private var isCareful = false
    private var rows: [Ordered] = []
    private var fingerprints: [[UInt8]: [Int: [UInt8]]] = [:]
    private var unchanged: [[UInt8]: [Int?]] = [:]

    /// The live files' place, behind all snapshots.
    private var now: Int { snapshots.count }

    init(
        _ store: Store, _ dataset: UInt64, _ history: (any ChangeHistory)?, _ searchLimit: Int,
        _ onHistoryFailure: @escaping (any Error) -> Void
    ) {
        self.store = store
        self.dataset = dataset
        self.history = history
        self.searchLimit = searchLimit
        self.onHistoryFailure = onHistoryFailure
        snapshots = store.snapshots
        looked = Array(repeating: false, count: snapshots.count + 1)
        guard let history else { return }
        do { known = try history.snapshotsKnownInFull(in: dataset) } catch { fail(error) }
    }

    private func fail(_ error: any Error) {
        history = nil
        known = [:]
        recorded = [:]
        unchanged = [:]
        onHistoryFailure(error)
    }

    func read(_ path: [UInt8]) throws(TreeFault) -> FileHistory {
        let live = try look(now) { (tree) throws(TreeFault) in try tree.status(of: path) } ?? nil
        try follow(path, upTo: now, live: live, own: path)
        rows.sort { left, right in
            if (left.place, left.rank) != (right.place, right.rank) {
                return (left.place, left.rank) < (right.place, right.rank)
            }
            return left.path.lexicographicallyPrecedes(right.path)
        }
        var number = 0
        let numbered = rows.map { ordered in
            guard case .version(var version) = ordered.row else { return ordered.row }
            number += 1
            version.number = number
            return .version(version)
        }
        return FileHistory(
            path: path, snapshots: snapshots, rows: numbered, live: live, passedOver: passedOver,
            searchBound: isBounded ? searchLimit : nil, looked: looked.dropLast().count { $0 })
    }

    // MARK: Looking

    /// Nil when the snapshot is passed over.
    private func look<Value>(
        _ index: Int, _ body: (any FileTree) throws(TreeFault) -> Value
    ) throws(TreeFault) -> Value? {
        if passedOver[index] != nil { return nil }
        looked[index] = true
        do throws(TreeFault) {
            return try store.look(into: index == now ? .live : .snapshot(index), body)
        } catch {
            if error == .stopped || index == now { throw error }
            passedOver[index] = error.description
            return nil
        }
    }

    /// - Parameter glanced: where links may have been followed.
    private func status(
        _ path: [UInt8], at index: Int, _ glanced: inout [Bool]
    ) throws(TreeFault) -> FileStatus?? {
        if passedOver[index] != nil { return nil }
        looked[index] = true
        if index < now, !isCareful, let status = store.glance(at: path, in: index) {
            glanced[index] = true
            return .some(status)
        }
        do throws(TreeFault) {
            return .some(try store.status(of: path, in: index == now ? .live : .snapshot(index)))
        } catch {
            if error == .stopped || index == now { throw error }
            passedOver[index] = error.description
            return nil
        }
    }

    private func changes(_ path: [UInt8]) -> [RecordedChange] {
        guard let history else { return [] }
        if let already = recorded[path] { return already }
        do {
            let changes = try history.changes(of: path, in: dataset)
            recorded[path] = changes
            return changes
        } catch {
            fail(error)
            return []
        }
    }

    /// For each snapshot an earlier one that has the same at a path, as it was written down; nil where it has to be looked at.
    private func predecessors(_ path: [UInt8]) -> [Int?] {
        if let already = unchanged[path] { return already }
        let changed = Set(changes(path).map(\.snapshot))
        let result = RecordedRuns(snapshots, known: history == nil ? [:] : known, changed: changed).same
        unchanged[path] = result
        return result
    }

    private func take(
        _ index: Int, _ path: [UInt8], _ same: [Int?], _ states: inout PathStates, _ glanced: inout [Bool]
    ) throws(TreeFault) {
        var base = index
        while states[base] == nil, let earlier = same[base] { base = earlier }
        for candidate in base == index ? [index] : [base, index] {
            if states[candidate] == nil {
                let found = try status(path, at: candidate, &glanced)
                guard let found else { continue }
                states[candidate] = .some(found)
            }
            guard let state = states[candidate] else { continue }
            // A directory changes with its names, and a file with several names under each: neither is written down at this path.
            if candidate != index, let status = state, status.kind == .directory || status.links > 1 { continue }
            states[index] = state
            return
        }
    }

    private func states(
        _ path: [UInt8], upTo end: Int, isOwn: Bool
    ) throws(TreeFault) -> (states: PathStates, glanced: [Bool]) {
        var states = PathStates(count: now + 1)
        var glanced = Array(repeating: false, count: now)
        let same = predecessors(path)
        for index in isOwn ? Array(0..<end) : Array((0..<end).reversed()) {
            try take(index, path, same, &states, &glanced)
            // A name that the file had before counts for as long as the file had it.
            if !isOwn, case .some(.none) = states[index] { break }
        }
        return (states, glanced)
    }

    /// Whether what was glanced at is there without a link on the way, where it begins and ends to be there: what leads elsewhere has
    /// another inode as a rule, and then both ends are looked at.
    private func isConfirmed(
        _ states: PathStates, _ glanced: [Bool], _ path: [UInt8]
    ) throws(TreeFault) -> Bool {
        var before: (index: Int, state: FileStatus)?
        func isThere(_ index: Int, _ state: FileStatus) throws(TreeFault) -> Bool {
            guard index < now, glanced[index] else { return true }
            let found = try look(index) { (tree) throws(TreeFault) in try tree.status(of: path) }
            return found == nil || found == .some(state)
        }
        for index in states.known {
            guard let known = states[index] else { continue }
            if let before, known.map({ !before.state.isSameVersion(as: $0) }) ?? true,
                try !isThere(before.index, before.state)
            {
                return false
            }
            if let known, before.map({ !$0.state.isSameVersion(as: known) }) ?? true, try !isThere(index, known) {
                return false
            }
            before = known.map { (index, $0) }
        }
        return try before.map { (last) throws(TreeFault) in try isThere(last.index, last.state) } ?? true
    }

    // MARK: Following

    /// Makes rows of a path's states: of all, or from a place back for as long as something was there.
    ///
    /// - Parameters:
    ///   - end: the place behind the last one to look at. The live files were looked at already.
    ///   - own: the path that was asked for.
    private func follow(_ path: [UInt8], upTo end: Int, live: FileStatus?, own: [UInt8]) throws(TreeFault) {
        let isOwn = path == own
        var (states, glanced) = try states(path, upTo: end, isOwn: isOwn)
        if glanced.contains(true), try !isConfirmed(states, glanced, path) {
            isCareful = true
            (states, _) = try self.states(path, upTo: end, isOwn: isOwn)
        }
        if isOwn { states[now] = .some(live) }
        var current: FileVersion?
        var before: Int?
        // States of earlier places that were taken for later ones' sake may lie before the end of what counts.
        for index in states.known {
            guard let state = states[index] else { continue }
            defer { before = index }
            guard let status = state else {
                guard let version = current else { continue }
                add(version)
                current = nil
                guard isOwn else { continue }
                let to = try destination(of: version.status, path, from: before ?? version.last, in: index)
                let gone = Disappearance(
                    path: path, last: before ?? version.last, missing: index == now ? nil : index, renamedTo: to,
                    changes: enders(of: path, at: index))
                rows.append(Ordered(place: index, rank: 0, path: path, row: .gone(gone)))
                continue
            }
            if let version = current, let before, try isSame(version.status, at: before, status, at: index, path) {
                if index == now { current?.isLive = true } else { current?.last = index }
                continue
            }
            var from: [UInt8]?
            if let version = current {
                add(version)
                current = nil
            } else if let before {
                from = try origin(of: status, path, at: index, in: before)
                // One that was renamed away and back is on the path that was asked for, which is followed anyhow.
                if let from, from != own { try follow(from, upTo: before + 1, live: nil, own: own) }
            }
            if index == now {
                rows.append(Ordered(place: now, rank: 2, path: path, row: .unsaved(status, renamedFrom: from)))
            } else {
                current = FileVersion(
                    number: 0, path: path, first: index, last: index, status: status, renamedFrom: from, isLive: false,
                    changes: makers(of: path, at: index))
            }
        }
        if let version = current { add(version) }
    }

    private func add(_ version: FileVersion) {
        rows.append(Ordered(place: version.first, rank: 1, path: version.path, row: .version(version)))
    }

    /// Whether two places next to each other have one version.
    private func isSame(
        _ left: FileStatus, at before: Int, _ right: FileStatus, at index: Int, _ path: [UInt8]
    ) throws(TreeFault) -> Bool {
        guard left.isSameVersion(as: right) else { return false }
        // Where a file's times are whole seconds, it may have been changed once more in the second in which the snapshot was taken.
        guard store.hasCoarseTimes, before < now, left.changed.seconds >= snapshots[before].time.milliseconds / 1000 - 1
        else { return true }
        if index < now, left.kind != .directory, left.links == 1, predecessors(path)[index] != nil { return true }
        guard let earlier = try fingerprint(path, left, at: before), let later = try fingerprint(path, right, at: index)
        else { return true }
        return earlier == later
    }

    private func fingerprint(_ path: [UInt8], _ status: FileStatus, at index: Int) throws(TreeFault) -> [UInt8]? {
        if let already = fingerprints[path]?[index] { return already }
        let found = try look(index) { (tree) throws(TreeFault) in try Fingerprint.of(path, status.kind, in: tree) }
        fingerprints[path, default: [:]][index] = found ?? nil
        return found ?? nil
    }

    // MARK: Who

    /// The snapshot that captured what a place has for the first time, with all recorded changes of a path that it captured.
    private func captured(_ path: [UInt8], at index: Int) -> [RecordedChange] {
        guard index < now, history != nil,
            let captor = (index..<now).first(where: { known[snapshots[$0].name] != nil })
        else { return [] }
        let name = snapshots[captor].name
        // What Kairos did not take has no changes of its own: they are told with the next one that it took.
        let limit = captor == index ? Timestamp.latest : snapshots[index].time
        return changes(path).filter { $0.snapshot == name && $0.first <= limit }
    }

    private func makers(of path: [UInt8], at index: Int) -> [RecordedChange] {
        captured(path, at: index).filter { change in
            change.path == path || change.newPath.map { PathBytes.isWithin(path, $0) } ?? false
        }
    }

    private func enders(of path: [UInt8], at index: Int) -> [RecordedChange] {
        captured(path, at: index).filter { change in
            PathBytes.isWithin(path, change.path) && !change.kinds.isDisjoint(with: [.unlink, .rmdir, .rename])
        }
    }

    // MARK: Renames

    /// What a file that is new at a path was called before.
    private func origin(
        of status: FileStatus, _ path: [UInt8], at index: Int, in before: Int
    ) throws(TreeFault) -> [UInt8]? {
        let hints = changes(path).compactMap { change -> [UInt8]? in
            guard let new = change.newPath, PathBytes.isWithin(path, new) else { return nil }
            return change.path + path[new.count...]
        }
        return try counterpart(of: status, path, at: index, in: before, hints: hints, isEarlier: true)
    }

    /// What a file that is gone from a path is called since.
    private func destination(
        of status: FileStatus, _ path: [UInt8], from: Int, in index: Int
    ) throws(TreeFault) -> [UInt8]? {
        let hints = changes(path).compactMap { change -> [UInt8]? in
            guard let new = change.newPath, PathBytes.isWithin(path, change.path) else { return nil }
            return new + path[change.path.count...]
        }
        return try counterpart(of: status, path, at: from, in: index, hints: hints, isEarlier: false)
    }

    /// Where a file of one place is in another one, which has nothing at its path.
    private func counterpart(
        of status: FileStatus, _ path: [UInt8], at index: Int, in other: Int, hints: [[UInt8]], isEarlier: Bool
    ) throws(TreeFault) -> [UInt8]? {
        let found = try look(index) { (tree) throws(TreeFault) in try RenameSearch(status, path, in: tree) }
        guard let sought = found else { return nil }
        // A generation is the transaction group in which the file was made: when that is one behind the earlier snapshot's, it is new.
        // (In a dataset that was received it is another pool's, and beyond the later snapshot's as a rule.)
        if isEarlier, other < now, let generation = sought.generation.map(UInt64.init),
            let earlier = snapshots[other].createtxg, generation > earlier,
            index == now || generation <= snapshots[index].createtxg ?? 0
        {
            return nil
        }
        var left = searchLimit - searched
        let result = try look(other) { (tree) throws(TreeFault) in
            try sought.find(in: tree, hints: hints, left: &left)
        }
        searched = searchLimit - left
        guard let result else { return nil }
        if result.isBounded { isBounded = true }
        guard let path = result.path else { return nil }
        // A further name of the file, which was there before and after, is no other name for this one.
        let there = try look(index) { (tree) throws(TreeFault) in try tree.status(of: path) }
        return there??.inode == status.inode ? nil : path
    }
}

/// What is known of a path, by place. An array, since of many snapshots each is asked for.
private struct PathStates {
    private var items: [FileStatus??]

    init(count: Int) { items = Array(repeating: .none, count: count) }

    subscript(place: Int) -> FileStatus?? {
        get { items[place] }
        set { items[place] = newValue }
    }

    /// The places of which something is known, in order.
    var known: [Int] { items.indices.filter { items[$0] != nil } }
}

extension FileStatus {
    /// Whether a version is the same: a further name, or one less, is also a change of its times.
    func isSameVersion(as other: FileStatus) -> Bool {
        inode == other.inode && changed == other.changed && modified == other.modified && size == other.size
            && kind == other.kind && mode == other.mode && user == other.user && group == other.group
    }
}
