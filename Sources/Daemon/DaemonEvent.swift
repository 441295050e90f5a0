import Datasets
import Policy
import Snapshots
import Tracing

/// What a daemon tells of itself, in order, on its own thread. Nothing in it is sanitised: see `SafeText`.
public enum DaemonEvent: Sendable {
    /// The probes see everything from here on, and these datasets are watched.
    case ready(Ready)
    /// With `Configuration.tellsChanges` alone.
    case change(ChangeReport)
    case snapshot(SnapshotReport)
    /// A check found the dataset equal to its newest snapshot: no snapshot was needed.
    case unchanged(dataset: String)
    /// An audit found a change that no probe saw. Its snapshot follows.
    case missed(MissedReport)
    /// A snapshot or check failed. Told once until it succeeds again; the change stays at risk and is tried again.
    case failure(FailureReport)
    /// A change by a path whose dataset could not be found: each dataset is checked.
    case unresolved(Record, reason: String)
    /// Snapshots that no rule keeps were destroyed, or could not be.
    case pruned(PruneReport)
    case notice(String)
    case warning(String)
    /// Something of it differs from the one before.
    case status(Status)
    case stopped(Summary)

    public struct Ready: Sendable {
        public var datasets: [String]
        public var probes: String
        public var engine: String
        public var blindSpots: [String]
    }

    public struct MissedReport: Sendable {
        public var dataset: String
        /// When its last snapshot was begun, or the watch: seconds and nanoseconds since 1970. The change is newer.
        public var since: (seconds: Int64, nanoseconds: Int64)
        /// Access times cannot be told from changes: with atime=on it may have been read, and not changed at all.
        public var mayBeReads: Bool
    }

    public struct FailureReport: Sendable {
        public var dataset: String
        public var operation: String
        public var error: String
        /// When it is tried again, CLOCK_MONOTONIC nanoseconds; nil when it is not, because Kairos is stopping.
        public var retryAt: UInt64?
        public var atRiskSince: UInt64?
    }

    public struct PruneReport: Sendable {
        public var dataset: String
        public var rule: String
        /// How many were destroyed, and how many were in use and are tried again.
        public var destroyed: Int
        /// How many of them the rule would have kept, but `kairos:min-free` wanted their room.
        public var forRoom: Int
        public var busy: Int
    }

    public struct Status: Hashable, Sendable {
        public var watched = 0
        /// Datasets with changes in no snapshot yet.
        public var atRisk: [String] = []
        /// Datasets whose snapshot or check runs.
        public var busy: [String] = []
        public var failing: [String] = []
        public var snapshots: UInt64 = 0
    }
}

/// One change of a watched dataset.
public struct ChangeReport: Sendable {
    public var dataset: String
    /// From the dataset's root and without a leading slash, for a rename the old name before the new one; those that
    /// are not known are left out. Hostile bytes.
    public var paths: [[UInt8]]
    /// What the probes told: operation, time, process.
    public var record: Record
}

/// One snapshot that was taken.
public struct SnapshotReport: Sendable {
    public var dataset: String
    /// It has no files that could have changed: `changes` is empty.
    public var isVolume: Bool
    /// The part after `@`.
    public var name: String
    public var trigger: SnapshotTrigger
    public var changes: ChangeSummary
    /// Changes by the slot's count, each call counted; of a volume, each write that came to it.
    public var calls: UInt64
    /// When it was done, seconds and nanoseconds since 1970.
    public var time: (seconds: Int64, nanoseconds: Int64)
    /// From the first change that it captured to its being done; nil for a change of unknown time.
    public var window: Duration?
    /// How long the engine's call took.
    public var engineTime: Duration
    public var isDryRun: Bool
    /// It took so many tries that failed before.
    public var failuresBefore: Int
}

/// What a daemon did in its life.
public struct Summary: Sendable, Hashable, Codable {
    /// Changes seen on watched datasets, coalesced or not.
    public var events: UInt64 = 0
    /// Records lost with the ring full: detail, not changes.
    public var recordsLost: UInt64 = 0
    public var snapshots: UInt64 = 0
    /// Snapshots and checks that failed, every try counted.
    public var failures: UInt64 = 0
    /// Checks of ZFS's own figures, and how many of them found nothing to capture.
    public var checks: UInt64 = 0
    public var checksUnchanged: UInt64 = 0
    /// Looks of an audit at a dataset, and how many found a change that no probe had seen.
    public var audits: UInt64 = 0
    public var missed: UInt64 = 0
    /// Snapshots that no rule kept.
    public var pruned: UInt64 = 0
    /// Paths that could not be resolved; each led to a check.
    public var unresolved: UInt64 = 0
    /// The longest time from a change to the end of the snapshot that captured it, milliseconds.
    public var longestWindowMilliseconds: UInt64 = 0
    /// Datasets whose last changes are in no snapshot.
    public var leftAtRisk: [String] = []
    /// Datasets that were named, and whose changes were never seen.
    public var notWatched: [String] = []

    public init() {}
}
