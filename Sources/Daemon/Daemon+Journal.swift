import Background
import Datasets
import Journal
import Policy
import Retention
import Tracing

extension Daemon {
    /// What there is of a dataset's snapshots, by a list that was made beside everything else.
    struct SnapshotListing: Sendable {
        var dataset: String
        var guid: UInt64
        /// Of the dataset's last attempt when the list was asked for; nil while one was under way.
        var serial: UInt64?
        var snapshots: [RetainedSnapshot]
    }

    /// Asks ZFS what there is of a dataset's snapshots, for the budget and the journal.
    ///
    /// Snapshots that are gone take their rows with them, and those that nobody wrote down are noted: taken before there was a
    /// journal, or by a Kairos that was killed a moment later.
    func countSnapshots(of dataset: WatchedDataset) {
        let (name, guid) = (dataset.info.name, dataset.info.guid)
        let serial = dataset.attempt == nil ? dataset.lastSerial : nil
        let (command, prefix, inbox) = (command, configuration.prefix, inbox)
        WorkerThreads.shared.task {
            guard let snapshots = try? await SnapshotCatalog(command).snapshots(of: name, prefix: prefix) else {
                return
            }
            inbox.post(
                .snapshots(SnapshotListing(dataset: name, guid: guid, serial: serial, snapshots: snapshots)))
        }
    }

    func take(_ listing: SnapshotListing) {
        guard let dataset = watched[listing.guid] else { return }
        // What was taken meanwhile is counted the next time.
        dataset.snapshotCount = listing.snapshots.count { !$0.protections.contains(.foreign) }
        pace(dataset)
        journal?.reconcile(
            dataset: listing.dataset, guid: listing.guid,
            names: listing.snapshots.filter { !$0.protections.contains(.foreign) }.map {
                ($0.name, $0.time / 1_000_000)
            },
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
