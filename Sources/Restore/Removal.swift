import Datasets
import Glibc
import SystemPackage

/// Removes trees that users may have had their hands in, without ever leaving them: every step is one component below an open directory, no
/// mount is crossed, and what is met on the way up must be what was met on the way down.
///
/// The owners of such a tree may hold its directories open. Through a descriptor they could move another user's directory into the tree while
/// it is removed, and root would delete what its owner alone may delete. So all directories become root's, mode 0700, before the first name
/// is removed: the kernel asks for the permission of the directory at each rename, not when it was opened. From then on nothing comes in.
enum Removal {
    /// Set by tests: called with each directory, just before its names are read to be removed.
    @TaskLocal static var willClear: (@Sendable (CInt) -> Void)?

    /// How often the walk begins again when somebody moves directories about under it.
    private static let tries = 3

    /// Removes what lies in a directory.
    ///
    /// - Parameter keeping: a name in the directory itself to leave.
    /// - Returns: why something is left, printable, or nil.
    static func empty(_ top: Opened, keeping: [UInt8]? = nil) -> String? {
        var reason: String?
        for _ in 0..<tries {
            // What cannot be taken is met again, and left, when it is to be removed.
            try? takeAll(below: top)
            reason = pass(top, keeping)
            if reason == nil { return nil }
        }
        return reason
    }

    /// Takes all directories of a tree from their owners, from the top down. The top itself is the caller's matter.
    private static func takeAll(below top: Opened) throws(CallFailure) {
        let cursor = Cursor(top)
        var pending = [try directories(in: top)]
        while !pending.isEmpty {
            guard let name = pending[pending.count - 1].popLast() else {
                pending.removeLast()
                if !pending.isEmpty { try cursor.up() }
                continue
            }
            do throws(CallFailure) { try cursor.down(name) } catch { continue }
            do throws(CallFailure) { try take(cursor.here) } catch {
                try cursor.up()
                continue
            }
            pending.append(try directories(in: cursor.here))
        }
    }

    private static func directories(in directory: Opened) throws(CallFailure) -> NameList {
        var names = NameList()
        try directory.forEachName { name throws(CallFailure) in
            if try directory.statusIfThere(name)?.kind == .directory { names.append(name) }
        }
        return names
    }

    /// Makes a directory root's alone.
    private static func take(_ directory: Opened) throws(CallFailure) {
        if Stage.isPrivate(try directory.status()) { return }
        _ = FileFlags.unlock(directory)
        try directory.call("take from its owner") { _ in Int(fchown(directory.raw, geteuid(), getegid())) }
        // The mode is the mask of an ACL as well: no entry of one allows anything then.
        try directory.call("take from its owner") { _ in Int(fchmod(directory.raw, 0o700)) }
        guard Stage.isPrivate(try directory.status()) else {
            throw CallFailure(tried: "take from its owner", name: [], errno: .notPermitted, side: directory.side)
        }
    }

    private static func pass(_ top: Opened, _ keeping: [UInt8]?) -> String? {
        var path = WalkPath()
        var reason: String?
        func note(_ failure: CallFailure, _ name: [UInt8]) {
            reason = reason ?? failure.error(at: path.with(name)).description
        }
        let cursor = Cursor(top)
        // Directories to go into, for each level, and the name of the one that the walk is in.
        var pending: [NameList] = []
        var inside: [[UInt8]] = []
        do throws(CallFailure) {
            pending.append(
                try clear(cursor.here, keeping: keeping) { failure in note(failure, failure.name) })
            while !pending.isEmpty {
                if let name = pending[pending.count - 1].popLast() {
                    do throws(CallFailure) { try cursor.down(name) } catch {
                        if error.errno != .noSuchFileOrDirectory { note(error, name) }
                        continue
                    }
                    // A file system that does not know owners, say: then others may still put something there.
                    do throws(CallFailure) { try take(cursor.here) } catch {
                        note(error, name)
                        try cursor.up()
                        continue
                    }
                    path.push(name)
                    inside.append(name)
                    pending.append(try clear(cursor.here, keeping: nil) { failure in note(failure, failure.name) })
                } else {
                    pending.removeLast()
                    guard let name = inside.popLast() else { break }
                    try cursor.up()
                    path.pop()
                    do throws(CallFailure) { try remove(name, in: cursor.here, isDirectory: true) } catch {
                        note(error, name)
                    }
                }
            }
        } catch { note(error, error.name) }
        return reason
    }

    /// Removes all but directories, and lists those.
    private static func clear(
        _ directory: Opened, keeping: [UInt8]?, _ failed: (CallFailure) -> Void
    ) throws(CallFailure) -> NameList {
        willClear?(directory.raw)
        var names = try directory.names()
        var directories = NameList()
        while let name = names.popLast() {
            if name == keeping { continue }
            do throws(CallFailure) { try remove(name, in: directory, isDirectory: false) } catch {
                if error.errno == .isDirectory { directories.append(name) } else { failed(error) }
            }
        }
        return directories
    }

    /// Removes one name, of an immutable file too. What is gone already is no failure.
    static func remove(_ name: [UInt8], in directory: Opened, isDirectory: Bool) throws(CallFailure) {
        func attempt() throws(CallFailure) {
            if isDirectory { try directory.removeDirectory(name) } else { try directory.unlink(name) }
        }
        do throws(CallFailure) { return try attempt() } catch {
            switch error.errno {
            case .noSuchFileOrDirectory: return
            case .notPermitted, .permissionDenied: break
            default: throw error
            }
            // POSIX has EPERM for a directory.
            if !isDirectory, let status = try directory.statusIfThere(name), status.kind == .directory {
                throw CallFailure(tried: error.tried, name: name, errno: .isDirectory, side: error.side)
            }
            var isUnlocked = FileFlags.unlock(directory)
            if isDirectory {
                if let file = try? directory.directory(name) { isUnlocked = FileFlags.unlock(file) || isUnlocked }
            } else if let status = try directory.statusIfThere(name), status.kind == .file,
                let file = try? directory.file(name)
            {
                isUnlocked = FileFlags.unlock(file) || isUnlocked
            }
            guard isUnlocked else { throw error }
        }
        do throws(CallFailure) { try attempt() } catch {
            if error.errno != .noSuchFileOrDirectory { throw error }
        }
    }
}
