import CRestore
import Datasets
import Glibc
import SystemPackage

extension Restorer {
    /// For tests: as with zfs-fuse and OpenZFS 2.1, which know no flags of renameat2(2).
    package static func withoutRenameFlags(_ body: () throws(RestoreError) -> Void) throws(RestoreError) {
        let result = Publication.$withoutFlags.withValue(true) { () -> Result<Void, RestoreError> in
            do throws(RestoreError) { return .success(try body()) } catch { return .failure(error) }
        }
        try result.get()
    }

    /// For tests: calls `step` before each call that gives a file a name or takes one from it.
    package static func stepping(
        _ step: @escaping @Sendable () -> Void, _ body: () throws(RestoreError) -> Void
    ) throws(RestoreError) {
        let result = Opened.$willChangeName.withValue(step) { () -> Result<Void, RestoreError> in
            do throws(RestoreError) { return .success(try body()) } catch { return .failure(error) }
        }
        try result.get()
    }
}

/// Gives what was built in a stage its name in the destination's directory.
enum Publication {
    /// Set by tests.
    @TaskLocal static var withoutFlags = false

    /// How often an in-place restore begins again because somebody changed the name's meaning in between.
    private static let tries = 100

    private static func isUnknown(_ errno: Errno) -> Bool {
        [.invalidArgument, .noFunction, .notSupported, .notSupportedOnSocket].contains(errno)
    }

    /// Renames unless the name is taken, and never overwrites anything.
    ///
    /// - Returns: whether it was free.
    static func putIfFree(
        _ from: [UInt8], of directory: Opened, to parent: Opened, as name: [UInt8]
    ) throws(CallFailure) -> Bool {
        if !withoutFlags {
            do throws(CallFailure) {
                try directory.rename(from, to: parent, as: name, flags: kairos_rename_noreplace)
                return true
            } catch {
                if error.errno == .fileExists { return false }
                guard isUnknown(error.errno) else { throw error }
            }
        }
        if try directory.status(of: from).kind == .directory {
            guard try parent.statusIfThere(name) == nil else { return false }
            // What comes in between is not overwritten either: rename(2) puts a directory over nothing but an empty directory.
            do throws(CallFailure) { try directory.rename(from, to: parent, as: name) } catch {
                if [.fileExists, .directoryNotEmpty, .notDirectory].contains(error.errno) { return false }
                throw error
            }
            return true
        }
        do throws(CallFailure) { try directory.link(from, to: parent, as: name) } catch {
            if error.errno == .fileExists { return false }
            throw CallFailure(tried: "put in place", name: name, errno: error.errno, side: error.side)
        }
        try directory.unlink(from)
        return true
    }

    /// What an in-place publication did with what stood there.
    struct Replacement {
        var hasReplaced = false
        var inTwoSteps = false
        /// The old one is in the stage as `Stage.old`.
        var holdsOld = false
    }

    /// Puts `Stage.new` in the name's place: by one rename where a file replaces a file; else the two names are exchanged,
    /// and where the file system cannot do that, in two steps.
    static func replace(_ stage: Stage, as name: [UInt8], kept: [UInt8]?) throws(CallFailure) -> Replacement {
        let isDirectory = try stage.directory.status(of: Stage.new).kind == .directory
        for _ in 0..<tries {
            guard let found = try stage.parent.statusIfThere(name) else {
                if try putIfFree(Stage.new, of: stage.directory, to: stage.parent, as: name) { return Replacement() }
                continue
            }
            if !isDirectory, found.kind != .directory, kept == nil {
                do throws(CallFailure) { try stage.directory.rename(Stage.new, to: stage.parent, as: name) } catch {
                    if error.errno == .isDirectory { continue }
                    throw error
                }
                return Replacement(hasReplaced: true)
            }
            guard found.identity.device == stage.identity.device else {
                throw CallFailure(tried: "replace", name: name, errno: .resourceBusy, side: .destination)
            }
            try stage.announce(Stage.Swap(old: found.identity.inode, name: name, kept: kept))
            if let replacement = try exchange(stage, name, found.identity) { return replacement }
        }
        throw CallFailure(tried: "replace", name: name, errno: .resourceBusy, side: .destination)
    }

    /// Nil when what stands there is not what was looked at: nothing was changed then.
    private static func exchange(
        _ stage: Stage, _ name: [UInt8], _ expected: Identity
    ) throws(CallFailure) -> Replacement? {
        var canExchange = !withoutFlags
        if canExchange {
            do throws(CallFailure) {
                try stage.directory.rename(Stage.new, to: stage.parent, as: name, flags: kairos_rename_exchange)
            } catch {
                if error.errno == .noSuchFileOrDirectory { return nil }
                guard isUnknown(error.errno) else { throw error }
                canExchange = false
            }
        }
        if canExchange {
            guard try stage.directory.status(of: Stage.new).identity == expected else {
                stage.holdsOriginal = true
                try stage.directory.rename(Stage.new, to: stage.parent, as: name, flags: kairos_rename_exchange)
                stage.holdsOriginal = false
                return nil
            }
            try stage.directory.rename(Stage.new, to: stage.directory, as: Stage.old)
            return Replacement(hasReplaced: true, holdsOld: true)
        }
        do throws(CallFailure) { try stage.parent.rename(name, to: stage.directory, as: Stage.old) } catch {
            if error.errno == .noSuchFileOrDirectory { return nil }
            throw error
        }
        guard try stage.directory.status(of: Stage.old).identity == expected else {
            stage.holdsOriginal = true
            guard try putIfFree(Stage.old, of: stage.directory, to: stage.parent, as: name) else {
                throw CallFailure(tried: "put back", name: name, errno: .fileExists, side: .destination)
            }
            stage.holdsOriginal = false
            return nil
        }
        do throws(CallFailure) {
            guard try putIfFree(Stage.new, of: stage.directory, to: stage.parent, as: name) else {
                throw CallFailure(tried: "put in place", name: name, errno: .fileExists, side: .destination)
            }
        } catch {
            // As it was. If the name is taken by now the stage keeps the old one: see `Restorer`.
            let isBack = (try? putIfFree(Stage.old, of: stage.directory, to: stage.parent, as: name)) ?? false
            stage.holdsOriginal = !isBack
            throw error
        }
        return Replacement(hasReplaced: true, inTwoSteps: true, holdsOld: true)
    }
}
