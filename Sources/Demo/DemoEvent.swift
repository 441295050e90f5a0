import Daemon
import Datasets

/// What happens in a demo, in order. Names of files and processes in it are not sanitised: see `SafeText`.
public enum DemoEvent: Sendable {
    /// It begins; with so long a quiet time, and what is made stays if it `keeps`.
    case opening(quiet: Duration, keeps: Bool)
    /// Scratch pools of earlier runs that were killed, removed now.
    case leftovers([String])
    case pool(Pool)
    case step(number: Int, title: String)
    case change(ChangeReport)
    case snapshot(SnapshotReport)
    /// For so long there was neither a change nor a snapshot.
    case still(Duration)
    case readBack(ReadBack)
    /// A command as a user types it, and what it said.
    case command(words: [String], output: [String])
    case message(String)
    case result(DemoResult)
    /// All that was made is gone.
    case removed(Pool)
    /// What could not be removed, and why.
    case left([String])
    case kept(Pool)

    /// The scratch pool.
    public struct Pool: Sendable {
        public var name: String
        public var flavour: ZFSFlavour
        public var datasets: [String]
        public var mountPoint: String
        /// Holds everything.
        public var directory: String
        /// Whether a zfs-fuse was started for it.
        public var startedDaemon: Bool
        /// That zfs-fuse, while it runs.
        public var daemonPID: Int?
    }

    /// A deleted file, out of a snapshot.
    public struct ReadBack: Sendable {
        /// Below the pool.
        public var dataset: String
        /// The part after `@`.
        public var snapshot: String
        public var file: String
        public var content: [UInt8]
        /// Read by a clone for a moment, not by `.zfs/snapshot`.
        public var byClone: Bool
    }
}

/// What came of a demo.
public struct DemoResult: Sendable {
    /// From the first file to the end of the last step.
    public var duration: Duration
    /// Changes that were shown.
    public var changes: Int
    /// Snapshots on the pool.
    public var snapshots: Int
    /// Files' versions that the workload left at rest, and those of them that were read out of a snapshot.
    public var versions: Int
    public var versionsCaptured: Int
    /// The longest time that a change was in no snapshot.
    public var longestWindow: Duration
    public var deletedFile: String
    /// How long that file existed.
    public var deletedFileLifetime: Duration
    public var cron: Cron
    /// What is not as it was claimed, a line each.
    public var problems: [String]

    /// Everything claimed was found to be so.
    public var isVerified: Bool { problems.isEmpty }

    /// What a snapshot of every dataset each five minutes would have had of it, had it come at the best moment of all.
    public struct Cron: Sendable {
        public static let interval = Duration.seconds(300)
        public var snapshots: Int
        public var versions: Int
        /// That moment, after the first file.
        public var tick: Duration
        /// Whether the deleted file existed then.
        public var hasDeletedFile: Bool
    }
}
