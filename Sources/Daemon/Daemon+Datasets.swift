import BPF
import Background
import Datasets
import Glibc
import Journal
import Policy
import Snapshots
import SystemPackage
import Tracing

extension Daemon {
    /// What of these datasets is to be watched.
    func select(_ datasets: [DatasetInfo]) throws(SelectionError) -> Selection {
        guard case .named(let names, let recursive) = configuration.target else {
            return try Self.select(configuration.target, datasets, volumes: probes.seesVolumes)
        }
        // A dataset that was renamed since the start is still the one that was meant; one that was destroyed is left
        // out, for the sake of the others.
        let current = names.compactMap { name -> String? in
            guard let guid = namedGUIDs[name] else { return name }
            return datasets.first { $0.guid == guid }?.name ?? datasets.first { $0.name == name }?.name
        }
        let selection = try Self.select(
            .named(current, recursive: recursive), datasets, volumes: probes.seesVolumes)
        for name in names {
            if let info = datasets.first(where: { $0.name == name }),
                !datasets.contains(where: { $0.guid == namedGUIDs[name] })
            {
                namedGUIDs[name] = info.guid
            }
        }
        return selection
    }

    static func select(
        _ target: Configuration.Target, _ datasets: [DatasetInfo], volumes: Bool
    ) throws(SelectionError) -> Selection {
        switch target {
        case .enabled: .byProperty(datasets, volumes: volumes)
        case .named(let names, let recursive):
            try .explicit(names, recursive: recursive, of: datasets, volumes: volumes)
        }
    }

    /// Takes a dataset under watch. What it holds that no snapshot has is found by a check.
    func watch(_ info: DatasetInfo) throws(InstanceLockError) {
        guard let slot = (0..<SlotTable.capacity).first(where: { slotOwners[$0] == nil }) else {
            report(.warning("\(info.name) is not watched: \(StartError.tooMany(watched.count + 1))"))
            return
        }
        // A rehearsal changes nothing and may run beside the real one.
        let lock = configuration.dryRun ? nil : try InstanceLock(dataset: info.name, guid: info.guid)
        let (settings, problems) = DatasetSettings.read(info, configuration.overrides)
        for problem in problems where told.isNew(problem) { report(.warning(problem)) }
        // Until its mounts are known, each record: among them may be the journal's own.
        probes.slots.reset(
            slot, wakesAtCommit: settings.followsCommits, wakesAtRecords: !settings.ignore.isEmpty || journal != nil)
        let dataset = WatchedDataset(
            info: info, slot: slot, lock: lock, settings: settings, reading: probes.slots.read(slot),
            now: SystemClock.monotonic())
        watched[info.guid] = dataset
        slotOwners[slot] = info.guid
        do throws(BPFError) {
            try probes.add(dataset: info.guid, slot: slot)
            setFlags(of: dataset)
        } catch {
            report(.warning("\(info.name): its transaction groups are not followed: \(error)"))
        }
        followCommits()
        follow(dataset, isNew: true)
        countSnapshots(of: dataset)
    }

    private func unwatch(_ dataset: WatchedDataset) {
        if let device = dataset.mounted?.device { probes.slots.remove(device, slot: dataset.slot) }
        summary.events += probes.slots.read(dataset.slot).changes - dataset.changesAtStart
        watched[dataset.info.guid] = nil
        slotOwners[dataset.slot] = nil
        probes.remove(dataset: dataset.info.guid)
        followCommits()
    }

    func setFlags(of dataset: WatchedDataset) {
        probes.slots.setFlags(
            dataset.slot, wakesAtCommit: dataset.settings.followsCommits,
            wakesAtRecords: dataset.ignores,
            // A zfs-fuse beside the kernel's OpenZFS has groups of its own. Of a volume nothing else tells.
            hasGroups: dataset.isVolume || hasGroups && dataset.mounted?.flavour != .fuse, marksAll: dataset.isHidden)
    }

