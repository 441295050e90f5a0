import CRestore
import Datasets
import Glibc
import SystemPackage

/// An SQLite database and the files beside it.
///
/// `NAME-wal` holds transactions that are committed and not yet in the file, `NAME-journal` what takes back an unfinished one. SQLite applies
/// either of them at the next opening, whatever the file is by then. So a file that is restored alone either lacks transactions or, beside
/// the log of another version, gets pages that are not its own. `NAME-shm` is an index of the log that SQLite makes anew.
public enum DatabaseFiles {
    static let magic = Array("SQLite format 3\0".utf8)
    /// What holds content.
    static let logs = ["-wal", "-journal"].map { Array($0.utf8) }
    static let all = logs + [Array("-shm".utf8)]

    /// Whether a snapshot's file is an SQLite database.
    public static func isDatabase(_ source: RestoreSource) throws(RestoreError) -> Bool {
        let (from, name) = try Restorer.open(source)
        return try translating(source.path) { () throws(CallFailure) in
            guard !name.isEmpty, try from.status(of: name).kind == .file else { return false }
            return try from.file(name).read(limit: magic.count) == magic
        }
    }

    /// The suffixes of the logs that a snapshot has of a database.
    static func logs(of source: RestoreSource) throws(RestoreError) -> [[UInt8]] {
        let (from, name) = try Restorer.open(source)
        return try translating(source.path) { () throws(CallFailure) in
            var found: [[UInt8]] = []
            for suffix in logs {
                if let status = try from.statusIfThere(name + suffix), status.kind == .file, status.size > 0 {
                    found.append(suffix)
                }
            }
            return found
        }
    }

    /// As `Restorer.copy`, with the database's logs. Logs of what it replaces are removed with that.
    public static func copy(
        _ source: RestoreSource, to destination: RestoreDestination, _ options: RestoreOptions,
        progress: @escaping (RestoreProgress) -> Void = { _ in }
    ) throws(RestoreError) -> RestoreReport {
        let logs = try logs(of: source)
        if case .beside = options.mode { return try beside(source, logs, destination, options, progress) }
        return try inPlace(source, logs, destination, options, progress)
    }

    // MARK: Beside

    private static func beside(
        _ source: RestoreSource, _ logs: [[UInt8]], _ destination: RestoreDestination, _ options: RestoreOptions,
        _ progress: @escaping (RestoreProgress) -> Void
    ) throws(RestoreError) -> RestoreReport {
        let parent = try Restorer.borrow(destination.parent, .destination, destination.name)
        var avoided: [UInt8]?
        for number in 0...Restorer.nameTries {
            guard let name = number == 0 ? destination.name : options.names(number), name.isComponent else { break }
            let taken = try translating(name) { () throws(CallFailure) -> [UInt8]? in
                for suffix in [[]] + all where try parent.statusIfThere(name + suffix) != nil { return name + suffix }
                return nil
            }
            if let taken {
                if number == 0, taken != name { avoided = taken }
                continue
            }
            do throws(RestoreError) {
                var report = try put(source, logs, as: name, in: destination, options, progress)
                report.avoided = avoided
                return report
            } catch { guard error.kind == .taken else { throw error } }
        }
        throw RestoreError(
            .taken, tried: "restore as", path: destination.name,
            why: "this name or the name of one of its logs exists, and so do the next names that Kairos tried",
            remedy: "remove the copies of earlier restores, or give another directory with --to")
    }

    /// The logs first: a database that is there has its log.
    private static func put(
        _ source: RestoreSource, _ logs: [[UInt8]], as name: [UInt8], in destination: RestoreDestination,
        _ options: RestoreOptions, _ progress: @escaping (RestoreProgress) -> Void
    ) throws(RestoreError) -> RestoreReport {
        var options = options
        options.names = { _ in nil }
        var placed: [[UInt8]] = []
        do throws(RestoreError) {
            for suffix in logs {
                _ = try Restorer.copy(
                    source.beside(suffix), to: destination.named(name + suffix), options, progress: progress)
                placed.append(name + suffix)
            }
            var report = try Restorer.copy(source, to: destination.named(name), options, progress: progress)
            report.brought = placed
            return report
        } catch {
            if !placed.isEmpty, let parent = try? Restorer.borrow(destination.parent, .destination, name) {
                for log in placed { try? parent.unlink(log) }
            }
            throw error
        }
    }

    // MARK: In place

    private static func inPlace(
        _ source: RestoreSource, _ logs: [[UInt8]], _ destination: RestoreDestination, _ options: RestoreOptions,
        _ progress: @escaping (RestoreProgress) -> Void
    ) throws(RestoreError) -> RestoreReport {
        let parent = try Restorer.borrow(destination.parent, .destination, destination.name)
        if let holder = holder(of: destination.name, in: parent) {
            throw RestoreError(
                .refused, tried: "replace", path: destination.name,
                why: "the database is open" + (holder > 0 ? " in process \(holder)" : ""),
                remedy: "stop that process, or restore without --in-place")
        }
        var options = options
        options.companions = all.map { destination.name + $0 }
        options.incoming = logs.map { (source.beside($0), destination.name + $0) }
        return try Restorer.copy(source, to: destination, options, progress: progress)
    }

    /// The process that has a database open, as far as its locks tell: 0 where the kernel does not name it, nil for none.
    static func holder(of name: [UInt8], in parent: Opened) -> pid_t? {
        // SQLite's os_unix.c: locks of the log's index from byte 120, and of the file from byte 2^30.
        for (suffix, start, length) in [("-shm", 120, 9), ("", 0x4000_0000, 512)] {
            guard let file = try? parent.file(name + Array(suffix.utf8)) else { continue }
            var lock = flock()
            lock.l_type = Int16(F_WRLCK)
            lock.l_whence = Int16(SEEK_SET)
            (lock.l_start, lock.l_len) = (off_t(start), off_t(length))
            if fcntl(file.raw, F_GETLK, &lock) == 0, lock.l_type != Int16(F_UNLCK) { return max(lock.l_pid, 0) }
        }
        return nil
    }
}

extension RestoreSource {
    /// The file of the same name with a suffix.
    fileprivate func beside(_ suffix: [UInt8]) -> RestoreSource {
        RestoreSource(root: root, path: path + suffix, owner: owner)
    }
}

extension RestoreDestination {
    fileprivate func named(_ name: [UInt8]) -> RestoreDestination {
        RestoreDestination(parent: parent, name: name, owner: owner)
    }
}
