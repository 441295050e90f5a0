import Datasets

/// A user property of a snapshot, fit to be given to `zfs`.
public struct SnapshotProperty: Hashable, Sendable {
    /// The longest value, in bytes: the limit of zfs-fuse's pools. OpenZFS allows 8,192 (zfsprops(7)).
    public static let longestValue = 1024

    /// The name: lower-case letters, digits and `:+._-`, with a colon, at most 255 bytes.
    public let name: String
    /// The value: UTF-8 without control characters, at most `longestValue` bytes.
    public let value: String

    /// A property, its value made fit by `sanitised(_:)`; nil when ZFS would refuse the name.
    public init?(name: String, value: String) {
        let legal = name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
            default: ":+._-".utf8.contains(byte)
            }
        }
        // What begins with a dash would be an option.
        guard legal, name.utf8.count <= 255, name.utf8.contains(UInt8(ascii: ":")),
            name.utf8.first != UInt8(ascii: "-")
        else { return nil }
        self.init(known: name, value)
    }

    init(known name: String, _ value: String) {
        self.name = name
        self.value = Self.sanitised(value)
    }

    /// As one argument of `zfs snapshot -o` or `zfs set`.
    var argument: String { name + "=" + value }

    /// Text made fit for a value: control and invisible characters as `\u{..}`, cut off between characters at
    /// `longestValue` bytes and then ending in `…`.
    public static func sanitised(_ text: String) -> String {
        let safe = SafeText.line(text, limit: longestValue + 1)
        guard safe.utf8.count > longestValue else { return safe }
        var result = ""
        var count = 0
        let end = "…"
        for scalar in safe.unicodeScalars {
            count += UTF8.width(scalar)
            guard count + end.utf8.count <= longestValue else { break }
            result.unicodeScalars.append(scalar)
        }
        return result + end
    }
}

/// Why a snapshot was taken: the value of `kairos:trigger`.
public enum SnapshotTrigger: String, Hashable, Sendable, CaseIterable {
    /// The dataset was still for its quiet time.
    case quiet
    /// The first change not yet captured became too old.
    case maxDelay = "max-delay"
    /// A version was complete: a file was closed, synced or renamed.
    case commit
    /// Kairos was stopping.
    case stop
    /// ZFS's own figures showed a change where the probes could not be certain.
    case check
    /// An audit of ZFS's own figures showed a change that no probe saw.
    case audit
    /// Kairos was starting and could not tell what had happened before.
    case start
    /// `kairos restore --in-place` was about to replace something.
    case restore
}

/// What was done to a file. The order is that in which counts are written.
public enum ChangeKind: String, Hashable, Sendable, CaseIterable, Comparable {
    /// A file, link or device node came into being.
    case create
    /// Bytes were written.
    case write
    /// A file was made shorter or longer.
    case truncate
    /// A store through a shared mapping.
    case store
    /// A directory was made.
    case mkdir
    /// A name was taken away.
    case unlink
    /// A directory was.
    case rmdir
    /// A name moved.
    case rename
    /// A file got a further name.
    case link
    /// Mode, owner, times, extended attributes or flags were set.
    case attr

    /// In the order of the cases.
    public static func < (left: Self, right: Self) -> Bool { left.order < right.order }

    private var order: Int { Self.allCases.firstIndex(of: self) ?? 0 }
}

/// How often each kind of change was seen: `create=3 write=12`, the value of `kairos:changes`.
public struct ChangeCounts: Hashable, Sendable, CustomStringConvertible, ExpressibleByDictionaryLiteral {
    private var counts: [ChangeKind: UInt64] = [:]

    /// None yet.
    public init() {}

    /// As given, those of 0 left out; of a kind given twice the sum.
    public init(dictionaryLiteral elements: (ChangeKind, UInt64)...) {
        for (kind, count) in elements { add(kind, count) }
    }

    /// From what `description` makes. Words of an unknown kind or without a number are passed over.
    public init(parsing text: String) {
        for word in text.split(separator: " ") {
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let kind = ChangeKind(rawValue: String(parts[0])), let count = UInt64(parts[1])
            else { continue }
            add(kind, count)
        }
    }

    /// How often one kind was seen.
    public subscript(kind: ChangeKind) -> UInt64 { counts[kind] ?? 0 }

    /// How often all kinds were seen.
    public var total: UInt64 { counts.values.reduce(0, Self.sum) }

    /// Whether nothing was seen.
    public var isEmpty: Bool { counts.isEmpty }

    /// Counts some more of a kind. Sums stop at the largest number.
    public mutating func add(_ kind: ChangeKind, _ count: UInt64 = 1) {
        if count > 0 { counts[kind] = Self.sum(self[kind], count) }
    }

    /// `create=3 write=12`; empty when nothing was seen.
    public var description: String {
        counts.sorted { $0.key < $1.key }.map { "\($0.key.rawValue)=\($0.value)" }.joined(separator: " ")
    }

    private static func sum(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let (sum, overflow) = left.addingReportingOverflow(right)
        return overflow ? .max : sum
    }
}

/// What Kairos writes on each of its snapshots.
public struct SnapshotProperties: Hashable, Sendable {
    /// `kairos:trigger`: a snapshot that has it was made by Kairos.
    public static let trigger = "kairos:trigger"
    /// `kairos:changes`.
    public static let changes = "kairos:changes"
    /// `kairos:first-change`.
    public static let firstChange = "kairos:first-change"
    /// `kairos:last-change`.
    public static let lastChange = "kairos:last-change"
    /// `kairos:group`: how many datasets one atomic call snapshotted together.
    public static let group = "kairos:group"

    /// Why it was taken; nil on one read back that was part of a group and never got its own.
    public var trigger: SnapshotTrigger?
    /// What was seen to change since the snapshot before it.
    public var changes: ChangeCounts
    /// When the first of these changes was seen.
    public var firstChange: Timestamp?
    /// When the last of them was.
    public var lastChange: Timestamp?

    /// Properties with all their parts.
    public init(
        trigger: SnapshotTrigger, changes: ChangeCounts = ChangeCounts(), firstChange: Timestamp? = nil,
        lastChange: Timestamp? = nil
    ) {
        self.trigger = trigger
        self.changes = changes
        self.firstChange = firstChange
        self.lastChange = lastChange
    }

    /// From the values of a snapshot's own properties; nil when Kairos did not make it. What cannot be read is left
    /// out.
    public init?(reading values: [String: String]) {
        guard let trigger = values[Self.trigger] else { return nil }
        self.trigger = SnapshotTrigger(rawValue: trigger)
        changes = ChangeCounts(parsing: values[Self.changes] ?? "")
        firstChange = values[Self.firstChange].flatMap { Timestamp(rfc3339: $0) }
        lastChange = values[Self.lastChange].flatMap { Timestamp(rfc3339: $0) }
    }

    /// As user properties, in a fixed order; what is not known is left out.
    public var properties: [SnapshotProperty] {
        var result = [SnapshotProperty(known: Self.trigger, (trigger?.rawValue) ?? "group")]
        if !changes.isEmpty { result.append(SnapshotProperty(known: Self.changes, changes.description)) }
        if let firstChange { result.append(SnapshotProperty(known: Self.firstChange, firstChange.rfc3339)) }
        if let lastChange { result.append(SnapshotProperty(known: Self.lastChange, lastChange.rfc3339)) }
        return result
    }
}
