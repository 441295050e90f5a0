import Datasets

/// What a snapshot's name begins with, before its time.
public struct SnapshotPrefix: Hashable, Sendable {
    /// `kairos-`.
    public static let standard = SnapshotPrefix(unchecked: "kairos-")

    /// The text, such as `kairos-`.
    public let text: String

    private init(unchecked text: String) {
        self.text = text
    }

    /// Why a prefix cannot be used.
    public enum Fault: Error, Hashable, Sendable, CustomStringConvertible {
        /// Names would be nothing but a time, and could not be told from those of other tools.
        case empty
        /// ZFS refuses the character.
        case character(Unicode.Scalar)
        /// So many bytes: no dataset's name would fit beside it.
        case tooLong(Int)
        /// `zfs diff` makes and destroys such names, and Kairos ignores them.
        case zfsDiff

        /// What is wrong and what to do, printable.
        public var description: String {
            switch self {
            case .empty: "the snapshot prefix is empty; give one such as 'kairos-'"
            case .character(let scalar):
                "the snapshot prefix holds '\(SafeText.line(String(scalar)))'; use letters, digits, '_', '-', '.', ':'"
            case .tooLong(let count):
                "the snapshot prefix is \(count) bytes long; use at most \(SnapshotPrefix.longest)"
            case .zfsDiff: "the snapshot prefix begins with 'zfs-diff-', which belongs to 'zfs diff'; use another"
            }
        }
    }

    /// The longest prefix, in bytes: leaves 200 bytes for the dataset.
    public static let longest = 30

    /// A prefix of legal characters, without spaces: names with them have to be quoted everywhere.
    public init(_ text: String) throws(Fault) {
        if text.isEmpty { throw .empty }
        for scalar in text.unicodeScalars where !DatasetName.isLegal(scalar) || scalar == " " {
            throw .character(scalar)
        }
        if text.utf8.count > Self.longest { throw .tooLong(text.utf8.count) }
        if text.hasPrefix("zfs-diff-") { throw .zfsDiff }
        self.text = text
    }
}

/// The part of a snapshot's name after `@`: a prefix and a time, `kairos-2026-11-22T09.05.00.123Z`.
///
/// Names of one prefix sort as text in the order of their times.
public struct SnapshotName: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// What it begins with.
    public let prefix: SnapshotPrefix
    /// When it was made, roughly: never the same for two snapshots of a dataset.
    public let time: Timestamp

    /// A name of this prefix and time.
    public init(prefix: SnapshotPrefix = .standard, time: Timestamp) {
        self.prefix = prefix
        self.time = time
    }

    /// From the part after `@`, or from a full name; nil when Kairos did not make it with this prefix.
    public init?(parsing text: String, prefix: SnapshotPrefix = .standard) {
        let bytes = Array(text.utf8)
        let start = bytes.lastIndex(of: UInt8(ascii: "@")).map { $0 + 1 } ?? 0
        let own = bytes[start...]
        guard own.starts(with: prefix.text.utf8),
            let time = Timestamp(nameText: String(decoding: own.dropFirst(prefix.text.utf8.count), as: UTF8.self))
        else { return nil }
        self.init(prefix: prefix, time: time)
    }

    /// The part after `@`.
    public var text: String { prefix.text + time.nameText }
    /// The part after `@`.
    public var description: String { text }
    /// The name one millisecond later.
    public var next: SnapshotName { SnapshotName(prefix: prefix, time: time.next) }

    /// `dataset@name`, or nil when that is longer than ZFS allows or the dataset's name is not legal.
    public func full(dataset: String) -> String? {
        let full = dataset + "@" + text
        return full.utf8.count <= DatasetName.longest && DatasetName.isLegal(dataset) ? full : nil
    }

    /// By time; names of one time by prefix.
    public static func < (left: Self, right: Self) -> Bool {
        (left.time, left.prefix.text) < (right.time, right.prefix.text)
    }
}

/// Makes names that do not repeat while the clock goes on, and that keep to the clock when it is set.
public struct SnapshotNamer: Hashable, Sendable {
    /// What the names begin with.
    public let prefix: SnapshotPrefix
    /// The time of the last name.
    public private(set) var last: Timestamp?

    /// A name further ahead of the clock than this is of a time before the clock was set back: milliseconds. As far may a name be from ZFS's
    /// own time for retention to go by the name.
    static let lead: Int64 = 60_000

    /// A namer that has made no name yet, or whose last one had this time.
    public init(prefix: SnapshotPrefix = .standard, last: Timestamp? = nil) {
        self.prefix = prefix
        self.last = last
    }

    /// The next name: of this time, or a millisecond after the last name when the clock has not got that far.
    ///
    /// - Parameter wallClock: `CLOCK_REALTIME`, since 1970.
    public mutating func next(wallClock: (seconds: Int64, nanoseconds: Int64)) -> SnapshotName {
        next(at: Timestamp(seconds: wallClock.seconds, nanoseconds: wallClock.nanoseconds))
    }

    /// The next name: of this time, or a millisecond after the last name when that is not earlier.
    ///
    /// Once the clock was set back by over a minute, the names follow it. A name may then exist; the engine takes a later one for it.
    public mutating func next(at time: Timestamp) -> SnapshotName {
        var unique = time
        if let last, last >= time, last.milliseconds - time.milliseconds <= Self.lead { unique = last.next }
        last = unique
        return SnapshotName(prefix: prefix, time: unique)
    }

    /// Takes note of a name that was made elsewhere: an engine moves on when a name is taken.
    public mutating func note(_ name: SnapshotName) {
        last = last.map { max($0, name.time) } ?? name.time
    }
}
