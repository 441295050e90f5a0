import CLinux
import CRestore
import Datasets
import Glibc
import SystemPackage

/// The directory in which a restore builds what it then puts in place by one rename: `.kairos-restore-…` in the destination's directory.
///
/// Users may own that directory, and so may rename the stage, or put something else under its name; but the stage is root's, mode
/// 0700 and without an ACL, so nobody gets into it, and all that is done in it is done by its descriptor. It cannot be moved into
/// another directory either: that takes write permission on the stage itself.
///
/// Whether its owner lives is told by a lock (flock) on it, which goes with the process. That it is a stage at all, and not some
/// directory of root's that a user gave such a name, is told by a file in it that holds its inode number: only root could make that.
final class Stage {
    static let prefix = Array(".kairos-restore-".utf8)
    static let mark = Array("kairos-stage".utf8)
    /// What is being built.
    static let new = Array("new".utf8)
    /// What stood in the place.
    static let old = Array("old".utf8)
    /// What belongs to what stands in the place, by number: see `Companions`.
    static func outgoing(_ number: Int) -> [UInt8] { Array("outgoing-\(number)".utf8) }
    /// What belongs to what is being built, by number.
    static func incoming(_ number: Int) -> [UInt8] { Array("incoming-\(number)".utf8) }
    /// Hard-linked files, each by its inode number in the snapshot.
    static let links = Array("links".utf8)
    /// What is about to change places with what, in case that it is never finished.
    static let swap = Array("swap".utf8)
    private static let newNote = Array("note.new".utf8)

    let parent: Opened
    let name: [UInt8]
    let directory: Opened
    let identity: Identity
    private var isRemoved = false
    /// What it holds as `old` has no other place: it must not be removed.
    var holdsOriginal = false
    /// Printable: what else it holds that has no other place, or nil.
    var keptFiles: String?

    init(in parent: Opened) throws(CallFailure) {
        self.parent = parent
        for _ in 0..<100 {
            let number = UInt64.random(in: 0...UInt64.max)
            let digits = String(number, radix: 16)
            let name = Self.prefix + Array((String(repeating: "0", count: 16 - digits.utf8.count) + digits).utf8)
            do throws(CallFailure) { try parent.makeDirectory(name) } catch {
                if error.errno == .fileExists { continue }
                throw error
            }
            let made: (Opened, Identity)?
            do throws(CallFailure) { made = try Self.take(name, in: parent) } catch {
                try? parent.removeDirectory(name)
                throw error
            }
            // Somebody was quicker: another restore that tidies up, or who owns the directory.
            guard let made else { continue }
            self.name = name
            (directory, identity) = made
            do throws(CallFailure) {
                let mark = try directory.create(Self.mark)
                try mark.write(Self.content(of: identity))
            } catch {
                try? directory.unlink(Self.mark)
                try? parent.removeDirectory(name)
                throw error
            }
            return
        }
        throw CallFailure(tried: "make a working directory", name: Self.prefix, errno: .fileExists, side: .destination)
    }

    private static func take(_ name: [UInt8], in parent: Opened) throws(CallFailure) -> (Opened, Identity)? {
        let directory: Opened
        do throws(CallFailure) { directory = try parent.directory(name) } catch {
            if [.noSuchFileOrDirectory, .notDirectory, .tooManySymbolicLinkLevels].contains(error.errno) { return nil }
            throw error
        }
        let status = try directory.status()
        guard isPrivate(status), kairos_lock(directory.raw) == 0, try directory.names().isEmpty,
            try parent.statusIfThere(name)?.identity == status.identity
        else { return nil }
        // Inherited from the directory: they would be passed on to all that is made here, and take effect with its permissions.
        for attribute in ["system.posix_acl_default", "system.posix_acl_access"] {
            _ = kairos_restore_xattr_remove(directory.raw, attribute)
        }
        return (directory, status.identity)
    }

    static func isPrivate(_ status: Status) -> Bool {
        status.kind == .directory && status.user == geteuid() && status.permissions & 0o077 == 0
    }

    private static func content(of identity: Identity) -> [UInt8] {
        Array("kairos restore: a working directory, inode \(identity.inode)\n".utf8)
    }

    // MARK: Swaps

    /// What a killed restore was about to do with what stood in the place.
    struct Swap: Equatable {
        /// The inode of what stood there.
        var old: UInt64
        var name: [UInt8]
        /// What it is to be called; nil: it is to be removed.
        var kept: [UInt8]?

        var text: [UInt8] {
            Array("\(old) \(name.hex) \(kept?.hex ?? "-")\n".utf8)
        }

        init(old: UInt64, name: [UInt8], kept: [UInt8]?) {
            self.old = old
            self.name = name
            self.kept = kept
        }

        init?(parsing bytes: [UInt8]) {
            let fields =
                String(decoding: bytes, as: UTF8.self).split(separator: "\n").first?.split(separator: " ") ?? []
            guard fields.count == 3, let old = UInt64(fields[0]), let name = [UInt8](hex: fields[1]), name.isComponent
            else {
                return nil
            }
            self.init(old: old, name: name, kept: fields[2] == "-" ? nil : [UInt8](hex: fields[2]))
        }
    }

