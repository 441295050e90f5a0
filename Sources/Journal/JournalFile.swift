import Datasets
import GRDB
import Glibc

/// The database file: where it may lie, and how it is opened.
struct JournalFile {
    let path: String

    /// SQLite's files beside it.
    static let suffixes = ["", "-wal", "-shm", "-journal"]

    init(_ path: String) throws(JournalError) {
        guard path.utf8.first == UInt8(ascii: "/"), !path.utf8.contains(0) else {
            throw JournalError(.unsafe, path, "it needs an absolute path")
        }
        self.path = path
    }

    private var directory: String { String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]) + "/" }

    var isThere: Bool { access(path, F_OK) == 0 }

    /// SQLite opens its files by path, so nobody but root may be able to put one there.
    func checkPlace() throws(JournalError) {
        var status = stat()
        guard stat(directory, &status) == 0 else {
            throw JournalError(errno == ENOENT ? .missing : .other, path, "no directory: \(words(errno))")
        }
        let isOpen = status.st_mode & 0o022 != 0 && status.st_mode & S_ISVTX == 0
        guard status.st_uid == geteuid() || status.st_uid == 0, !isOpen else {
            throw JournalError(.unsafe, path, "others may write to its directory")
        }
        for suffix in Self.suffixes {
            guard lstat(path + suffix, &status) == 0 else { continue }
            guard status.st_mode & S_IFMT == S_IFREG, status.st_uid == geteuid() || status.st_uid == 0 else {
                throw JournalError(.unsafe, path, "\(SafeText.line(path + suffix)) is no file of root's")
            }
        }
    }

    /// - Throws: `.foreign` for a file that Kairos did not make.
    func checkOrigin() throws(JournalError) -> JournalOrigin {
        let origin = try JournalOrigin.of(path)
        if case .foreign(let why) = origin { throw JournalError(.foreign, path, why) }
        return origin
    }

    /// For writing; made when it is not there, with mode 0600.
    func openForWriting() throws(JournalError) -> DatabaseQueue {
        let parent = String(directory.dropLast())
        if !parent.isEmpty, mkdir(parent, 0o700) != 0, errno != EEXIST {
            throw JournalError(.other, path, "its directory could not be made: \(words(errno))")
        }
        try checkPlace()
        let origin = try checkOrigin()
        let file = Glibc.open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard file >= 0 else {
            throw JournalError(errno == ENOSPC || errno == EDQUOT ? .full : .other, path, words(errno))
        }
        fchmod(file, 0o600)
        close(file)
        do {
            // In the file itself before there is a log that could hold it alone.
            if origin == .fresh { try mark(try DatabaseQueue(path: path)) }
            var configuration = Configuration()
            configuration.journalMode = .wal
            configuration.busyMode = .timeout(5)
            configuration.prepareDatabase { database in
                // Survives the death of the program; a power cut may take the last rows, and no more.
                try database.execute(sql: "PRAGMA synchronous = NORMAL")
            }
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            let migrator = JournalSchema.migrator
            if try queue.read(migrator.hasBeenSuperseded) { throw JournalError(.newer, path, "a newer Kairos made it") }
            try migrator.migrate(queue)
            if origin == .kairosUnmarked { try mark(queue) }
            return queue
        } catch { throw JournalError(error, path) }
    }

    /// Writes down whose it is.
    private func mark(_ queue: DatabaseQueue) throws {
        try queue.write { try $0.execute(sql: "PRAGMA application_id = \(JournalOrigin.applicationID)") }
    }

    func openForReading() throws(JournalError) -> DatabaseQueue {
        guard access(path, F_OK) == 0 else { throw JournalError(.missing, path, words(errno)) }
        try checkPlace()
        _ = try checkOrigin()
        do {
            var configuration = Configuration()
            configuration.readonly = true
            configuration.busyMode = .timeout(2)
            let queue = try DatabaseQueue(path: path, configuration: configuration)
            let migrator = JournalSchema.migrator
            let state = try queue.read { database in
                (try migrator.hasBeenSuperseded(database), try migrator.hasCompletedMigrations(database))
            }
            if state.0 { throw JournalError(.newer, path, "a newer Kairos made it") }
            if !state.1 { throw JournalError(.other, path, "an older Kairos made it, and none has run since") }
            return queue
        } catch { throw JournalError(error, path) }
    }

    /// Gives it another name, with the time in it.
    /// - Returns: the name.
    func setAside(at seconds: Int64) throws(JournalError) -> String {
        let aside = "\(path).damaged-\(seconds)"
        for suffix in Self.suffixes where rename(path + suffix, aside + suffix) != 0 && errno != ENOENT {
            throw JournalError(.other, path, "it could not be set aside: \(words(errno))")
        }
        return aside
    }

    private func words(_ number: CInt) -> String { String(cString: strerror(number)) }
}
