/// Which datasets to watch, and why others are not.
public struct Selection: Hashable, Sendable {
    /// Why a dataset that was asked for is not watched.
    public enum Reason: Hashable, Sendable, CustomStringConvertible {
        /// A block device, and there is no probe that sees its writes.
        case volume
        /// `com.sun:auto-snapshot=false`.
        case autoSnapshotOff
        /// `kairos:enabled=off`, below a dataset that was named.
        case off
        /// `kairos:enabled=on` came with a stream, to this dataset.
        case received(at: String)
        /// The dataset from which `kairos:enabled=on` is inherited is not in the list: destroyed or renamed just now.
        case originMissing(String)

        /// The reason as the end of a sentence that begins with the dataset's name. Printable.
        public var description: String {
            switch self {
            case .volume:
                "is a volume: writes to it go past the file system, and only the probe set zfs, which is not in use here"
                    + " ('kairos doctor' says why), sees them"
            case .autoSnapshotOff:
                "has com.sun:auto-snapshot=false; name it on the command line to watch it all the same"
            case .off: "has kairos:enabled=off; name it on the command line to watch it all the same"
            case .received(let dataset):
                "is a replica, its kairos:enabled=on was received; a snapshot would break the next incremental receive."
                    + " To watch it: zfs set kairos:enabled=on \(SafeText.commandLine([dataset]))"
            case .originMissing(let dataset):
                "inherits kairos:enabled=on from '\(SafeText.line(dataset))', which is gone; it is read again soon"
            }
        }
    }

    /// A dataset that is left out although it was asked for.
    public struct Exclusion: Hashable, Sendable, CustomStringConvertible {
        /// The dataset.
        public let dataset: String
        /// Why.
        public let reason: Reason
        /// One printable line.
        public var description: String { "\(SafeText.line(dataset)) \(reason)" }
    }

    /// A value that is neither `on` nor `off`.
    public struct Problem: Hashable, Sendable, CustomStringConvertible {
        /// The dataset on which it is set.
        public let dataset: String
        /// The property.
        public let property: String
        /// The value: hostile text.
        public let value: String
        /// One printable line with the remedy.
        public var description: String {
            "\(SafeText.line(dataset)) has \(property)='\(SafeText.line(value, limit: 60))', which is neither 'on' nor"
                + " 'off', and is not watched for it; run: zfs set \(property)=on \(SafeText.commandLine([dataset]))"
        }
    }

    /// The datasets to watch, sorted by name.
    public var watched: [DatasetInfo] = []
    /// What was asked for and is left out.
    public var excluded: [Exclusion] = []
    /// Properties that say nothing.
    public var problems: [Problem] = []
    /// What was overridden by naming a dataset: printable lines.
    public var notices: [String] = []
}

/// A dataset named on the command line that cannot be watched.
public struct SelectionError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Why not.
    public enum Reason: Hashable, Sendable {
        /// No file system or volume has this name.
        case unknown
        /// It is a volume, and there is no probe that sees its writes.
        case volume
        /// It names a snapshot or bookmark.
        case snapshot
        /// It is a path, and no dataset's name.
        case path
        /// ZFS would refuse it.
        case illegal(DatasetName.Fault)
    }

    /// The name as it was given: hostile text.
    public let name: String
    /// Why not.
    public let reason: Reason

    /// The failure and its remedy in one printable line.
    public var description: String {
        let shown = "'" + SafeText.line(name, limit: DatasetName.longest) + "'"
        return switch reason {
        case .unknown: "there is no dataset \(shown); see 'zfs list' for their names"
        case .volume:
            "\(shown) is a volume: writes to it go past the file system, and only the probe set zfs, which is not in use"
                + " here ('kairos doctor' says why), sees them; name file systems"
        case .snapshot:
            "\(shown) is a snapshot or bookmark, which does not change; name its dataset,"
                + " '\(SafeText.line(String(name.prefix { $0 != "@" && $0 != "#" })))'"
        case .path: "\(shown) is a path; give the dataset's name, which 'zfs list \(SafeText.line(name))' shows"
        case .illegal(let fault): "\(shown) is no dataset's name: it \(fault); see 'zfs list' for their names"
        }
    }
}