    /// From the moment on that OpenZFS has been seen to call the probe of its transaction groups, they tell. Until then
    /// the marks do, and those that there are still count.
    func trustGroups() {
        guard !hasGroups, probes.hasGroups else { return }
        hasGroups = true
        // What was dirtied before was not told of.
        mustReadSlots = true
        for dataset in watched.values { setFlags(of: dataset) }
    }

    private func followCommits() {
        probes.followsCommits = watched.values.contains { $0.settings.followsCommits }
    }

    /// Leads the dataset's present device to its slot. After a change of device some changes may have gone unseen, and
    /// marks may have come from another dataset that has its old device number now: a check tells.
    private func follow(_ dataset: WatchedDataset, isNew: Bool = false) {
        let now = mounts.dataset(named: dataset.info.name)
        let before = dataset.mounted
        dataset.mounted = now
        if let path = configuration.journal, now?.mountPoints != before?.mountPoints || isNew {
            dataset.findOwn(Journal.files(of: path))
            setFlags(of: dataset)
        }
        guard now?.device != before?.device || isNew else { return }
        if let old = before?.device, old != now?.device { probes.slots.remove(old, slot: dataset.slot) }
        if let device = now?.device, !probes.slots.add(device, slot: dataset.slot) {
            report(
                .warning("\(dataset.info.name): no room for its device \(device) in the table: changes are not seen"))
        }
        probes.slots.forgetGroups(dataset.slot)
        // Mapped files from before are not known.
        dataset.mapped.isIncomplete = now != nil
        let time = SystemClock.monotonic()
        // Also where an attempt that is under way raises them again.
        dataset.mustAskSince = time
        suspect(dataset, at: time)
    }

    /// Asks without waiting whether mountinfo changed. It answers once, so that is acted on here.
    func mountsMayHaveChanged() {
        var descriptor = pollfd(fd: mountInfo.rawValue, events: Int16(POLLPRI), revents: 0)
        if poll(&descriptor, 1, 0) > 0 { mountsChanged() }
    }

    /// mountinfo changed. Reading it anew re-arms its POLLPRI.
    func mountsChanged() {
        do {
            let new = try MountTable.read(from: mountInfo)
            let changes = new.changes(from: mounts)
            mountHistory.note(from: mounts, to: new, heard: SystemClock.monotonic())
            mounts = new
            guard !changes.isEmpty else { return }
            for dataset in watched.values { follow(dataset) }
            list()
        } catch {
            if told.isNew(error.description) { report(.warning(error.description)) }
        }
    }

    /// Reads datasets and properties anew, in the background, at most once a second: a host whose monitoring calls
    /// `zfs list` all day must not make this process do the same each time.
    func list() {
        let now = SystemClock.monotonic()
        let earliest = lastListed + 1_000_000_000
        guard !isListing, now >= earliest else {
            relistAt = min(relistAt ?? .max, max(earliest, now + (isListing ? 1_000_000_000 : 0)))
            return
        }
        isListing = true
        lastListed = now
        let catalog = catalog
        let inbox = inbox
        WorkerThreads.shared.task {
            do throws(ZFSError) {
                inbox.post(.listed(.success(try await catalog.list())))
            } catch {
                inbox.post(.listed(.failure(error)))
            }
        }
    }

    func take(_ result: Result<DatasetCatalog.Listing, ZFSError>) {
        isListing = false
        switch result {
        case .success(let listing): follow(listing.datasets)
        case .failure(let error):
            if told.isNew(error.description) { report(.warning("properties were not read again: \(error)")) }
        }
    }

    /// zfs-fuse leaves datasets out of a list that is made while another pool comes or goes (seen with 0.7.0), so one
    /// that is missing is gone only when it is missing twice and not mounted.
    private func isGone(_ dataset: WatchedDataset, known: Set<UInt64>) -> Bool {
        guard !known.contains(dataset.info.guid) else {
            dataset.isMissing = false
            return false
        }
        if dataset.isMissing, mounts.dataset(named: dataset.info.name) == nil { return true }
        dataset.isMissing = true
        list()
        return false
    }

    func relistIfDue(_ now: UInt64) {
        guard let at = relistAt, now >= at else { return }
        relistAt = nil
        list()
    }

