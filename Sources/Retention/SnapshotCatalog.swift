import Datasets
import Snapshots

/// What of datasets' snapshots matters to their keeping, read by the `zfs` command.
public struct SnapshotCatalog: Sendable {
    /// The command that is asked.
    public let command: ZFSCommand

    /// ZFS makes these values itself: none holds a newline, so none forges a row.
    private static let common = ["guid", "creation", "userrefs", "createtxg"]
    /// zfs-fuse does not have it.
    private static let newer = ["clones"]
    /// Names carry milliseconds, ZFS's own times seconds. What differs by more than this (nanoseconds) was not taken when its name says.
    static let tolerance: Int64 = 60_000_000_000

    public init(_ command: ZFSCommand) { self.command = command }

    /// When the snapshots and datasets of a pool were made, by the pool's clock, in any order.
    ///
    /// - Returns: `times`: of the snapshots alone, nanoseconds since 1970; `moments`: of all, with their transaction groups where ZFS names them.
    public func history(
        ofPool pool: String
    ) async throws(ZFSError) -> (times: [Int64], moments: [PoolMoment]) {
        let bytes = try await command.run(
            ["get", "-H", "-p", "-r", "-o", "name,property,value", "creation,createtxg", pool],
            outputLimit: ZFSCommand.snapshotsLimit)
        var times: [Int64] = []
        var moments: [PoolMoment] = []
        // A row of each property in turn, of one dataset or snapshot after another.
        var last: (name: String, time: Int64)?
        for row in ZFSOutput.table(bytes, columns: 3).rows {
            switch row[1] {
            case "creation":
                last = Int64(row[2]).flatMap(Self.nanoseconds).map { (row[0], $0) }
                if let last, last.name.contains("@") { times.append(last.time) }
            case "createtxg":
                if let last, last.name == row[0], let createtxg = UInt64(row[2]) {
                    moments.append(PoolMoment(createtxg: createtxg, time: last.time))
                }
            default: break
            }
        }
        return (times, moments)
    }

    /// The snapshots of a dataset, none of those below it, that are called as Kairos calls its own.
    public func names(
        of dataset: String, prefix: SnapshotPrefix = .standard
    ) async throws(ZFSError) -> [SnapshotName] {
        let bytes = try await command.run(
            ["list", "-H", "-t", "snapshot", "-d", "1", "-o", "name", dataset], outputLimit: ZFSCommand.snapshotsLimit)
        let start = dataset + "@"
        return ZFSOutput.table(bytes, columns: 1).rows.filter { $0[0].hasPrefix(start) }
            .compactMap { SnapshotName(parsing: $0[0], prefix: prefix) }
    }

    /// The GUID of a dataset.
    public func guid(of dataset: String) async throws(ZFSError) -> UInt64? {
        let bytes = try await command.run(["get", "-H", "-p", "-o", "value", "guid", dataset])
        return ZFSOutput.table(bytes, columns: 1).rows.first.flatMap { UInt64($0[0]) }
    }

