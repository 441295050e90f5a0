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
    /// Takes a dataset under watch. What it holds that no snapshot has is found by a check.
    func watch(_ info: DatasetInfo) throws(InstanceLockError) {
        // The free one whose turn it is: a program that was under way when a slot was freed must not meet its next owner.
        let places = (0..<SlotTable.capacity).lazy.map { [nextSlot] in (nextSlot + $0) % SlotTable.capacity }
        guard let slot = places.first(where: { slotOwners[$0] == nil }) else {
            report(.warning("\(info.name) is not watched: \(StartError.tooMany(watched.count + 1))"))
            return
        }
        nextSlot = slot + 1
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
        leftBehind[info.guid] = nil
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
        // Writes to a volume before this moment were not counted.
        if probes.findLayout() { for dataset in watched.values where dataset.isVolume { ask(dataset) } }
        guard !hasGroups, probes.hasGroups else { return }
        hasGroups = true
        // What was dirtied before was not told of.
        mustReadSlots = true
        for dataset in watched.values { setFlags(of: dataset) }
    }

    /// Only ZFS itself knows whether the dataset changed.
    func ask(_ dataset: WatchedDataset) {
        let now = SystemClock.monotonic()
        dataset.mustAskSince = now
        suspect(dataset, at: now)
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
            reportRejectedMounts()
            guard !changes.isEmpty else { return }
            for dataset in watched.values { follow(dataset) }
            list()
        } catch {
            if told.isNew(error.description) { report(.warning(error.description)) }
        }
    }

    /// Reads datasets and properties anew, in the background, at most once a second: a host where `zfs` runs all day must
    /// not make this process do the same each time.
    func list(after delay: UInt64 = 0) {
        let now = SystemClock.monotonic()
        let earliest = max(lastListed + 1_000_000_000, now + (isListing ? 1_000_000_000 : delay))
        guard !isListing, now >= earliest else {
            relistAt = min(relistAt ?? .max, earliest)
            return
        }
        isListing = true
        listings += 1
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
        case .success(let listing):
            failedListings = 0
            follow(listing.datasets)
        case .failure(let error):
            failedListings += 1
            list(after: Self.relistPause(failedListings))
            if told.isNew(error.description) { report(.warning("cannot read datasets and properties: \(error)")) }
        }
    }

    /// Before what a list did not answer is asked again: 1 s, and twice as long each further time, up to a minute.
    private static func relistPause(_ times: Int) -> UInt64 {
        min(1 << UInt64(min(max(times, 1), 7) - 1), 60) * 1_000_000_000
    }

    /// zfs-fuse leaves datasets out of a list that is made while another pool comes or goes (seen with 0.7.0). So a dataset
    /// that is missing is gone only when it is missing twice and not mounted, or when another one has its name.
    private func isGone(_ dataset: WatchedDataset, known: Set<UInt64>, names: Set<String>) -> Bool {
        guard !known.contains(dataset.info.guid) else {
            dataset.timesMissing = 0
            return false
        }
        if names.contains(dataset.info.name) { return true }
        if dataset.isMissing, !mounts.isMounted(dataset.info.name) { return true }
        dataset.timesMissing += 1
        if dataset.timesMissing == 3 {
            report(
                .warning(
                    "\(SafeText.line(dataset.info.name)) is mounted, but ZFS does not list it; is its pool suspended? "
                        + "see 'zpool status \(SafeText.line(dataset.info.pool))'"))
        }
        list(after: Self.relistPause(dataset.timesMissing))
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
        let names = Set(datasets.map(\.name))
        let pools = Set(datasets.map(\.pool))
        for dataset in Array(watched.values) where isGone(dataset, known: known, names: names) {
            leave(dataset, pools.contains(dataset.info.pool) ? .destroyed : .exported)
        }
        let selection: Selection
        do {
            selection = try select(datasets + watched.values.filter(\.isMissing).map(\.info))
        } catch {
            // The names were legal at the start, and their form has not changed.
            if told.isNew(error.description) { report(.warning(error.description)) }
            return
        }
        let wanted = Dictionary(selection.watched.map { ($0.guid, $0) }, uniquingKeysWith: { first, _ in first })
        for dataset in Array(watched.values) {
            if let info = wanted[dataset.info.guid] {
                update(dataset, info)
            } else {
                leave(dataset, .disabled)
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

    /// Why a dataset is not watched any more.
    private enum Departure {
        /// The user who destroys a dataset does not want its changes.
        case destroyed
        /// No dataset of its pool is left: exported, most likely, with all that is on its disks.
        case exported
        case disabled

        func words(_ dataset: WatchedDataset) -> String {
            switch self {
            case .destroyed: "is gone"
            case .exported: "is gone, and so is all of pool \(SafeText.line(dataset.info.pool))"
            case .disabled: "is no longer enabled"
            }
        }
    }

    private func leave(_ dataset: WatchedDataset, _ departure: Departure) {
        let name = SafeText.line(dataset.info.name)
        let line = "\(name) \(departure.words(dataset)); Kairos stopped watching it"
        if let since = dataset.policy.atRiskSince, departure != .destroyed {
            let now = SystemClock.monotonic()
            let seconds = (now - min(since.nanoseconds, now)) / 1_000_000_000 + 1
            let remedy =
                departure == .exported
                ? "import the pool while Kairos runs to capture them"
                : "run 'zfs snapshot \(name)@NAME' to keep them"
            // What is no longer enabled is left by the admin's own word.
            if departure == .exported { leftBehind[dataset.info.guid] = dataset.info.name }
            report(.warning("\(line); changes of the last \(seconds) s are in no snapshot: \(remedy)"))
        } else {
            report(.notice(line))
        }
        unwatch(dataset)
    }

    private func update(_ dataset: WatchedDataset, _ info: DatasetInfo) {
        if dataset.info.name != info.name {
            report(.notice("\(dataset.info.name) is called \(info.name) now"))
            dataset.missing = nil
            // A snapshot that was taken under the new name, before it was known here, counted for no dataset.
            let now = Instant(nanoseconds: SystemClock.monotonic())
            if !probes.slots.hasGroups(dataset.slot) { _ = dataset.policy.handle(.doubted(at: now), now: now) }
        } else if let missing = dataset.missing, listings >= missing.listing {
            dataset.missing?.isListed = true
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

    func tellReady() {
        for refused in refusedProbes { report(.notice("not taken: \(refused)")) }
        for program in probes.leftOut where program.isWorthAWarning {
            report(
                .warning(
                    "probe set \(probes.kind.rawValue) does not see \(program.blindSpotAndReason); "
                        + "'kairos doctor --verbose' shows the kernel's reason"))
        }
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
