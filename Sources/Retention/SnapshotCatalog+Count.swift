import Datasets
import Snapshots

extension SnapshotCatalog {
    /// How many snapshots of a dataset Kairos made, which pruning can reduce. Those that were received do not count, nor
    /// those that only have a name like Kairos's.
    ///
    /// ZFS answers this several times more slowly than it lists names, so ask only where the number of names matters.
    public func ownCount(
        of dataset: String, prefix: SnapshotPrefix = .standard
    ) async throws(ZFSError) -> Int {
        func sources(_ types: [String]) async throws(ZFSError) -> [UInt8] {
            try await command.run(
                ["get", "-H", "-p", "-d", "1"] + types + ["-o", "name,source", SnapshotProperties.trigger, dataset],
                outputLimit: ZFSCommand.snapshotsLimit)
        }
        let bytes: [UInt8]
        do {
            bytes = try await sources(["-t", "snapshot"])
        } catch  where error.kind == .usage {
            // zfs-fuse has no -t here, and lists the dataset and those below it as well.
            bytes = try await sources([])
        }
        let start = dataset + "@"
        return ZFSOutput.table(bytes, columns: 2).rows.count { row in
            row[0].hasPrefix(start) && SnapshotName(parsing: row[0], prefix: prefix) != nil
                && PropertySource(parsing: row[1]) == .local
        }
    }
}
