import Datasets
import Recovery
import Restore
import SystemPackage

/// A version of a file in a snapshot, and where the file belongs.
struct RestorableVersion: Sendable {
    /// Holds the snapshot open for as long as it lives.
    var source: RestoreSource
    var dataset: String
    var flavour: ZFSFlavour
    /// Where the dataset is mounted: absolute, raw.
    var mountPoint: [UInt8]
    /// `st_dev` of the mounted dataset.
    var device: UInt64
    /// Where it belongs, from the mount point; empty for the dataset's root. Raw.
    var path: [UInt8]
    /// When the version's snapshot was taken, nanoseconds since 1970.
    var time: Int64
    /// The part after `@`.
    var snapshot: String
}

/// Why a version was not found.
struct LookupError: Error, CustomStringConvertible { var description: String }

/// Finds versions to restore, in datasets that it opens once.
final class VersionLookup {
    private let command: ZFSCommand
    private let history: (any ChangeHistory)?
    private let isStopped: @Sendable () -> Bool
    private var views: [String: DatasetView] = [:]

    init(_ command: ZFSCommand, _ history: (any ChangeHistory)?, isStopped: @escaping @Sendable () -> Bool) {
        self.command = command
        self.history = history
        self.isStopped = isStopped
    }

    /// - Parameters:
    ///   - path: as the user gave it: absolute or from the working directory, raw; there need not be anything there any more.
    ///   - selector: nil: that of the snapshot in the path, or the newest that is not what is there now.
    /// - Throws: an error that describes itself in one printable line: what was looked for, where, and what to do.
    func version(of path: [UInt8], _ selector: VersionSelector?) throws -> RestorableVersion {
        // Links are not followed: the owner of a directory on the way could lead root elsewhere by one. They are names of what was there before.
        let place = try PlaceLookup.place(of: path, links: .refused, command)
        let view = try views[place.dataset] ?? DatasetView(place, command, history: history, isStopped: isStopped)
        views[place.dataset] = view
        let found: FoundVersion
        do {
            found = try FileHistory.find(
                selector ?? place.snapshot.map(VersionSelector.snapshot) ?? .other, of: place.path, from: view,
                dataset: view.guid, history: history, onHistoryFailure: RecoverySession.historyFailed)
        } catch let error as SelectionFault {
            if let link = place.link { throw PlaceError(link: link) }
            throw error
        }
        let root = HeldRoot(try view.root(of: found.snapshot))
        let snapshot = view.snapshots[found.snapshot]
        return RestorableVersion(
            source: RestoreSource(root: root.descriptor, path: found.path, owner: root), dataset: place.dataset,
            flavour: place.flavour, mountPoint: place.mountPoint, device: place.device.stDevice, path: place.path,
            time: snapshot.time.nanoseconds, snapshot: snapshot.name)
    }

    /// Cleans up, once no version is held any more.
    func close() {
        for view in views.values {
            view.close()
            for problem in view.problems { Output.message(problem) }
        }
        views = [:]
    }
}

/// A snapshot's root directory, open.
private final class HeldRoot: Sendable {
    let descriptor: FileDescriptor

    init(_ descriptor: FileDescriptor) { self.descriptor = descriptor }

    deinit { try? descriptor.close() }
}
