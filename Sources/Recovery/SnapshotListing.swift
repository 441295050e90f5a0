import Datasets
import Snapshots

/// Reads which snapshots a dataset has.
public struct SnapshotListing: Sendable {
    /// Names carry milliseconds, ZFS's own times seconds. What differs by more than this (milliseconds) was not taken when its name says.
    static let tolerance: Int64 = 60_000

    public let command: ZFSCommand
    public let flavour: ZFSFlavour

    public init(_ command: ZFSCommand, _ flavour: ZFSFlavour) {
        self.command = command
        self.flavour = flavour
    }

    /// The GUID of a dataset, and its snapshots in ZFS's order, the oldest first; none of those below it.
    ///
    /// ZFS walks all of a dataset's snapshots for the few figures that are wanted of each, which takes a second for a few thousand. Their
    /// names alone are in `.zfs/snapshot`, and of a snapshot of Kairos's those figures are known for good: so where both are to be had, ZFS
    /// is asked of the other ones only.
    ///
    /// - Parameters:
    ///   - there: the names of all of its snapshots, after `@`; nil: ZFS is asked.
    ///   - known: what was written down of its snapshots.
    public func snapshots(
        of dataset: String, prefix: SnapshotPrefix = .standard, there: [String]? = nil, known: SnapshotStamps? = nil
    ) async throws(ZFSError) -> (guid: UInt64, snapshots: [Snapshot]) {
        let all = try await stamps(of: dataset, prefix, there, known)
        let snapshots = all.stamps.map { name, stamp in
            let kairos = SnapshotName(parsing: name, prefix: prefix)
            return Snapshot(
                name: name, createtxg: stamp.createtxg, time: Self.time(named: kairos, stamp.creation),
                isNamedByKairos: kairos != nil)
        }
        return (all.guid, snapshots.sorted(by: Self.isBefore))
    }

    private func stamps(
        of dataset: String, _ prefix: SnapshotPrefix, _ there: [String]?, _ known: SnapshotStamps?
    ) async throws(ZFSError) -> SnapshotStamps {
        guard let there, let known else { return try await SnapshotStamps.read(of: dataset, flavour, command) }
        var asked: [String] = []
        var mine: [String: SnapshotStamp] = [:]
        for name in there where !name.hasPrefix("zfs-diff-") {
            // The name of another one may be that of one that was destroyed; Kairos takes none twice.
            if SnapshotName(parsing: name, prefix: prefix) != nil, let stamp = known.stamps[name] {
                mine[name] = stamp
            } else {
                asked.append(name)
            }
        }
        var read = try await SnapshotStamps.read(asked, of: dataset, command)
        // Another dataset of that name: what was written down is not of this one.
        guard read.guid == known.guid else { return try await SnapshotStamps.read(of: dataset, flavour, command) }
        read.stamps.merge(mine) { asked, _ in asked }
        return read
    }

    /// ZFS's order is that of transaction groups. Without them it is that of their seconds, and within one that of Kairos's names.
    private static func isBefore(_ left: Snapshot, _ right: Snapshot) -> Bool {
        if let one = left.createtxg, let other = right.createtxg, one != other { return one < other }
        return (left.time, left.name) < (right.time, right.name)
    }

    /// The name's time where ZFS's own is near it: what somebody else named tells no time.
    static func time(named name: SnapshotName?, _ creation: Int64?) -> Timestamp {
        guard let creation else { return name?.time ?? .earliest }
        let made = Timestamp(seconds: creation, nanoseconds: 0)
        guard let name else { return made }
        return abs(name.time.milliseconds - made.milliseconds) <= tolerance ? name.time : made
    }

    /// Why snapshots were taken, and what they captured, by name after `@`; of Kairos's own alone.
    ///
    /// A value with newlines can hold lines that look like another snapshot's row. Each has a row of its own, so a forged one is its second:
    /// what has two is left out.
    public func reasons(
        of dataset: String, among names: Set<String>
    ) async throws(ZFSError) -> [String: SnapshotProperties] {
        let properties = [
            SnapshotProperties.trigger, SnapshotProperties.changes, SnapshotProperties.firstChange,
            SnapshotProperties.lastChange,
        ]
        let types = flavour == .kernel ? ["-t", "snapshot"] : []
        let bytes = try await command.run(
            ["get", "-H", "-p", "-d", "1"] + types
                + ["-o", "name,property,source,value", properties.joined(separator: ","), dataset],
            outputLimit: ZFSCommand.snapshotsLimit)
        return Self.reasons(bytes, dataset, names, Set(properties))
    }

    static func reasons(
        _ bytes: [UInt8], _ dataset: String, _ names: Set<String>, _ properties: Set<String>
    ) -> [String: SnapshotProperties] {
        struct Key: Hashable {
            var name: String
            var property: String
        }
        let start = dataset + "@"
        var values: [Key: String] = [:]
        var spoilt: Set<Key> = []
        var last: Key?
        for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            let fields = String(decoding: line, as: UTF8.self).unicodeScalars.split(
                separator: "\t", maxSplits: 3, omittingEmptySubsequences: false
            ).map { String($0) }
            guard fields.count == 4, fields[0].hasPrefix(start), properties.contains(fields[1]),
                names.contains(String(fields[0].dropFirst(start.count)))
            else {
                // The dataset's own row and those of datasets below it; else the rest of a value with newlines.
                if fields.count < 4, !line.isEmpty, let last { spoilt.insert(last) }
                if fields.count == 4 { last = nil }
                continue
            }
            let key = Key(name: String(fields[0].dropFirst(start.count)), property: fields[1])
            last = key
            if values[key] != nil || spoilt.contains(key) { spoilt.insert(key) }
            // Inherited from the dataset, or come with a stream, it says nothing of this snapshot.
            values[key] = fields[2] == "local" ? fields[3] : ""
        }
        var byName: [String: [String: String]] = [:]
        for (key, value) in values where !spoilt.contains(key) && !value.isEmpty {
            byName[key.name, default: [:]][key.property] = value
        }
        return byName.compactMapValues { SnapshotProperties(reading: $0) }
    }
}
