import Datasets
import Snapshots

/// What of datasets' snapshots matters to their keeping, read by the `zfs` command.
public struct SnapshotCatalog: Sendable {
    /// The command that is asked.
    public let command: ZFSCommand

    private static let own = SnapshotProperties.trigger
    private static let common = ["guid", "creation", "userrefs", own]
    /// zfs-fuse has neither.
    private static let newer = ["createtxg", "clones"]

    public init(_ command: ZFSCommand) { self.command = command }

    /// When the snapshots of a pool were made, by the pool's clock: nanoseconds since 1970, in any order.
    public func times(inPool pool: String) async throws(ZFSError) -> [Int64] {
        let bytes = try await command.run(["get", "-H", "-p", "-r", "-o", "name,value", "creation", pool])
        return ZFSOutput.table(bytes, columns: 2).rows.filter { $0[0].contains("@") }
            .compactMap { Int64($0[1]).flatMap(Self.nanoseconds) }
    }

    /// The snapshots of a dataset, none of those below it, in ZFS's order.
    ///
    /// Kairos made a snapshot when its name is one of Kairos's *and* `kairos:trigger` is set on the snapshot itself. A value that it has
    /// from its dataset, or that came with a stream, says nothing.
    public func snapshots(
        of dataset: String, prefix: SnapshotPrefix = .standard
    ) async throws(ZFSError) -> [RetainedSnapshot] {
        let start = Array((dataset + "@").utf8)
        var properties = Self.common + Self.newer
        var bytes: [UInt8]
        var clones: Set<String> = []
        do {
            bytes = try await get(properties, of: dataset, ["-t", "snapshot"])
        } catch  where error.kind == .usage {
            properties = Self.common
            bytes = try await get(properties, of: dataset, [])
            clones = try await origins(inPool: DatasetName.pool(of: dataset))
        }
        // zfs-fuse tells of the dataset too, and of those below it: that is no value with newlines.
        let prefixes = [start, Array((dataset + "/").utf8)]
        let answer = ZFSOutput.properties(bytes, properties: properties) { name in
            name == dataset || prefixes.contains { name.utf8.starts(with: $0) }
        }
        let bookmarks = properties.count > Self.common.count ? try await bookmarks(of: dataset) : []
        var read: [(snapshot: RetainedSnapshot, creation: Int64)] = []
        for (name, values) in answer.values where name.utf8.starts(with: start) {
            let own = String(name.dropFirst(dataset.count + 1))
            let creation = values["creation"].flatMap { Int64($0.value) }.flatMap(Self.nanoseconds)
            let guid = values["guid"].flatMap { UInt64($0.value) }
            let txg = values["createtxg"].flatMap { UInt64($0.value) }
            let holds = values["userrefs"].flatMap { UInt64($0.value) }
            var protections: Set<RetainedSnapshot.Protection> = []
            let kairos = SnapshotName(parsing: own, prefix: prefix)
            if kairos == nil || values[Self.own]?.source != .local { protections.insert(.foreign) }
            if holds.map({ $0 > 0 }) ?? false { protections.insert(.held) }
            if let own = values["clones"] { if !["", "-"].contains(own.value) { protections.insert(.cloned) } }
            if clones.contains(name) { protections.insert(.cloned) }
            if let guid, bookmarks.contains(guid) { protections.insert(.bookmarked) }
            // A value with newlines can forge rows of another snapshot: then none is known for what it is.
            let isWhole =
                creation != nil && guid != nil && holds != nil && answer.isClean
                && (properties.count == Self.common.count || (txg != nil && values["clones"] != nil))
            if !isWhole { protections.insert(.unknown) }
            let time = kairos.map { $0.time.milliseconds * 1_000_000 } ?? creation ?? 0
            read.append(
                (
                    RetainedSnapshot(name: own, time: time, createtxg: txg ?? 0, protections: protections),
                    creation ?? 0
                ))
        }
        read.sort {
            ($0.snapshot.createtxg, $0.creation, $0.snapshot.time, $0.snapshot.name)
                < ($1.snapshot.createtxg, $1.creation, $1.snapshot.time, $1.snapshot.name)
        }
        // Without transaction groups the order is by the second in which they were made, and within it by Kairos's names.
        if properties.count == Self.common.count {
            for index in read.indices { read[index].snapshot.createtxg = UInt64(index + 1) }
        }
        return read.map(\.snapshot)
    }

    private func get(
        _ properties: [String], of dataset: String, _ options: [String]
    ) async throws(ZFSError) -> [UInt8] {
        try await command.run(
            ["get", "-H", "-p", "-d", "1"] + options + ["-o", "name,property,source,value"]
                + [properties.joined(separator: ","), dataset])
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
        return over ? nil : product
    }
}
