import Datasets
import GRDB
import Glibc
import SystemPackage

/// Whether a file is a journal of Kairos. What it is not is never changed, renamed or written to.
///
/// A journal has Kairos's application ID in its header. Those of Kairos before that ID are known by their tables.
enum JournalOrigin: Sendable, Hashable {
    /// There is no file, or one as Kairos leaves it when it is killed early: empty or without tables.
    case fresh
    case kairos
    /// Made by a Kairos that wrote no application ID.
    case kairosUnmarked
    /// Printable: what it is instead.
    case foreign(String)

    /// "Kair".
    static let applicationID: Int32 = 0x4B61_6972

    private static let magic = Array("SQLite format 3\0".utf8)
    /// Of the database's format: where its application ID is, big-endian.
    private static let idRange = 68..<72
    private static let tables: Set<String> = ["dataset", "snapshot", "actor", "change", "grdb_migrations"]

    /// - Throws: when the file cannot be read.
    static func of(_ path: String) throws(JournalError) -> JournalOrigin {
        guard let (header, mode) = try header(of: path) else { return .fresh }
        // What lies where Kairos puts its journal by itself is Kairos's.
        let isStandard = path == Journal.standardPath
        // Many programs have empty files, and other programs' databases can be without tables. Kairos makes its own with this mode.
        let isFresh = isStandard || mode == 0o600
        if header.isEmpty { return isFresh ? .fresh : .foreign("it is an empty file that Kairos did not make") }
        let id = header.count >= 100 ? header[idRange].reduce(UInt32(0)) { $0 << 8 | UInt32($1) } : 0
        // Also where the rest of the header is damaged.
        if Int32(bitPattern: id) == applicationID { return .kairos }
        guard header.starts(with: magic) else { return isStandard ? .kairos : .foreign("it is not an SQLite database") }
        guard id == 0 else { return .foreign("it is an SQLite database of another program") }
        do {
            let names = try tableNames(of: path)
            if tables.isSubset(of: names) { return .kairosUnmarked }
            return names.isEmpty && isFresh ? .fresh : .foreign("it is an SQLite database of another program")
        } catch {
            let error = JournalError(error, path)
            guard error.kind == .damaged else { throw error }
            return isStandard ? .kairos : .foreign("it is a damaged SQLite database without Kairos's application ID")
        }
    }

    /// The first bytes of the file, and its permissions; nil: there is none.
    private static func header(of path: String) throws(JournalError) -> (bytes: [UInt8], mode: mode_t)? {
        do {
            let file = try FileDescriptor.open(
                FilePath(path), .readOnly, options: [.noFollow, .nonBlocking, .closeOnExec])
            return try file.closeAfter {
                var bytes = [UInt8](repeating: 0, count: 100)
                let count = try bytes.withUnsafeMutableBytes { try file.read(fromAbsoluteOffset: 0, into: $0) }
                var status = stat()
                guard fstat(file.rawValue, &status) == 0 else { throw Errno(rawValue: errno) }
                return (Array(bytes[..<count]), status.st_mode & 0o7777)
            }
        } catch {
            if error as? Errno == .noSuchFileOrDirectory { return nil }
            throw JournalError(.other, path, "\(error)")
        }
    }

    private static func tableNames(of path: String) throws -> Set<String> {
        var configuration = Configuration()
        configuration.readonly = true
        configuration.busyMode = .timeout(2)
        // Without a log of its own to be read, SQLite is not to make one.
        let name = access(path + "-wal", F_OK) == 0 ? path : "file:" + encoded(path) + "?immutable=1"
        let queue = try DatabaseQueue(path: name, configuration: configuration)
        return try queue.read {
            try Set(String.fetchAll($0, sql: "SELECT name FROM sqlite_master WHERE type = 'table'"))
        }
    }

    /// For a URI.
    private static func encoded(_ path: String) -> String {
        path.utf8.map { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "."), UInt8(ascii: "-"),
                UInt8(ascii: "_"):
                String(UnicodeScalar(byte))
            default: "%" + String(String(UInt16(byte) + 0x100, radix: 16).dropFirst())
            }
        }.joined()
    }
}
