import Datasets

/// What ZFS says of a snapshot for as long as there is one.
public struct SnapshotStamp: Sendable, Hashable {
    /// The transaction group that it ended; nil where ZFS does not tell.
    public var createtxg: UInt64?
    /// When it was made: seconds since 1970, by the clock of then.
    public var creation: Int64?

    public init(createtxg: UInt64? = nil, creation: Int64? = nil) {
        self.createtxg = createtxg
        self.creation = creation
    }
}

/// A dataset's GUID, and what ZFS says of its snapshots.
public struct SnapshotStamps: Sendable, Hashable {
    public var guid: UInt64
    /// By names after `@`.
    public var stamps: [String: SnapshotStamp]

    public init(guid: UInt64, stamps: [String: SnapshotStamp]) {
        self.guid = guid
        self.stamps = stamps
    }

    /// ZFS makes these values itself: none holds a newline, so none forges a row.
    private static let question = ["-o", "name,property,value", "guid,creation,createtxg"]

    /// Of all snapshots of a dataset, none of those below it.
    public static func read(
        of dataset: String, _ flavour: ZFSFlavour, _ command: ZFSCommand
    ) async throws(ZFSError) -> SnapshotStamps {
        // zfs-fuse does not know -t.
        let types = flavour == .kernel ? ["-t", "filesystem,volume,snapshot"] : []
        let bytes = try await command.run(
            ["get", "-H", "-p", "-d", "1"] + types + question + [dataset], outputLimit: ZFSCommand.snapshotsLimit)
        return parse(bytes, dataset)
    }

    /// How many snapshots one command is asked about.
    private static let most = 500

    /// Of some snapshots of a dataset. What is gone by now is left out.
    public static func read(
        _ names: [String], of dataset: String, _ command: ZFSCommand
    ) async throws(ZFSError) -> SnapshotStamps {
        var result = SnapshotStamps(guid: 0, stamps: [:])
        var rest = names[...]
        repeat {
            let targets = [dataset] + rest.prefix(most).map { "\(dataset)@\($0)" }
            rest = rest.dropFirst(most)
            let bytes: [UInt8]
            do throws(ZFSError) { bytes = try await command.run(["get", "-H", "-p"] + question + targets) } catch {
                // One of them was destroyed meanwhile: it tells of the others all the same.
                guard error.kind == .datasetMissing else { throw error }
                bytes = error.stdout
            }
            let read = parse(bytes, dataset)
            guard read.guid != 0, result.guid == 0 || result.guid == read.guid else {
                throw ZFSError(
                    operation: "zfs get", arguments: targets, kind: .datasetMissing, exit: .status(1),
                    stderr: ["\(SafeText.line(dataset)) was destroyed or renamed meanwhile"])
            }
            result.guid = read.guid
            result.stamps.merge(read.stamps) { $1 }
        } while !rest.isEmpty
        return result
    }

    static func parse(_ bytes: [UInt8], _ dataset: String) -> SnapshotStamps {
        let start = Array((dataset + "@").utf8)
        var result = SnapshotStamps(guid: 0, stamps: [:])
        for row in ZFSOutput.table(bytes, columns: 3).rows {
            if row[0] == dataset, row[1] == "guid" { result.guid = UInt64(row[2]) ?? 0 }
            guard row[0].utf8.starts(with: start) else { continue }
            let name = String(decoding: row[0].utf8.dropFirst(start.count), as: UTF8.self)
            // `zfs diff` makes and destroys it.
            if name.hasPrefix("zfs-diff-") { continue }
            switch row[1] {
            case "creation": result.stamps[name, default: SnapshotStamp()].creation = Int64(row[2])
            case "createtxg": result.stamps[name, default: SnapshotStamp()].createtxg = UInt64(row[2])
            default: if result.stamps[name] == nil { result.stamps[name] = SnapshotStamp() }
            }
        }
        return result
    }
}
