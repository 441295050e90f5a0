import Background
import Datasets
import Journal
import Policy
import Retention
import Snapshots
import Tracing

extension Daemon {
    /// What there is of a dataset's snapshots, by a list that was made beside everything else.
    struct SnapshotListing: Sendable {
        var dataset: String
        var guid: UInt64
        /// Of the dataset's last attempt when the list was asked for; nil while one was under way.
        var serial: UInt64?
        /// Those that are called as Kairos calls its own; nil: ZFS did not tell.
        var names: [SnapshotName]?
        /// How many of them count against the budget.
        var count = 0
    }

    /// Asks ZFS what there is of a dataset's snapshots, for the budget and the journal.
    ///
    /// Snapshots that are gone take their rows with them, and those that nobody wrote down are noted: taken before there was a
    /// journal, or by a Kairos that was killed a moment later.
    ///
    /// One dataset after the other, and not before the start's own checks are done: a host with a thousand datasets is not to run a
    /// thousand commands at once.
    func countSnapshots(of dataset: WatchedDataset) {
        guard !uncounted.contains(dataset.info.guid) else { return }
        uncounted.append(dataset.info.guid)
        countAt = countAt ?? SystemClock.monotonic() + Self.countDelay
    }

    /// Nanoseconds from the moment that a count is asked for, and from one to the next.
    private static let countDelay: UInt64 = 2_000_000_000
    private static let countPause: UInt64 = 20_000_000

    func countIfDue(_ now: UInt64) {
        guard let at = countAt, now >= at, !isCounting, !isStopping else { return }
        countAt = nil
        guard !uncounted.isEmpty else { return }
        guard let dataset = watched[uncounted.removeFirst()] else {
            countAt = uncounted.isEmpty ? nil : now
            return
        }
        isCounting = true
        let (name, guid) = (dataset.info.name, dataset.info.guid)
        let serial = dataset.attempt == nil ? dataset.lastSerial : nil
        let (command, prefix, inbox, budget) = (command, configuration.prefix, inbox, dataset.settings.budget)
        WorkerThreads.shared.task {
            var listing = SnapshotListing(dataset: name, guid: guid, serial: serial)
            // Without an answer the dataset is gone, or its pool is stuck; Kairos asks again after the next pruning.
            do throws(ZFSError) {
                let catalog = SnapshotCatalog(command)
                let names = try await catalog.names(of: name, prefix: prefix)
                // Which of them pruning can destroy matters only if all of them together would slow the dataset down.
                let isMany = budget.level(names.count) != .free
                listing.count = isMany ? try await catalog.ownCount(of: name, prefix: prefix) : names.count
                listing.names = names
            } catch {}
            inbox.post(.snapshots(listing))
        }
    }

    func take(_ listing: SnapshotListing) {
        isCounting = false
        countAt = uncounted.isEmpty ? nil : SystemClock.monotonic() + Self.countPause
        guard let dataset = watched[listing.guid], let names = listing.names else { return }
        // What was taken meanwhile is counted the next time.
        dataset.snapshotCount = listing.count
        pace(dataset)
        journal?.reconcile(
            dataset: listing.dataset, guid: listing.guid,
            names: names.map { ($0.text, $0.time.milliseconds) },
            // A snapshot that was taken meanwhile may not be in the list.
            forgets: listing.serial == dataset.lastSerial && dataset.attempt == nil)
        dataset.stamped.formIntersection(names.map(\.text))
        dataset.unstamped = names.map(\.text).filter { !dataset.stamped.contains($0) }
        stamp(dataset)
    }

    /// How many snapshots ZFS is asked about at once, between two counts: that takes hardly longer than to ask about one.
    private static let stampGroup = 32

    /// A snapshot was taken: what ZFS says of it is noted together with that of others.
    func stampLater(_ name: String, of dataset: WatchedDataset) {
        guard keepsStamps(dataset) else { return }
        dataset.unstamped.append(name)
        if dataset.unstamped.count >= Self.stampGroup { stamp(dataset) }
    }

    /// Asks ZFS about the snapshots whose place among others the journal does not know, so that whoever looks back need not.
    private func stamp(_ dataset: WatchedDataset) {
        guard keepsStamps(dataset), !dataset.isStamping, !dataset.unstamped.isEmpty else { return }
        let names = dataset.unstamped
        dataset.unstamped = []
        dataset.isStamping = true
        let (name, guid, command, inbox) = (dataset.info.name, dataset.info.guid, command, inbox)
        WorkerThreads.shared.task {
            let stamps = try? await SnapshotStamps.read(names, of: name, command)
            inbox.post(.stamped(guid, stamps))
        }
    }

    /// Not with zfs-fuse: it has no directory of all snapshots' names, so who looks back asks for all of them anyhow.
    private func keepsStamps(_ dataset: WatchedDataset) -> Bool {
        journal != nil && dataset.mounted?.flavour == .kernel
    }

    func take(_ stamps: SnapshotStamps?, of guid: UInt64) {
        guard let dataset = watched[guid] else { return }
        dataset.isStamping = false
        // Without an answer, or of another dataset of that name: the next count asks again.
        guard let stamps, stamps.guid == guid else { return }
        dataset.stamped.formUnion(stamps.stamps.keys)
        journal?.note(stamps)
    }

    /// Lets the snapshots of a dataset come more slowly, the nearer it is to its budget, and says so.
    func pace(_ dataset: WatchedDataset) {
        let (budget, count) = (dataset.settings.budget, dataset.snapshotCount ?? 0)
        let settings = dataset.settings.policy.paced(budget.pause(count))
        if settings != dataset.policy.settings {
            _ = dataset.policy.handle(.settings(settings), now: Instant(nanoseconds: SystemClock.monotonic()))
        }
        let level = budget.level(count)
        guard level != dataset.budgetLevel else { return }
        let before = dataset.budgetLevel
        dataset.budgetLevel = level
        let of =
            "\(SafeText.line(dataset.info.name)): \(count) of \(budget.limit) snapshots (\(KairosProperty.maxSnapshots))"
        let remedy = "keep fewer by \(KairosProperty.keep), or raise \(KairosProperty.maxSnapshots)"
        switch level {
        case .free: report(.notice("\(of): they come at their own pace again"))
        case .near where before == .spent: report(.notice("\(of): the next ones come a little faster again"))
        case .near: report(.warning("\(of): the next ones come more slowly, up to one an hour; \(remedy)"))
        case .spent: report(.warning("\(of): one an hour from now on, so changes are at risk for as long; \(remedy)"))
        }
    }
}
