import Datasets
import FoundationEssentials
import Recovery
import Snapshots

/// Bytes that a JSON text holds exactly: as text, or in base64 where they are not UTF-8.
struct JSONBytes {
    var text: String?
    var raw: String?

    init(_ bytes: [UInt8]) {
        text = String(validating: bytes, as: UTF8.self)
        raw = text == nil ? Data(bytes).base64EncodedString() : nil
    }
}

extension FileTime {
    /// To the millisecond; times that no snapshot has are the nearest that one can have.
    var rfc3339: String { Timestamp(seconds: seconds, nanoseconds: Int64(nanoseconds)).rfc3339 }
}

struct JSONSnapshotPlace: Encodable {
    var snapshot: String
    var time: String

    init(_ snapshot: Snapshot) {
        self.snapshot = snapshot.name
        time = snapshot.time.rfc3339
    }
}

struct JSONChange: Encodable {
    var snapshot: String
    var op: [String]
    var comm: String
    var pid: UInt32
    var uid: UInt32
    var first: String
    var last: String

    init(_ change: RecordedChange) {
        snapshot = change.snapshot
        op = change.kinds.sorted().map(\.rawValue)
        comm = SafeText.line(change.command)
        pid = change.pid
        uid = change.user
        first = change.first.rfc3339
        last = change.last.rfc3339
    }
}

struct JSONStatus: Encodable {
    var kind: String
    var inode: UInt64
    var size: UInt64
    /// Octal, as people write it.
    var mode: String
    var uid: UInt32
    var gid: UInt32
    var links: UInt32
    var modified: String
    var changed: String

    init(_ status: FileStatus) {
        kind = status.kind.rawValue
        inode = status.inode
        size = status.size
        mode = ModeText.octal(status.mode)
        uid = status.user
        gid = status.group
        links = status.links
        modified = status.modified.rfc3339
        changed = status.changed.rfc3339
    }
}

enum ModeText {
    static func octal(_ mode: UInt32) -> String {
        let digits = String(mode, radix: 8)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }
}