    func announce(_ swap: Swap) throws(CallFailure) { try announce(swap.text, as: Self.swap) }

    /// Writes down what is about to happen, for the restore after a kill.
    func announce(_ text: [UInt8], as note: [UInt8]) throws(CallFailure) {
        let file = try directory.create(Self.newNote)
        try file.write(text)
        try file.sync()
        try directory.rename(Self.newNote, to: directory, as: note)
    }

    // MARK: The end

    /// Removes it with all that is in it.
    ///
    /// - Returns: why something is left, printable, or nil.
    func remove() -> String? {
        if isRemoved { return nil }
        if holdsOriginal { return "it holds the original: move \(SafeText.line(Self.old)) out of it by hand" }
        if let keptFiles { return keptFiles }
        isRemoved = true
        return Self.remove(name, directory, identity, in: parent)
    }

    private static func remove(
        _ name: [UInt8], _ directory: Opened, _ identity: Identity, in parent: Opened
    ) -> String? {
        // The mark last: what is left by a SIGKILL has to be known again.
        if let reason = Removal.empty(directory, keeping: mark) { return reason }
        do throws(CallFailure) {
            try Removal.remove(mark, in: directory, isDirectory: false)
            guard try parent.statusIfThere(name)?.identity == identity else {
                return "somebody gave the empty directory \(SafeText.line(name)) another name"
            }
            try parent.removeDirectory(name)
            return nil
        } catch { return error.error(at: error.name).description }
    }

    /// Removes what restores left in a directory when they were killed, and puts back what they had taken away by then.
    static func sweep(_ parent: Opened) throws(CallFailure) -> [RestoreReport.Leftover] {
        var candidates: [[UInt8]] = []
        try parent.forEachName { name in if name.starts(with: prefix) { candidates.append(name) } }
        var leftovers: [RestoreReport.Leftover] = []
        for name in candidates {
            do throws(CallFailure) {
                if let fate = try sweep(name, in: parent) {
                    leftovers.append(RestoreReport.Leftover(name: name, fate: fate))
                }
            } catch {
                leftovers.append(
                    RestoreReport.Leftover(name: name, fate: .left(reason: error.error(at: error.name).description)))
            }
        }
        return leftovers
    }

    /// Nil for what is none of ours to touch: it only has such a name, or its restore lives.
    private static func sweep(_ name: [UInt8], in parent: Opened) throws(CallFailure) -> RestoreReport.Leftover.Fate? {
        guard let found = try parent.statusIfThere(name), isPrivate(found) else { return nil }
        let directory = try parent.directory(name)
        let status = try directory.status()
        guard isPrivate(status), status.identity == found.identity, kairos_lock(directory.raw) == 0 else { return nil }
        guard let markFile = try? directory.file(mark) else {
            // Killed before it had its mark, or after; or somebody's. rmdir(2) takes only what is empty.
            guard try directory.names().isEmpty else { return nil }
            try parent.removeDirectory(name)
            return .removed
        }
        guard try markFile.status().user == geteuid() else { return nil }
        let content = try markFile.read()
        // Not yet written: nothing else is there either.
        let isEmpty = content.isEmpty
        let isBare = isEmpty ? try directory.names().isOnly(mark) : false
        guard content == Self.content(of: status.identity) || isBare else { return nil }

        var fate = RestoreReport.Leftover.Fate.removed
        // A note that cannot be read for want of memory, say, is no reason to remove what it is about.
        let note = try directory.statusIfThere(swap) == nil ? [] : try directory.file(swap).read()
        if let swap = Swap(parsing: note) {
            for place in [old, new] where try directory.statusIfThere(place)?.identity.inode == swap.old {
                if try Publication.putIfFree(place, of: directory, to: parent, as: swap.name) {
                    fate = .putBack(name: swap.name)
                } else if let kept = swap.kept {
                    guard try putKept(place, of: directory, to: parent, as: kept) else {
                        return .left(reason: "\(SafeText.line(kept)) is taken, and the old tree was to be called that")
                    }
                }
            }
        }
        switch try Companions.settle(directory, parent) {
        case .nothing: break
        case .putBack(let names): if let first = names.first { fate = .putBack(name: first) }
        case .placed(let names): if let first = names.first { fate = .finished(name: first) }
        case .left(let reason): return .left(reason: reason)
        }
        if let reason = remove(name, directory, status.identity, in: parent) { return .left(reason: reason) }
        return fate
    }

    /// Under the name that was announced, or with a number when somebody took it since.
    private static func putKept(
        _ place: [UInt8], of directory: Opened, to parent: Opened, as kept: [UInt8]
    ) throws(CallFailure) -> Bool {
        if try Publication.putIfFree(place, of: directory, to: parent, as: kept) { return true }
        for number in 2...Restorer.nameTries {
            let suffix = Array("-\(number)".utf8)
            let next = VersionName.cut(kept, to: VersionName.longest - suffix.count) + suffix
            if try Publication.putIfFree(place, of: directory, to: parent, as: next) { return true }
        }
        return false
    }
}

extension NameList {
    fileprivate func isOnly(_ name: [UInt8]) -> Bool {
        var rest = self
        return rest.popLast() == name && rest.isEmpty
    }
}
