import Datasets
import Policy
import Snapshots
import Tracing

/// What a daemon is to do.
public struct Configuration: Sendable {
    public enum Target: Hashable, Sendable {
        /// Every dataset whose properties say `kairos:enabled=on`.
        case enabled
        /// These, and with `recursive` those below them.
        case named([String], recursive: Bool)
    }

    public var target: Target
    /// Settings from the command line: they win over properties.
    public var overrides = SettingsOverrides()
    public var prefix = SnapshotPrefix.standard
    public var dryRun = false
    /// The probe set to take; nil for the best that works.
    public var probes: ProbeSet?
    /// How often ZFS's own figures are compared with what the probes said; nil for never.
    public var audit: Duration? = .seconds(600)
    /// How often Kairos's snapshots are thinned by their rules; nil for never.
    public var prune: Duration? = .seconds(900)
    /// The file in which it is written down what each snapshot captured; nil for none.
    public var journal: String?
    /// What takes the snapshots.
    public var engine = EngineChoice.auto
    /// The ring's size in bytes.
    public var ringBytes = 1 << 20
    /// Report each change, as far as records tell of it: the first of a kind on a file between two snapshots.
    public var tellsChanges = false

    public init(target: Target) { self.target = target }

    /// What is wrong with the kairos: properties of a dataset, a line each.
    public static func problems(of info: DatasetInfo) -> [String] {
        DatasetSettings.read(info, SettingsOverrides()).problems
    }
}

/// Settings that stand over a dataset's properties; nil leaves the property's, or the default.
public struct SettingsOverrides: Hashable, Sendable {
    public var quiet: Duration?
    public var maxDelay: Duration?
    public var minInterval: Duration?
    public var commitQuiet: Duration?
    public var ignore: IgnoreRules?

    public init() {}
}

/// The settings in force for one dataset.
struct DatasetSettings: Hashable, Sendable {
    var policy: Settings
    var ignore: IgnoreRules
    var budget = SnapshotBudget.standard

    /// A commit point has a meaning of its own only when its quiet time is shorter.
    var followsCommits: Bool { (policy.commitQuiet ?? policy.quiet) < policy.quiet }

    /// From the dataset's properties with the overrides above them. What is malformed is reported and left at its
    /// default: a typing error must not stop the snapshots of a dataset.
    static func read(_ info: DatasetInfo, _ overrides: SettingsOverrides) -> (DatasetSettings, problems: [String]) {
        var problems: [String] = []
        func duration(_ property: String) -> Duration? {
            guard let text = info.settings[property]?.value else { return nil }
            do {
                return try Duration(parsing: text)
            } catch {
                problems.append("\(info.name): \(property)=\(text): \(error); using the default")
                return nil
            }
        }
        var policy = Settings()
        if let quiet = overrides.quiet ?? duration(KairosProperty.quiet) { policy.quiet = quiet }
        if let maxDelay = overrides.maxDelay ?? duration(KairosProperty.maxDelay) { policy.maxDelay = maxDelay }
        if let minimum = overrides.minInterval ?? duration(KairosProperty.minInterval) { policy.minInterval = minimum }
        policy.commitQuiet = overrides.commitQuiet ?? duration(KairosProperty.commitQuiet)
        do {
            policy = try policy.validated()
        } catch {
            problems.append("\(info.name): \(error); using the defaults for all of its times")
            policy = Settings()
        }
        // A volume has no paths that a rule could mean.
        let hasPaths = info.kind != .volume
        var ignore = hasPaths ? overrides.ignore ?? IgnoreRules() : IgnoreRules()
        if hasPaths, overrides.ignore == nil, let list = info.settings[KairosProperty.ignore]?.value {
            do {
                ignore = try IgnoreRules(parsing: list)
            } catch {
                problems.append("\(info.name): \(KairosProperty.ignore): \(error); ignoring nothing")
            }
        }
        var budget = SnapshotBudget.standard
        if let text = info.settings[KairosProperty.maxSnapshots]?.value {
            if let own = SnapshotBudget(parsing: text) {
                budget = own
            } else {
                problems.append(
                    "\(info.name): \(KairosProperty.maxSnapshots)=\(text): no number from 10 to 1000000; using \(budget.limit)"
                )
            }
        }
        return (DatasetSettings(policy: policy, ignore: ignore, budget: budget), problems)
    }
}
