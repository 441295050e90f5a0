import Datasets
import Snapshots

/// One round of thinning: dataset by dataset, each looked at afresh just before something of it is destroyed.
public struct PruneRound: Sendable {
    /// Why a dataset is left as it is. Printable.
    public struct Refusal: Error, Sendable, Hashable, CustomStringConvertible {
        public var dataset: String
        public var why: String

        public var description: String { "\(SafeText.line(dataset)): \(why)" }
    }

    private let command: ZFSCommand
    private let catalog: SnapshotCatalog
    private let rule: RetentionRule?
    private let prefix: SnapshotPrefix
    private let leaps: ClockLeaps
    private let isForListing: Bool
    private var histories: [String: (times: [Int64], moments: [PoolMoment])] = [:]
    /// Pools that did not answer: each question would wait again for as long.
    private var broken: [String: String] = [:]

    /// - Parameters:
    ///   - rule: instead of the datasets' own.
    ///   - leaps: how the clock is known to have been set.
    ///   - isForListing: a property that cannot be read is noted in the answer, which keeps everything then, and is no refusal.
    public init(
        _ command: ZFSCommand, rule: RetentionRule? = nil, prefix: SnapshotPrefix = .standard,
        leaps: ClockLeaps = ClockLeaps(), isForListing: Bool = false
    ) {
        self.leaps = leaps
        self.isForListing = isForListing
        self.command = command
        catalog = SnapshotCatalog(command)
        self.rule = rule
        self.prefix = prefix
    }

    /// What of a dataset no rule keeps.
    ///
    /// - Parameters:
    ///   - guid: of the dataset that is meant: one that was renamed since it was listed is another matter.
    ///   - now: nanoseconds since 1970.
    public mutating func plan(for dataset: String, guid: UInt64, now: Int64) async throws(Refusal) -> DatasetRetention {
        let pool = DatasetName.pool(of: dataset)
        if let why = broken[pool] { throw Refusal(dataset: dataset, why: why) }
        // What was listed some time ago may have been changed since: the rule is read when it counts.
        let catalog = catalog
        let command = command
        let own = try await ask(dataset) { () async throws(ZFSError) in
            try await DatasetCatalog(command).properties(
                ["guid", KairosProperty.keep, KairosProperty.minFree], of: [dataset])
        }[dataset]
        guard let own, own["guid"]?.value == String(guid) else {
            throw Refusal(dataset: dataset, why: "it is gone, or another dataset has its name; \(Self.nothing)")
        }
        var faults: [String] = []
        var chosen: RetentionRule
        var isDefault = false
        do throws(Refusal) { (chosen, isDefault) = try rule(of: dataset, own[KairosProperty.keep]) } catch {
            guard isForListing else { throw error }
            faults.append(error.why)
            chosen = .everything
        }
        let prefix = prefix
        let snapshots = try await ask(dataset) { () async throws(ZFSError) in
            try await catalog.snapshots(of: dataset, prefix: prefix)
        }
        if histories[pool] == nil {
            histories[pool] = try await ask(dataset) { () async throws(ZFSError) in
                try await catalog.history(ofPool: pool)
            }
        }
        let history = histories[pool] ?? ([], [])
        let clock = RetentionClock(
            now: now, times: history.times + snapshots.map(\.time), moments: history.moments, leaps: leaps)
        var retention = DatasetRetention(
            dataset: dataset, guid: guid, rule: chosen, isDefault: isDefault,
            plan: RetentionPlan(snapshots, rule: chosen, clock: clock))
        if let text = own[KairosProperty.minFree], text.isSet {
            if let wanted = MinFree(parsing: text.value) {
                retention = try await ask(dataset) { [retention] () async throws(ZFSError) in
                    try await catalog.making(room: wanted, retention)
                }
            } else {
                let words = SafeText.line(text.value, limit: 60)
                let why =
                    "\(KairosProperty.minFree)=\(words) is no size (20G), pool share (10%) or 'none'; \(Self.nothing)"
                guard isForListing else { throw Refusal(dataset: dataset, why: why) }
                faults.append(why)
            }
        }
        retention.faults = faults
        return retention
    }

    static let nothing = "nothing of it is destroyed"

    /// The dataset's `kairos:keep`, or the standard.
    private func rule(
        of dataset: String, _ keep: PropertyValue?
    ) throws(Refusal) -> (rule: RetentionRule, isDefault: Bool) {
        if let rule { return (rule, false) }
        guard let keep, keep.isSet else { return (.standard, true) }
        do throws(RetentionRule.Fault) { return (try RetentionRule(parsing: keep.value), false) } catch {
            // By another rule something might go that was to stay.
            let words = SafeText.line(error.description, limit: 300)
            throw Refusal(dataset: dataset, why: "\(KairosProperty.keep): \(words); \(Self.nothing)")
        }
    }

    private mutating func ask<Answer>(
        _ dataset: String, _ question: () async throws(ZFSError) -> Answer
    ) async throws(Refusal) -> Answer {
        do throws(ZFSError) { return try await question() } catch {
            note(error, of: dataset)
            throw Refusal(dataset: dataset, why: "\(error); \(Self.nothing)")
        }
    }

    /// The rest of its pool is not asked in this round when an error is about the pool, or would be met again.
    public mutating func note(_ error: ZFSError, of dataset: String) {
        guard error.kind.concernsPool || error.kind == .outputTooLarge else { return }
        let pool = DatasetName.pool(of: dataset)
        broken[pool] = "the pool '\(SafeText.line(pool))' could not be asked (\(error.kind.rawValue)); \(Self.nothing)"
    }
}
