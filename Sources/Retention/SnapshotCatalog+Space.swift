import Datasets

extension SnapshotCatalog {
    /// The most snapshots that are given up in one round: their names fit one argument, of 128 KiB.
    static let most = 1000

    /// The plan, with as many snapshots given up as it takes to have room: the oldest first, none of the rule's first tier.
    ///
    /// How much room each gives back only ZFS knows, since blocks are shared: `zfs destroy -n -v`. zfs-fuse has no such estimate; there
    /// nothing is given up.
    func making(room wanted: MinFree, _ retention: DatasetRetention) async throws(ZFSError) -> DatasetRetention {
        let dataset = retention.dataset
        let pool = DatasetName.pool(of: dataset)
        let space = try await numbers(["used", "available"], of: pool)
        let own = try await numbers(["available"], of: dataset)
        guard space.count == 2, own.count == 1 else { return retention }
        let bytes: UInt64
        switch wanted {
        case .bytes(let count): bytes = count
        case .percent(let share):
            let part = (Double(space[0]) + Double(space[1])) * share / 100
            bytes = part < 0x1p63 ? UInt64(part) : 1 << 63
        }
        // What was destroyed a moment ago is given back in the background.
        var freeing: UInt64 = 0
        if let answer = try? await command.runPool(["list", "-H", "-p", "-o", "freeing", pool]) {
            freeing = ZFSOutput.table(answer, columns: 1).rows.first.flatMap { UInt64($0[0]) } ?? 0
        }
        var pressure = SpacePressure(wanted: bytes, available: own[0].addingClamped(freeing), reclaimed: 0)
        guard pressure.isShort else { return retention }
        let doomed = retention.plan.doomed.map(\.name)
        let spare = Array(retention.plan.spare.map(\.name).prefix(max(0, Self.most - doomed.count)))
        func reclaimed(_ count: Int) async throws(ZFSError) -> UInt64 {
            let names = doomed.prefix(Self.most) + spare.prefix(count)
            guard !names.isEmpty else { return 0 }
            let answer = try await command.run(
                ["destroy", "-n", "-v", "-p", dataset + "@" + names.joined(separator: ",")])
            let row = ZFSOutput.table(answer, columns: 2).rows.last { $0[0] == "reclaim" }
            return row.flatMap { UInt64($0[1]) } ?? 0
        }
        do {
            // The fewest that are enough: what is destroyed gives back no less when more goes.
            var (few, many) = (0, spare.count)
            pressure.reclaimed = try await reclaimed(0)
            if pressure.isShort {
                while few < many {
                    let middle = (few + many) / 2
                    pressure.reclaimed = try await reclaimed(middle)
                    if pressure.isShort { few = middle + 1 } else { many = middle }
                }
                pressure.reclaimed = try await reclaimed(few)
            }
            var result = retention
            result.plan = retention.plan.giving(up: Set(spare.prefix(few)))
            result.pressure = pressure
            return result
        } catch  where error.kind == .usage || error.kind == .invalidName {
            return retention
        }
    }

    private func numbers(_ properties: [String], of dataset: String) async throws(ZFSError) -> [UInt64] {
        let bytes = try await command.run([
            "get", "-H", "-p", "-o", "value", properties.joined(separator: ","), dataset,
        ])
        return ZFSOutput.table(bytes, columns: 1).rows.compactMap { UInt64($0[0]) }
    }
}