    /// The snapshots of a dataset, none of those below it, in ZFS's order.
    ///
    /// Kairos made a snapshot when its name is one of Kairos's *and* `kairos:trigger` is set on the snapshot itself. A value that it has
    /// from its dataset, or that came with a stream, says nothing. Its time is that of its name where ZFS's own is the same second or near
    /// it; else ZFS's own, so that nobody ages a snapshot by a name, and a clock that was wrong when it was named is forgotten.
    public func snapshots(
        of dataset: String, prefix: SnapshotPrefix = .standard
    ) async throws(ZFSError) -> [RetainedSnapshot] {
        let start = Array((dataset + "@").utf8)
        var properties = Self.common + Self.newer
        var bytes: [UInt8]
        var clones: Set<String> = []
        do {
            bytes = try await get("name,property,value", properties, of: dataset, ["-t", "snapshot"])
        } catch  where error.kind == .usage {
            properties = Self.common
            bytes = try await get("name,property,value", properties, of: dataset, [])
            clones = try await origins(inPool: DatasetName.pool(of: dataset))
        }
        let isOld = properties.count == Self.common.count
        var values: [String: [String: String]] = [:]
        // zfs-fuse tells of the dataset too, and of those below it.
        for row in ZFSOutput.table(bytes, columns: 3).rows where row[0].utf8.starts(with: start) {
            values[row[0], default: [:]][row[1]] = row[2]
        }
        // Only where the value comes from: the value itself could hold lines that look like another snapshot's.
        bytes = try await get(
            "name,source", [SnapshotProperties.trigger], of: dataset, isOld ? [] : ["-t", "snapshot"])
        var sources: [String: PropertySource] = [:]
        for row in ZFSOutput.table(bytes, columns: 2).rows { sources[row[0]] = PropertySource(parsing: row[1]) }
        let bookmarks = isOld ? [] : try await bookmarks(of: dataset)
        var read: [(snapshot: RetainedSnapshot, creation: Int64)] = []
        for (name, values) in values {
            let own = String(name.dropFirst(dataset.count + 1))
            let creation = values["creation"].flatMap { Int64($0) }.flatMap(Self.nanoseconds)
            let guid = values["guid"].flatMap { UInt64($0) }
            let txg = values["createtxg"].flatMap { UInt64($0) }
            let holds = values["userrefs"].flatMap { UInt64($0) }
            var protections: Set<RetainedSnapshot.Protection> = []
            let kairos = SnapshotName(parsing: own, prefix: prefix)
            if kairos == nil || sources[name] != .local { protections.insert(.foreign) }
            if holds.map({ $0 > 0 }) ?? false { protections.insert(.held) }
            if let own = values["clones"], !["", "-"].contains(own) { protections.insert(.cloned) }
            if clones.contains(name) { protections.insert(.cloned) }
            if let guid, bookmarks.contains(guid) { protections.insert(.bookmarked) }
            let isWhole =
                creation != nil && guid != nil && holds != nil && (isOld || values["clones"] != nil) && txg != nil
            if !isWhole { protections.insert(.unknown) }
            read.append(
                (
                    RetainedSnapshot(
                        name: own, time: Self.time(named: kairos, creation), createtxg: txg ?? 0, guid: guid ?? 0,
                        protections: protections),
                    creation ?? 0
                ))
        }
        read.sort {
            ($0.snapshot.createtxg, $0.creation, $0.snapshot.time, $0.snapshot.name)
                < ($1.snapshot.createtxg, $1.creation, $1.snapshot.time, $1.snapshot.name)
        }
        return read.map(\.snapshot)
    }

    private static func time(named name: SnapshotName?, _ creation: Int64?) -> Int64 {
        let (named, over) = (name?.time.milliseconds ?? 0).multipliedReportingOverflow(by: 1_000_000)
        guard name != nil, !over else { return creation ?? 0 }
        guard let creation else { return named }
        return named >= creation - tolerance && named <= creation + tolerance ? named : creation
    }

    private func get(
        _ columns: String, _ properties: [String], of dataset: String, _ options: [String]
    ) async throws(ZFSError) -> [UInt8] {
        try await command.run(
            ["get", "-H", "-p", "-d", "1"] + options + ["-o", columns, properties.joined(separator: ","), dataset],
            outputLimit: ZFSCommand.snapshotsLimit)
    }

    /// The GUIDs that bookmarks of a dataset stand for.
    private func bookmarks(of dataset: String) async throws(ZFSError) -> Set<UInt64> {
        let bytes = try await command.run(
            ["get", "-H", "-p", "-d", "1", "-t", "bookmark", "-o", "value", "guid", dataset])
        return Set(ZFSOutput.table(bytes, columns: 1).rows.compactMap { UInt64($0[0]) })
    }

    /// The snapshots of a pool that have clones, by their full names.
    private func origins(inPool pool: String) async throws(ZFSError) -> Set<String> {
        let bytes = try await command.run(
            ["list", "-H", "-r", "-t", "filesystem,volume", "-o", "origin", pool])
        return Set(ZFSOutput.table(bytes, columns: 1).rows.map { $0[0] })
    }

    private static func nanoseconds(_ seconds: Int64) -> Int64? {
        let (product, over) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        // Not so near the ends of time that a minute more would not fit.
        return over || abs(seconds) > 9_000_000_000 ? nil : product
    }
}
