import Datasets
import Snapshots

/// What becomes of the snapshots of one dataset.
public struct DatasetRetention: Sendable, Hashable {
    public var dataset: String
    /// Of the dataset: another one may have its name by the time that something is destroyed.
    public var guid: UInt64
    public var rule: RetentionRule
    /// The rule is nobody's choice.
    public var isDefault: Bool
    public var plan: RetentionPlan
    /// Of a listing: properties that cannot be read. Nothing of the dataset is destroyed while there are any. Printable.
    public var faults: [String] = []
    /// Room is wanted, and some of the snapshots go for it that the rule keeps.
    public var pressure: SpacePressure?

    public init(dataset: String, guid: UInt64, rule: RetentionRule, isDefault: Bool, plan: RetentionPlan) {
        self.dataset = dataset
        self.guid = guid
        self.rule = rule
        self.isDefault = isDefault
        self.plan = plan
    }
}
