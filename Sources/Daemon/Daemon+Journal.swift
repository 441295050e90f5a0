import Background
import Datasets
import Journal
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

    /// Snapshots that are gone take their rows with them, and those that nobody wrote down are noted: taken before there was a
    /// journal, or by a Kairos that was killed a moment later.
    func reconcileJournal(of dataset: WatchedDataset) {
        guard journal != nil else { return }
        let (name, guid) = (dataset.info.name, dataset.info.guid)
        let serial = dataset.attempt == nil ? dataset.lastSerial : nil
        let (command, prefix, inbox) = (command, configuration.prefix, inbox)
        WorkerThreads.shared.task {
            guard let snapshots = try? await SnapshotCatalog(command).snapshots(of: name, prefix: prefix) else { return }
            inbox.post(
                .snapshots(SnapshotListing(dataset: name, guid: guid, serial: serial, snapshots: snapshots)))
        }
    }

    func take(_ listing: SnapshotListing) {
        guard let dataset = watched[listing.guid] else { return }
        journal?.reconcile(
            dataset: listing.dataset, guid: listing.guid,
            names: listing.snapshots.filter { !$0.protections.contains(.foreign) }.map { ($0.name, $0.time / 1_000_000) },
            // A snapshot that was taken meanwhile may not be in the list.
            forgets: listing.serial == dataset.lastSerial && dataset.attempt == nil)
    }
}
