import Datasets
import Tracing

/// Which datasets are watched, by name or by property.
extension Daemon {
    /// What of these datasets is to be watched. Names that lead to none are left in `refused`.
    func select(_ datasets: [DatasetInfo]) throws(SelectionError) -> Selection {
        guard case .named(let names, let recursive) = configuration.target else {
            return try Self.select(configuration.target, datasets, volumes: probes.seesVolumes).selection
        }
        // A dataset that was renamed since the start is still the one that was meant; one that was destroyed is left
        // out, for the sake of the others.
        let current = names.compactMap { name -> String? in
            guard let guid = namedGUIDs[name] else { return name }
            return datasets.first { $0.guid == guid }?.name ?? datasets.first { $0.name == name }?.name
        }
        let (selection, refusals) = try Self.select(
            .named(current, recursive: recursive), datasets, volumes: probes.seesVolumes)
        for name in names {
            if let info = datasets.first(where: { $0.name == name }),
                !datasets.contains(where: { $0.guid == namedGUIDs[name] })
            {
                namedGUIDs[name] = info.guid
            }
        }
        refused = Dictionary(
            refusals.map { ($0.name, describe($0)) }, uniquingKeysWith: { first, _ in first })
        return selection
    }

    /// - Returns: also the names that lead to no dataset which can be watched.
    /// - Throws: for a name that no dataset can have.
    static func select(
        _ target: Configuration.Target, _ datasets: [DatasetInfo], volumes: Bool
    ) throws(SelectionError) -> (selection: Selection, refusals: [SelectionError]) {
        guard case .named(var names, let recursive) = target else {
            return (.byProperty(datasets, volumes: volumes), [])
        }
        var refusals: [SelectionError] = []
        while true {
            do throws(SelectionError) {
                return (
                    try .explicit(names, recursive: recursive, of: datasets, volumes: volumes), refusals
                )
            } catch {
                guard error.reason == .unknown || error.reason == .volume else { throw error }
                refusals.append(error)
                names.removeAll { $0 == error.name }
            }
        }
    }

    private func describe(_ error: SelectionError) -> String {
        error.reason == .volume ? StartError.volume(error.name, refusedProbes.first).description : error.description
    }

    /// Takes the selected datasets under watch. One that cannot be watched does not stop the others.
    ///
    /// - Throws: when none can be, for the first of them.
    func watchAtStart(_ datasets: [DatasetInfo]) throws(StartError) {
        let selection: Selection
        do { selection = try select(datasets) } catch { throw .selection(error) }
        if case .enabled = configuration.target, selection.watched.isEmpty {
            throw .nothingEnabled(notes: selection.excluded.map(\.description) + selection.problems.map(\.description))
        }
        if selection.watched.count > SlotTable.capacity { throw .tooMany(selection.watched.count) }
        var failures: [StartError] = []
        for info in selection.watched {
            do {
                try watch(info)
            } catch {
                failures.append(.lock(error))
                continue
            }
            // What is inherited may be mounted later; a name that was given is meant now.
            if isNamed(info), isUnmounted(info) { failures.append(.notMounted(info.name)) }
        }
        if watched.values.allSatisfy({ isNamed($0.info) && isUnmounted($0.info) }) {
            if let failure = failures.first { throw failure }
            if let words = refused.values.sorted().first { throw .nothingToWatch(words) }
        }
        for failure in failures where told.isNew(failure.description) { report(.warning(failure.description)) }
        tellSelection(selection)
    }

    /// Whether it is a file system that is mounted nowhere here: nothing can change in it, and nothing would be seen.
    private func isUnmounted(_ info: DatasetInfo) -> Bool { info.kind != .volume && !mounts.isMounted(info.name) }

    private func isNamed(_ info: DatasetInfo) -> Bool {
        if case .named(let names, _) = configuration.target { names.contains(info.name) } else { false }
    }

    /// Names of the command line that were not watched in the end: refused, locked, or never mounted.
    var namesNotWatched: [String] {
        guard case .named(let names, _) = configuration.target else { return [] }
        return names.filter { name in
            guard let guid = namedGUIDs[name] else { return true }
            return !everSeen.contains(guid)
        }.sorted()
    }

    func tellSelection(_ selection: Selection) {
        for notice in selection.notices where told.isNew(notice) { report(.notice(notice)) }
        for words in refused.values.sorted() where told.isNew(words) { report(.warning("not watched: " + words)) }
        for exclusion in selection.excluded where told.isNew(exclusion.description) {
            report(.notice("not watched: \(exclusion)"))
        }
        for problem in selection.problems where told.isNew(problem.description) {
            report(.warning(problem.description))
        }
        reportRejectedMounts()
        for dataset in watched.values {
            let key = "unmounted " + dataset.info.name
            if !isUnmounted(dataset.info) {
                everSeen.insert(dataset.info.guid)
                told.forget(key)
            } else if told.isNew(key) {
                report(.notice("\(dataset.info.name) is not mounted; Kairos watches it once it is mounted"))
            }
        }
    }
}
