import Datasets

/// A version that was found, and where.
public struct FoundVersion: Sendable, Hashable {
    /// Where the file was then, from the dataset's root.
    public var path: [UInt8]
    public var status: FileStatus
    /// The place of the snapshot to take it from.
    public var snapshot: Int
    /// Its number, where it took reading them all.
    public var number: Int?
}

extension FileHistory {
    /// Finds the version that is meant. `cat`, `diff` and `restore` go by this.
    ///
    /// - Parameter selector: nil: the newest version whose content differs from what is there now, as `ContentComparison` has it; for a
    ///   directory, with something in it that a restore would bring back or change. Of what is gone, the last version.
    /// - Throws: `SelectionFault` when there is none; `TreeFault`.
    public static func find(
        _ selector: VersionSelector?, of path: [UInt8], from store: some SnapshotStore, dataset: UInt64 = 0,
        history: (any ChangeHistory)? = nil, onHistoryFailure: ((any Error) -> Void)? = nil
    ) throws -> FoundVersion {
        try find(
            selector, of: [path], from: store, dataset: dataset, history: history, onHistoryFailure: onHistoryFailure
        )[0].get()
    }

    /// Finds versions of several paths. Without a selector each snapshot is looked at once for all of them, and one that has the same at a
    /// path as another one, as was written down, not for its sake.
    ///
    /// - Throws: `.stopped`.
    public static func find(
        _ selector: VersionSelector?, of paths: [[UInt8]], from store: some SnapshotStore, dataset: UInt64 = 0,
        history: (any ChangeHistory)? = nil, onHistoryFailure: ((any Error) -> Void)? = nil
    ) throws(TreeFault) -> [Result<FoundVersion, any Error>] {
        let finder = VersionFinder(store, dataset, history, onHistoryFailure ?? { _ in })
        guard let selector else { return try finder.differing(paths) }
        var results: [Result<FoundVersion, any Error>] = []
        for path in paths {
            do {
                results.append(.success(try finder.find(selector, path)))
            } catch TreeFault.stopped { throw .stopped } catch { results.append(.failure(error)) }
        }
        return results
    }

    /// By what follows the `@`.
    static func place(of text: String, in snapshots: [Snapshot]) -> Int? {
        let own = text.split(separator: "@", omittingEmptySubsequences: false).last.map(String.init) ?? text
        return snapshots.firstIndex { $0.name == own }
    }
}

private final class VersionFinder<Store: SnapshotStore> {
    /// For one path.
    private struct Search {
        var path: [UInt8]
        var live: FileStatus?
        var runs: RecordedRuns
        /// The first snapshots of runs that do not have what is sought.
        var passed: Set<Int> = []
        var isSeen = false
        var isMissing = false
        var found: FoundVersion?
    }

    private let store: Store
    private let dataset: UInt64
    private var history: (any ChangeHistory)?
    private let onHistoryFailure: (any Error) -> Void
    private let snapshots: [Snapshot]

    init(
        _ store: Store, _ dataset: UInt64, _ history: (any ChangeHistory)?,
        _ onHistoryFailure: @escaping (any Error) -> Void
    ) {
        self.store = store
        self.dataset = dataset
        self.history = history
        self.onHistoryFailure = onHistoryFailure
        snapshots = store.snapshots
    }

    private func read(_ path: [UInt8]) throws(TreeFault) -> FileHistory {
        try FileHistory.read(
            path, from: store, dataset: dataset, history: history, onHistoryFailure: onHistoryFailure)
    }

    // MARK: One that is named

    /// A name that the snapshot has is its version, and only where it has none the versions under other names are read.
    func find(_ selector: VersionSelector, _ path: [UInt8]) throws -> FoundVersion {
        let likely: Int? =
            switch selector {
            case .number: nil
            case .time(let time): snapshots.indices.last { snapshots[$0].time <= time }
            case .snapshot(let text): FileHistory.place(of: text, in: snapshots)
            }
        if let likely {
            do throws(TreeFault) {
                if let status = try store.status(of: path, in: .snapshot(likely)) {
                    return FoundVersion(path: path, status: status, snapshot: likely)
                }
            } catch { if error == .stopped { throw error } }
        }
        let (version, place) = try read(path).resolve(selector)
        return FoundVersion(path: version.path, status: version.status, snapshot: place, number: version.number)
    }

