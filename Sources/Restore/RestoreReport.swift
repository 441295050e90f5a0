/// How far a restore has come.
public struct RestoreProgress: Hashable, Sendable {
    /// Files, directories and all other entries.
    public var entries = 0
    /// Of files' contents; what hard links name again counts again.
    public var bytes: UInt64 = 0
    /// All there are, as a first walk counted them.
    public var totalEntries = 0
    public var totalBytes: UInt64 = 0

    public init() {}
}

/// What a restore came to.
public struct RestoreReport: Hashable, Sendable {
    /// Something of the snapshot that is not in the result.
    public struct Skipped: Hashable, Sendable {
        /// From what was restored, raw; empty for that itself.
        public var path: [UInt8]
        /// Printable.
        public var reason: String
    }

    /// Something about files that the result lacks.
    public struct Loss: Hashable, Sendable {
        /// Such as `attribute security.capability`, printable.
        public var what: String
        public var reason: String
        public var count: Int
        /// The first of them.
        public var example: [UInt8]
    }

    /// A remainder of a restore that was killed.
    public struct Leftover: Hashable, Sendable {
        public enum Fate: Hashable, Sendable {
            case removed
            /// The original was in it: it has its name again.
            case putBack(name: [UInt8])
            /// This log of the database that it had restored was in it: it has its name now.
            case finished(name: [UInt8])
            /// Printable.
            case left(reason: String)
        }

        public var name: [UInt8]
        public var fate: Fate
    }

    /// The most that is listed of each kind; all are counted.
    public static let listed = 1000

    /// The name in the destination's directory.
    public var name: [UInt8] = []
    public var files = 0
    public var directories = 0
    /// Names beyond the first of hard-linked files.
    public var hardLinks = 0
    /// Symbolic links, fifos, sockets and device nodes.
    public var others = 0
    /// Of files' contents, holes included.
    public var bytes: UInt64 = 0
    /// Of those, what the kernel copied by copy_file_range(2): OpenZFS clones the blocks of it where it can, and does not tell.
    public var kernelCopied: UInt64 = 0
    public var skipped: [Skipped] = []
    public var skippedCount = 0
    public var losses: [Loss] = []
    /// Files and directories that are immutable or append-only again, as they were.
    public var flagged = 0
    public var leftovers: [Leftover] = []
    /// Something was there before, and was replaced.
    public var hasReplaced = false
    /// It was replaced in two steps, between which the name led nowhere: this ZFS cannot exchange two names.
    public var inTwoSteps = false
    /// What the old tree is called now, if it was to be kept.
    public var keptAs: [UInt8]?
    /// Of a database: its logs that came with it, by the names that they have now.
    public var brought: [[UInt8]] = []
    /// Names that went with what was replaced.
    public var setAside: [[UInt8]] = []
    /// The log in the destination's directory that would have been applied to the database under its own name.
    public var avoided: [UInt8]?
    /// What could not be removed of this restore's own working directory, printable.
    public var remainder: String?

    public init() {}

    /// Nothing is missing.
    public var isWhole: Bool { skippedCount == 0 }

    mutating func skip(_ path: [UInt8], _ reason: String) {
        skippedCount += 1
        if skipped.count < Self.listed { skipped.append(Skipped(path: path, reason: reason)) }
    }

    mutating func lose(_ what: String, _ reason: String, _ path: [UInt8]) {
        if let index = losses.firstIndex(where: { $0.what == what && $0.reason == reason }) {
            losses[index].count += 1
        } else if losses.count < Self.listed {
            losses.append(Loss(what: what, reason: reason, count: 1, example: path))
        }
    }
}