    private func follow(_ datasets: [DatasetInfo]) {
        guard !isStopping else { return }
        let known = Set(datasets.map(\.guid))
        for dataset in Array(watched.values) where isGone(dataset, known: known) { leave(dataset, "is gone") }
        let selection: Selection
        do {
            selection = try select(datasets + watched.values.filter(\.isMissing).map(\.info))
        } catch {
            // A named dataset is gone: the others are still watched.
            if told.isNew(error.description) { report(.warning(error.description)) }
            return
        }
        let wanted = Dictionary(selection.watched.map { ($0.guid, $0) }, uniquingKeysWith: { first, _ in first })
        for dataset in Array(watched.values) {
            if let info = wanted[dataset.info.guid] {
                update(dataset, info)
            } else {
                leave(dataset, "is no longer enabled")
            }
        }
        for info in selection.watched where watched[info.guid] == nil {
            do {
                try watch(info)
                report(.notice("watching \(info.name)"))
            } catch {
                if told.isNew(error.description) { report(.warning(error.description)) }
            }
        }
        tellSelection(selection)
    }

    private func leave(_ dataset: WatchedDataset, _ reason: String) {
        let atRisk = dataset.policy.isAtRisk && reason != "is gone"
        report(
            .notice(
                "\(dataset.info.name) \(reason): not watched any more"
                    + (atRisk ? "; its last changes are in no snapshot" : "")))
        unwatch(dataset)
    }

    private func update(_ dataset: WatchedDataset, _ info: DatasetInfo) {
        if dataset.info.name != info.name {
            report(.notice("\(dataset.info.name) is called \(info.name) now"))
        }
        dataset.info = info
        follow(dataset)
        let (settings, problems) = DatasetSettings.read(info, configuration.overrides)
        for problem in problems where told.isNew(problem) { report(.warning(problem)) }
        guard settings != dataset.settings else { return }
        let hadIgnore = dataset.ignores
        dataset.settings = settings
        setFlags(of: dataset)
        followCommits()
        let now = Instant(nanoseconds: SystemClock.monotonic())
        _ = dataset.policy.handle(.settings(settings.policy), now: now)
        pace(dataset)
        // Which changes of this epoch counted was decided by the old rules.
        if hadIgnore || dataset.ignores { dataset.isRelevant = true }
        report(.notice("\(info.name): new settings in force"))
    }

    func tellSelection(_ selection: Selection) {
        for notice in selection.notices where told.isNew(notice) { report(.notice(notice)) }
        for exclusion in selection.excluded where told.isNew(exclusion.description) {
            report(.notice("not watched: \(exclusion)"))
        }
        for problem in selection.problems where told.isNew(problem.description) {
            report(.warning(problem.description))
        }
        for dataset in watched.values {
            let key = "unmounted " + dataset.info.name
            if dataset.mounted != nil || dataset.isVolume {
                told.forget(key)
            } else if told.isNew(key) {
                report(.notice("\(dataset.info.name) is not mounted: it is watched as soon as it is"))
            }
        }
    }

    func tellReady() {
        for refused in refusedProbes { report(.notice("not taken: \(refused)")) }
        report(
            .ready(
                DaemonEvent.Ready(
                    datasets: watched.values.map(\.info.name).sorted(), probes: probes.kind.rawValue,
                    engine: configuration.dryRun ? DryRunEngine().name : engine.name, blindSpots: probes.blindSpots)))
    }

    func tellStatus() {
        var status = DaemonEvent.Status(watched: watched.count, snapshots: summary.snapshots)
        for dataset in watched.values {
            if dataset.policy.isAtRisk { status.atRisk.append(dataset.info.name) }
            if dataset.policy.isInFlight { status.busy.append(dataset.info.name) }
            if dataset.isFailing { status.failing.append(dataset.info.name) }
        }
        status.atRisk.sort()
        status.busy.sort()
        status.failing.sort()
        guard status != told.status else { return }
        told.status = status
        report(.status(status))
    }
}
