import Datasets
import GRDB

/// A journal that cannot be read or written.
public struct JournalError: Error, Sendable, Hashable, CustomStringConvertible {
    public enum Kind: Sendable, Hashable {
        /// There is none.
        case missing
        /// A journal of Kairos that was damaged.
        case damaged
        /// Kairos did not make it.
        case foreign
        /// Another program holds it.
        case locked
        /// The disk is full, or a quota.
        case full
        /// It belongs to a newer Kairos.
        case newer
        /// Its place is not safe: somebody else could put another file there.
        case unsafe
        case other
    }

    public var kind: Kind
    /// Printable.
    public var description: String

    init(_ kind: Kind, _ path: String, _ why: String) {
        self.kind = kind
        let remedy =
            switch kind {
            case .missing: "it is made by 'kairos run'"
            case .damaged: "'kairos run' sets it aside and begins another; what it told is in the snapshots"
            case .foreign: "Kairos did not change it; name another file with --journal PATH"
            case .locked: "end what holds it: 'fuser \(SafeText.line(path))'"
            case .full: "make room, or give another place: --journal PATH"
            case .newer: "run the Kairos that made it, or give another place: --journal PATH"
            case .unsafe: "give a place in a directory of root's that nobody else may write to: --journal PATH"
            case .other: "see docs/recovery.md"
            }
        description = "the journal \(SafeText.line(path, limit: 300)): \(why); \(remedy)"
    }

    init(_ error: any Error, _ path: String) {
        if let error = error as? JournalError {
            self = error
            return
        }
        guard let error = error as? DatabaseError else {
            self.init(.other, path, SafeText.line("\(error)", limit: 300))
            return
        }
        let why = SafeText.line(error.message ?? "SQLite's error \(error.resultCode.rawValue)", limit: 200)
        switch error.resultCode.primaryResultCode {
        case .SQLITE_CORRUPT, .SQLITE_NOTADB: self.init(.damaged, path, why)
        case .SQLITE_BUSY, .SQLITE_LOCKED: self.init(.locked, path, why)
        case .SQLITE_FULL: self.init(.full, path, why)
        default: self.init(.other, path, why)
        }
    }
}