extension Selection {
    /// The datasets that their properties ask to watch.
    ///
    /// A dataset is watched when `kairos:enabled=on` is set on it, or inherited from a dataset on which it is set
    /// *locally*. A received value enables nothing: `zfs send -p` copies properties, and a snapshot of a replica makes
    /// its next incremental receive fail.
    ///
    /// - Parameters:
    ///   - datasets: all of the host, for where a value is inherited from has to be looked at.
    ///   - volumes: whether the probes see what is written to volumes.
    public static func byProperty(_ datasets: [DatasetInfo], volumes: Bool) -> Selection {
        var selection = Selection()
        let byName = Dictionary(datasets.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        for dataset in datasets.sorted(by: { $0.name < $1.name }) {
            guard let enabled = dataset.properties[KairosProperty.enabled], enabled.isSet else { continue }
            switch enabled.value {
            case "on": selection.add(dataset, enabled.source, byName, volumes)
            case "off": break
            default: selection.report(dataset, enabled)
            }
        }
        return selection
    }

    private mutating func add(
        _ dataset: DatasetInfo, _ source: PropertySource, _ byName: [String: DatasetInfo], _ volumes: Bool
    ) {
        var origin = dataset
        if case .inherited(let ancestor) = source {
            guard let found = byName[ancestor] else {
                excluded.append(Exclusion(dataset: dataset.name, reason: .originMissing(ancestor)))
                return
            }
            origin = found
        }
        if origin.properties[KairosProperty.enabled]?.source != .local {
            excluded.append(Exclusion(dataset: dataset.name, reason: .received(at: origin.name)))
        } else if dataset.kind == .volume, !volumes {
            excluded.append(Exclusion(dataset: dataset.name, reason: .volume))
        } else if dataset.isAutoSnapshotOff {
            excluded.append(Exclusion(dataset: dataset.name, reason: .autoSnapshotOff))
        } else {
            watched.append(dataset)
        }
    }

    /// One report for each place where the value is set, not for each dataset below it.
    private mutating func report(_ dataset: DatasetInfo, _ enabled: PropertyValue) {
        var place = dataset.name
        if case .inherited(let ancestor) = enabled.source { place = ancestor }
        let problem = Problem(dataset: place, property: KairosProperty.enabled, value: enabled.value)
        if !problems.contains(problem) { problems.append(problem) }
    }

    /// The datasets that a command line names, whatever their properties say.
    ///
    /// - Parameters:
    ///   - names: as given.
    ///   - recursive: with every dataset below them, except those that say `off` themselves.
    ///   - datasets: all of the host.
    ///   - volumes: whether the probes see what is written to volumes.
    /// - Throws: for the first name that cannot be watched.
    public static func explicit(
        _ names: [String], recursive: Bool, of datasets: [DatasetInfo], volumes: Bool
    ) throws(SelectionError) -> Selection {
        var selection = Selection()
        let byName = Dictionary(datasets.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        var chosen: Set<String> = []
        for name in names {
            let dataset = try check(name, byName, volumes)
            guard chosen.insert(name).inserted else { continue }
            selection.watched.append(dataset)
            if dataset.isAutoSnapshotOff {
                selection.notices.append("\(name) is watched although it has com.sun:auto-snapshot=false: it was named")
            }
            if dataset.properties[KairosProperty.enabled]?.value == "off" {
                selection.notices.append("\(name) is watched although it has kairos:enabled=off: it was named")
            }
        }
        if recursive { selection.addDescendants(of: names, in: datasets, chosen: chosen, volumes) }
        selection.watched.sort { $0.name < $1.name }
        return selection
    }

    private mutating func addDescendants(
        of names: [String], in datasets: [DatasetInfo], chosen: Set<String>, _ volumes: Bool
    ) {
        for dataset in datasets.sorted(by: { $0.name < $1.name })
        where !chosen.contains(dataset.name) && names.contains(where: { DatasetName.isBelow(dataset.name, $0) }) {
            if dataset.isView { continue }
            if dataset.kind == .volume, !volumes {
                excluded.append(Exclusion(dataset: dataset.name, reason: .volume))
            } else if dataset.isAutoSnapshotOff {
                excluded.append(Exclusion(dataset: dataset.name, reason: .autoSnapshotOff))
            } else if dataset.properties[KairosProperty.enabled] == PropertyValue("off", .local) {
                excluded.append(Exclusion(dataset: dataset.name, reason: .off))
            } else {
                watched.append(dataset)
            }
        }
    }

    private static func check(
        _ name: String, _ byName: [String: DatasetInfo], _ volumes: Bool
    ) throws(SelectionError) -> DatasetInfo {
        if name.utf8.first == UInt8(ascii: "/") || name.utf8.starts(with: "./".utf8) {
            throw SelectionError(name: name, reason: .path)
        }
        if name.utf8.contains(UInt8(ascii: "@")) || name.utf8.contains(UInt8(ascii: "#")) {
            throw SelectionError(name: name, reason: .snapshot)
        }
        if let fault = DatasetName.fault(in: name) { throw SelectionError(name: name, reason: .illegal(fault)) }
        guard let dataset = byName[name] else { throw SelectionError(name: name, reason: .unknown) }
        if dataset.kind == .volume, !volumes { throw SelectionError(name: name, reason: .volume) }
        return dataset
    }
}

extension DatasetInfo {
    /// How the names of the clones begin, below the pool, by which Kairos looks into snapshots of zfs-fuse.
    public static let viewPrefix = "kairos-view-"

    /// Whether it is such a clone: there for a moment, with `com.sun:auto-snapshot=false`, and not worth a word.
    var isView: Bool {
        name.split(separator: "/").last?.hasPrefix(Self.viewPrefix) == true && isAutoSnapshotOff
    }

    /// Whether `com.sun:auto-snapshot` says no, wherever it was set: to leave a replica alone is what it is sent for.
    var isAutoSnapshotOff: Bool { properties[KairosProperty.autoSnapshot]?.value == "false" }
}
