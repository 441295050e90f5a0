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
        let (command, prefix, inbox) = (command, configuration.prefix, inbox)
        WorkerThreads.shared.task {
            // Nil: a dataset that is gone, or a pool that does not answer; the next round of thinning asks again.
            let names = try? await SnapshotCatalog(command).names(of: name, prefix: prefix)
            inbox.post(.snapshots(SnapshotListing(dataset: name, guid: guid, serial: serial, names: names)))
        }
    }

    func take(_ listing: SnapshotListing) {
        isCounting = false
        countAt = uncounted.isEmpty ? nil : SystemClock.monotonic() + Self.countPause
        guard let dataset = watched[listing.guid], let names = listing.names else { return }
        // What was taken meanwhile is counted the next time.
        dataset.snapshotCount = names.count
        pace(dataset)
        journal?.reconcile(
            dataset: listing.dataset, guid: listing.guid,
            names: names.map { ($0.text, $0.time.milliseconds) },
            // A snapshot that was taken meanwhile may not be in the list.
            forgets: listing.serial == dataset.lastSerial && dataset.attempt == nil)
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
