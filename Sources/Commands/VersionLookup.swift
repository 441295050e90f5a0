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

/// Finds versions to restore, in datasets that it opens once.
final class VersionLookup {
    private let command: ZFSCommand
    private let history: (any ChangeHistory)?
    private let stop: LateStop
    private var views: [String: DatasetView] = [:]

    init(_ command: ZFSCommand, _ history: (any ChangeHistory)?, _ stop: LateStop) {
        self.command = command
        self.history = history
        self.stop = stop
    }

    /// Finds a version of each path.
    ///
    /// - Parameters:
    ///   - paths: as the user gave them: absolute or from the working directory, raw; there need not be anything there any more.
    ///   - selector: nil: that of the snapshot in the path, or the newest that differs from what is there now.
    /// - Returns: in the paths' order; an error describes itself in one printable line: what was looked for, where, and what to do.
    func versions(of paths: [[UInt8]], _ selector: VersionSelector?) -> [Result<RestorableVersion, any Error>] {
        // Links are not followed: the owner of a directory on the way could lead root elsewhere by one. They are names of what was there before.
        let places = paths.map { path in Result { try PlaceLookup.place(of: path, links: .refused, command) } }
        var results: [Result<RestorableVersion, any Error>?] = places.map { place in
            if case .failure(let error) = place { .failure(error) } else { nil }
        }
        struct Question: Hashable {
            var dataset: String
            var selector: VersionSelector?
        }
        var questions: [Question: [(index: Int, place: DatasetPlace)]] = [:]
        for (index, place) in places.enumerated() {
            guard let place = try? place.get() else { continue }
            let own = selector ?? place.snapshot.map(VersionSelector.snapshot)
            questions[Question(dataset: place.dataset, selector: own), default: []].append((index, place))
        }
        // Those of one dataset at once: each of its snapshots is looked at once for all of them.
        for (question, asked) in questions {
            do {
                let view = try view(of: asked[0].place)
                let found = try FileHistory.find(
                    question.selector, of: asked.map(\.place.path), from: view, dataset: view.guid, history: history,
                    onHistoryFailure: RecoverySession.historyFailed)
                for (one, found) in zip(asked, found) {
                    results[one.index] = Result { try version(found, one.place, view) }
                }
            } catch {
                for one in asked where results[one.index] == nil { results[one.index] = .failure(error) }
            }
        }
        return results.map { $0 ?? .failure(TreeFault.gone) }
    }

    private func view(of place: DatasetPlace) throws -> DatasetView {
        if let view = views[place.dataset] { return view }
        let view = try DatasetView(
            place, command, history: history, willClone: { [stop] in stop.arm() }, isStopped: { [stop] in stop.isSet })
        views[place.dataset] = view
        return view
    }

    private func version(
        _ result: Result<FoundVersion, any Error>, _ place: DatasetPlace, _ view: DatasetView
    ) throws -> RestorableVersion {
        let found: FoundVersion
        do { found = try result.get() } catch let error as SelectionFault {
            if let link = place.link, !error.isAsItWas { throw PlaceError(link: link) }
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
