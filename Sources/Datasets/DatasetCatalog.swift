/// The user properties that Kairos reads, and those of others that it respects.
public enum KairosProperty {
    /// Whether to watch a dataset: `on` or `off`, inherited.
    public static let enabled = "kairos:enabled"
    /// Snapshot after this long without a change.
    public static let quiet = "kairos:quiet"
    /// Snapshot at the latest this long after the first change.
    public static let maxDelay = "kairos:max-delay"
    /// Never two snapshots closer than this.
    public static let minInterval = "kairos:min-interval"
    /// Snapshot this long after a commit point.
    public static let commitQuiet = "kairos:commit-quiet"
    /// Globs of what makes no snapshot.
    public static let ignore = "kairos:ignore"
    /// Which of its snapshots are kept.
    public static let keep = "kairos:keep"
    /// How many of its snapshots there may be before they come more slowly.
    public static let maxSnapshots = "kairos:max-snapshots"
    /// How much room is to be left to it: snapshots go before their time for it.
    public static let minFree = "kairos:min-free"
    /// Of zfs-auto-snapshot and its kin: `false` keeps automatic snapshots away from a dataset.
    public static let autoSnapshot = "com.sun:auto-snapshot"

    /// The settings of the policy; reading their values is the Policy module's.
    public static let settings = [quiet, maxDelay, minInterval, commitQuiet, ignore, maxSnapshots]
}

/// A file system or volume and what ZFS says of it.
public struct DatasetInfo: Hashable, Sendable {
    /// What sort of dataset it is.
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        /// It holds files.
        case filesystem
        /// It is a block device.
        case volume
    }

    /// The dataset's name.
    public var name: String
    /// What sort it is.
    public var kind: Kind
    /// Its GUID: stays when it is renamed, differs in a copy that was received.
    public var guid: UInt64
    /// Whether ZFS has it mounted, in some mount namespace; false for volumes.
    public var mounted: Bool
    /// The `mountpoint` property: a path, `legacy` or `none`; nil for volumes.
    public var mountPoint: String?
    /// The user properties that were asked for and are set, by name, inherited ones too.
    public var properties: [String: PropertyValue]

    /// A dataset with all its parts.
    public init(
        name: String, kind: Kind, guid: UInt64, mounted: Bool = false, mountPoint: String? = nil,
        properties: [String: PropertyValue] = [:]
    ) {
        self.name = name
        self.kind = kind
        self.guid = guid
        self.mounted = mounted
        self.mountPoint = mountPoint
        self.properties = properties
    }

    /// The policy's settings that are set, by property name, as raw text with their sources.
    public var settings: [String: PropertyValue] {
        properties.filter { KairosProperty.settings.contains($0.key) }
    }

    /// The pool that it is in.
    public var pool: String { DatasetName.pool(of: name) }
}

/// Reads datasets and their properties by the `zfs` command.
public struct DatasetCatalog: Sendable {
    /// How many datasets one `zfs get` is asked about: 200 names of 255 bytes are half of what fits into the smallest
    /// argument list of Linux (128 KiB).
    static let chunk = 200

    /// The command that is asked.
    public let command: ZFSCommand

    /// User properties that every list asks for; the order is that of the question.
    static let userProperties =
        [KairosProperty.enabled, KairosProperty.autoSnapshot, KairosProperty.keep] + KairosProperty.settings
    /// Of these ZFS makes the values itself.
    static let nativeProperties = ["mounted", "mountpoint", "guid"]

    /// A catalog that asks this command.
    public init(_ command: ZFSCommand) {
        self.command = command
    }

    /// A list of datasets, and what of the command's output could not be used.
    public struct Listing: Hashable, Sendable {
        /// The datasets, sorted by name.
        public var datasets: [DatasetInfo] = []
        /// Lines that fitted no row. Anything but 0 is worth a warning.
        public var malformedLines = 0
    }

    /// Every file system and volume of the host, or those of `names` with all that is below them.
    ///
    /// - Throws: `.datasetMissing` when one of `names` is not there, and whatever else the command fails with. A
    ///   dataset that is destroyed while the list is made is left out.
    public func list(below names: [String] = []) async throws(ZFSError) -> Listing {
        var arguments = ["list", "-H", "-o", "name,type", "-t", "filesystem,volume"]
        if !names.isEmpty { arguments += ["-r"] + names }
        let table = ZFSOutput.table(try await command.run(arguments), columns: 2)
        var kinds: [String: DatasetInfo.Kind] = [:]
        for row in table.rows { kinds[row[0]] = DatasetInfo.Kind(rawValue: row[1]) }

        var listing = Listing(malformedLines: table.malformedLines)
        let values = try await properties(Self.userProperties + Self.nativeProperties, of: kinds.keys.sorted())
        for (name, kind) in kinds.sorted(by: { $0.key < $1.key }) {
            // Without a GUID it was destroyed in between.
            guard let own = values[name], let guid = own["guid"].flatMap({ UInt64($0.value) }) else { continue }
            listing.datasets.append(
                DatasetInfo(
                    name: name, kind: kind, guid: guid,
                    mounted: kind == .filesystem && own["mounted"]?.value == "yes",
                    mountPoint: kind == .filesystem ? own["mountpoint"]?.value : nil,
                    properties: own.filter { Self.userProperties.contains($0.key) && $0.value.isSet }
                )
            )
        }
        return listing
    }

    /// Properties of datasets or snapshots: `result[name][property]`.
    ///
    /// Names that are not there, or not there any more, are missing from the result. User properties that nobody set
    /// are in it, with the source `.none`.
    public func properties(
        _ properties: [String], of names: [String]
    ) async throws(ZFSError) -> [String: [String: PropertyValue]] {
        var result: [String: [String: PropertyValue]] = [:]
        for start in stride(from: 0, to: names.count, by: Self.chunk) {
            let some = Array(names[start..<min(start + Self.chunk, names.count)])
            var answer = try await ask(properties, some)
            if !answer.isClean && some.count > 1 {
                // A value with newlines can forge rows of other datasets: a user who may set properties of one could
                // switch another one on or off. Asked about alone, a dataset can lie about itself only.
                answer = ZFSOutput.Properties()
                for name in some {
                    answer.values[name] = try await ask(properties, [name]).values[name]
                }
            }
            result.merge(answer.values) { first, _ in first }
        }
        return result
    }

    private func ask(_ properties: [String], _ names: [String]) async throws(ZFSError) -> ZFSOutput.Properties {
        let fields = ["get", "-H", "-p", "-o", "name,property,source,value", properties.joined(separator: ",")]
        let wanted = Set(names)
        let bytes: [UInt8]
        do {
            bytes = try await command.run(fields + names)
        } catch  where error.kind == .datasetMissing {
            // Destroyed since it was listed. The command still answers for the others.
            bytes = error.stdout
        }
        return ZFSOutput.properties(bytes, properties: properties, of: wanted.contains)
    }
}
