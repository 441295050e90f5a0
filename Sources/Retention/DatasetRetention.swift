import Datasets
import Snapshots

/// What becomes of the snapshots of one dataset.
public struct DatasetRetention: Sendable, Hashable {
    public var dataset: String
    public var rule: RetentionRule
    /// The rule is nobody's choice.
    public var isDefault: Bool
    public var plan: RetentionPlan

    /// The rule of a dataset: its `kairos:keep`, or the standard.
    public static func rule(
        of dataset: DatasetInfo
    ) throws(RetentionRule.Fault) -> (rule: RetentionRule, isDefault: Bool) {
        guard let keep = dataset.properties[KairosProperty.keep], keep.isSet else { return (.standard, true) }
        return (try RetentionRule(parsing: keep.value), false)
    }

    /// What to destroy, of datasets of any pools, and what of them could not be asked.
    ///
    /// - Parameters:
    ///   - rule: instead of those of the datasets.
    ///   - now: nanoseconds since 1970.
    /// - Returns: the plans; and the datasets that are left as they are, with printable reasons.
    public static func plans(
        for datasets: [DatasetInfo], rule: RetentionRule? = nil, prefix: SnapshotPrefix = .standard,
        command: ZFSCommand, now: Int64
    ) async -> (plans: [DatasetRetention], failures: [(dataset: String, why: String)]) {
        let catalog = SnapshotCatalog(command)
        var times: [String: [Int64]] = [:]
        var plans: [DatasetRetention] = []
        var failures: [(dataset: String, why: String)] = []
        for dataset in datasets {
            let chosen: (rule: RetentionRule, isDefault: Bool)
            do throws(RetentionRule.Fault) {
                if let rule { chosen = (rule, false) } else { chosen = try Self.rule(of: dataset) }
            } catch {
                // By another rule something might go that was to stay.
                let words = SafeText.line(error.description, limit: 300)
                failures.append((dataset.name, "\(KairosProperty.keep): \(words); nothing of it is destroyed"))
                continue
            }
            do throws(ZFSError) {
                let snapshots = try await catalog.snapshots(of: dataset.name, prefix: prefix)
                if times[dataset.pool] == nil { times[dataset.pool] = try await catalog.times(inPool: dataset.pool) }
                let clock = RetentionClock(
                    now: now, times: (times[dataset.pool] ?? []) + snapshots.map(\.time), rule: chosen.rule)
                plans.append(
                    DatasetRetention(
                        dataset: dataset.name, rule: chosen.rule, isDefault: chosen.isDefault,
                        plan: RetentionPlan(snapshots, rule: chosen.rule, clock: clock)))
            } catch { failures.append((dataset.name, "\(error); nothing of it is destroyed")) }
        }
        return (plans, failures)
    }
}
