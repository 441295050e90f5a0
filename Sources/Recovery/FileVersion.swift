import Datasets

/// One state of a file, from the first snapshot that has it to the last.
public struct FileVersion: Sendable, Hashable {
    /// From 1, the oldest. The same as long as no snapshot is destroyed.
    public var number: Int
    /// Where it was then.
    public var path: [UInt8]
    /// Places in the list of snapshots.
    public var first: Int
    public var last: Int
    public var status: FileStatus
    /// What it was called in the snapshot before, which had nothing at `path`.
    public var renamedFrom: [UInt8]?
    /// The live file is this version.
    public var isLive: Bool
    /// Who made it, as far as that was written down.
    public var changes: [RecordedChange]
}

/// The end of a file, or of its name.
public struct Disappearance: Sendable, Hashable {
    public var path: [UInt8]
    /// The last snapshot that has it.
    public var last: Int
    /// The first one without it; nil: none, it is gone since.
    public var missing: Int?
    /// Where it went; nil: it was deleted, or where it went was not found.
    public var renamedTo: [UInt8]?
    public var changes: [RecordedChange]
}

/// Which version is meant.
public enum VersionSelector: Sendable, Hashable {
    /// By its number.
    case number(Int)
    /// That of the newest snapshot up to then.
    case time(Timestamp)
    /// That of a snapshot, named after its `@` or in full.
    case snapshot(String)
}

/// Why there is no such version. Printable, and says what there is instead.
public struct SelectionFault: Error, Sendable, Hashable, CustomStringConvertible {
    public var description: String
    /// There are versions, and all of them are what is there now.
    public var isAsItWas = false

    public init(description: String) { self.description = description }

    /// - Parameter name: printable.
    public init(asItWas name: String) {
        description = "\(name) is already as it was: no snapshot has a version that differs"
        isAsItWas = true
    }
}