    // MARK: The newest that differs

    func differing(_ paths: [[UInt8]]) throws(TreeFault) -> [Result<FoundVersion, any Error>] {
        var searches = try searches(paths)
        for index in snapshots.indices.reversed() {
            let open = searches.indices.filter { place in
                searches[place].found == nil && !searches[place].passed.contains(searches[place].runs.first(index))
            }
            if open.isEmpty { continue }
            do throws(TreeFault) {
                try store.look(into: .snapshot(index)) { (old) throws(TreeFault) in
                    try store.lookSparingly { (new) throws(TreeFault) in
                        for place in open { try visit(&searches[place], index, old, new) }
                    }
                }
            } catch {
                // One that cannot be looked at is passed over.
                if error == .stopped { throw error }
            }
        }
        var results: [Result<FoundVersion, any Error>] = []
        for search in searches {
            do { results.append(.success(try result(search))) } catch TreeFault.stopped { throw .stopped } catch {
                results.append(.failure(error))
            }
        }
        return results
    }

    private func searches(_ paths: [[UInt8]]) throws(TreeFault) -> [Search] {
        let store = store
        let lives = try store.look(into: .live) { (tree) throws(TreeFault) in
            var lives: [FileStatus?] = []
            for path in paths { lives.append(try tree.status(of: path)) }
            return lives
        }
        do {
            if let history {
                let known = try history.snapshotsKnownInFull(in: dataset)
                return try zip(paths, lives).map { path, live in
                    var changed = Set(try history.changes(of: path, in: dataset).map(\.snapshot))
                    var known = known
                    if live?.kind == .directory {
                        let below = try history.snapshots(changedBelow: path, in: dataset)
                        if let below { changed.formUnion(below) } else { known = [:] }
                    }
                    return Search(
                        path: path, live: live, runs: RecordedRuns(snapshots, known: known, changed: changed))
                }
            }
        } catch {
            history = nil
            onHistoryFailure(error)
        }
        let runs = RecordedRuns(snapshots, known: [:], changed: [])
        return zip(paths, lives).map { Search(path: $0, live: $1, runs: runs) }
    }

    private func visit(
        _ search: inout Search, _ index: Int, _ old: any FileTree, _ new: any FileTree
    ) throws(TreeFault) {
        do throws(TreeFault) {
            guard let status = try old.status(of: search.path) else {
                search.isMissing = true
                search.passed.insert(search.runs.first(index))
                return
            }
            search.isSeen = true
            var comparison = ContentComparison(old, new, settled: settled(index))
            if search.live == nil {
                search.found = FoundVersion(path: search.path, status: status, snapshot: index)
            } else if try comparison.wouldRestore(search.path, over: search.path) {
                search.found = FoundVersion(path: search.path, status: status, snapshot: index)
            } else if !comparison.hasLinks {
                search.passed.insert(search.runs.first(index))
            }
        } catch { if error == .stopped { throw error } }
    }

    private func settled(_ index: Int) -> Int64 {
        store.hasCoarseTimes ? snapshots[index].time.milliseconds / 1000 - 1 : .max
    }

    /// What a search came to. What is there now may have had another name before.
    private func result(_ search: Search) throws -> FoundVersion {
        if let found = search.found { return found }
        let name = search.path.isEmpty ? "the dataset's root" : SafeText.line(search.path, limit: 200)
        if search.live != nil, search.isMissing || !search.isSeen {
            let others = try read(search.path).versions.filter { $0.path != search.path }
            for version in others.sorted(by: { ($0.last, $0.number) > ($1.last, $1.number) }) {
                let isOther = try store.look(into: .snapshot(version.last)) { (old) throws(TreeFault) in
                    try store.lookSparingly { (new) throws(TreeFault) in
                        var comparison = ContentComparison(old, new, settled: settled(version.last))
                        return try comparison.wouldRestore(version.path, over: search.path)
                    }
                }
                guard isOther else { continue }
                return FoundVersion(
                    path: version.path, status: version.status, snapshot: version.last, number: version.number)
            }
            if !others.isEmpty { throw SelectionFault(asItWas: name) }
        }
        if search.live != nil, search.isSeen { throw SelectionFault(asItWas: name) }
        throw SelectionFault(
            description: "\(name) is not in any of the \(snapshots.count) snapshots of its dataset")
    }
}
