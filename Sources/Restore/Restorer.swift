import CRestore
import Datasets
import Glibc
import SystemPackage

/// A file or directory of a snapshot.
public struct RestoreSource: Sendable {
    /// The directory at the snapshot's root, open.
    public var root: FileDescriptor
    /// From there: raw, without a slash at its beginning or end; empty for the root itself.
    public var path: [UInt8]
    /// Kept alive as long as the source is: what holds the snapshot mounted.
    public var owner: (any AnyObject & Sendable)?

    public init(root: FileDescriptor, path: [UInt8], owner: (any AnyObject & Sendable)? = nil) {
        self.root = root
        self.path = path
        self.owner = owner
    }
}

/// A name in an open directory.
public struct RestoreDestination: Sendable {
    public var parent: FileDescriptor
    /// One component, raw.
    public var name: [UInt8]
    /// Kept alive as long as the destination is.
    public var owner: (any AnyObject & Sendable)?

    public init(parent: FileDescriptor, name: [UInt8], owner: (any AnyObject & Sendable)? = nil) {
        self.parent = parent
        self.name = name
        self.owner = owner
    }

    /// A name in a directory that was opened by `DestinationDirectory`.
    public init(in directory: DirectoryHandle, name: [UInt8]) {
        self.init(parent: directory.descriptor, name: name, owner: directory)
    }
}

/// How to restore.
public struct RestoreOptions: Sendable {
    public enum Mode: Sendable {
        /// Under the destination's name if it is free, else under the first free one of `names`. Nothing is overwritten.
        case beside
        /// In the place of what is there.
        case inPlace(keepsOld: Bool)
    }

    public var mode: Mode
    /// Further names to try: the first, second, ...; nil to give up. For the old tree too, if it is to be kept.
    public var names: @Sendable (Int) -> [UInt8]?
    /// Restore set-user-ID bits, capabilities and device nodes. Not from a dataset that is mounted without them to a file system that
    /// honours them: whoever may write the one would be root by the other.
    public var carriesPrivileges = true
    /// Names in the same directory that go with what is replaced: such as a database's log, which must not be applied to another version.
    public var companions: [[UInt8]] = []
    /// What comes with it in place, and is to have these names in the same directory: such as the log of the restored database.
    var incoming: [(source: RestoreSource, name: [UInt8])] = []
    /// Asked between files, and between pieces of a file: true calls it off, and what was built is removed.
    public var isStopped: @Sendable () -> Bool

    public init(
        mode: Mode, names: @escaping @Sendable (Int) -> [UInt8]? = { _ in nil },
        isStopped: @escaping @Sendable () -> Bool = { false }
    ) {
        self.mode = mode
        self.names = names
        self.isStopped = isStopped
    }
}

/// Copies a file or a tree out of a snapshot.
///
/// It is built in a directory that is root's alone, and put in place by one rename: whoever looks finds all of it or nothing of it, and
/// what is interrupted, by SIGKILL too, has changed nothing. See `Stage` and `Publication`.
///
///     let report = try Restorer.copy(source, to: destination, RestoreOptions(mode: .beside)) { progress in ... }
public enum Restorer {
    /// The most further names that are tried.
    static let nameTries = 1000

    /// - Parameter progress: called after each entry and each piece, on this thread.
    /// - Throws: when nothing was restored; what was there before is as it was, and of this restore nothing is left, or what is
    ///   left is named.
    public static func copy(
        _ source: RestoreSource, to destination: RestoreDestination, _ options: RestoreOptions,
        progress: @escaping (RestoreProgress) -> Void = { _ in }
    ) throws(RestoreError) -> RestoreReport {
        try require(destination)
        let (from, name) = try open(source)
        let parent = try borrow(destination.parent, .destination, destination.name)
        let totals = try translating(source.path) { () throws(CallFailure) in
            try TreeWalk.count(from, name, isStopped: options.isStopped)
        }
        if case .inPlace = options.mode { try requireNoMounts(parent, destination.name, options) }
        let leftovers = try translating(destination.name) { () throws(CallFailure) in try Stage.sweep(parent) }
        let stage = try translating(destination.name) { () throws(CallFailure) in try Stage(in: parent) }
        do throws(RestoreError) {
            let incoming = try buildIncoming(stage, options, progress)
            var copy = try build(source, from, name, totals, stage, options, progress)
            var report = try publish(&copy, incoming, stage, destination, options)
            report.leftovers = leftovers
            return report
        } catch {
            guard let remainder = stage.remove() else { throw error }
            var error = error
            error.why += "; and of what was built a part stays in \(SafeText.line(stage.name)): \(remainder)"
            throw error
        }
    }

    /// What restoring in place would add, replace and remove.
    public static func compare(
        _ source: RestoreSource, with destination: RestoreDestination,
        isStopped: @Sendable () -> Bool = { false }
    ) throws(RestoreError) -> TreeComparison {
        try require(destination)
        let (from, name) = try open(source)
        let parent = try borrow(destination.parent, .destination, destination.name)
        return try translating(destination.name) { () throws(CallFailure) in
            try TreeWalk.compare((from, name), (parent, destination.name), isStopped: isStopped)
        }
    }

    /// What a file or tree of a snapshot holds, and whether it is a directory.
    public static func count(
        _ source: RestoreSource, isStopped: @Sendable () -> Bool = { false }
    ) throws(RestoreError) -> (count: TreeCount, isDirectory: Bool) {
        let (from, name) = try open(source)
        return try translating(source.path) { () throws(CallFailure) in
            let status = name.isEmpty ? try from.status() : try from.status(of: name)
            return (try TreeWalk.count(from, name, isStopped: isStopped), status.kind == .directory)
        }
    }

    // MARK: Steps

    private static func build(
        _ source: RestoreSource, _ from: Opened, _ name: [UInt8], _ totals: TreeCount, _ stage: Stage,
        _ options: RestoreOptions, _ progress: @escaping (RestoreProgress) -> Void
    ) throws(RestoreError) -> TreeCopy {
        var copy = TreeCopy(
            source: from, name: name, stage: stage, totals: totals, carriesPrivileges: options.carriesPrivileges,
            isStopped: options.isStopped, report: progress)
        do throws(CallFailure) { try copy.run() } catch {
            let below = copy.path(of: error)
            throw error.error(at: below.isEmpty || below == name ? source.path : source.path.joined(below))
        }
        return copy
    }

    /// Builds what comes with it, each as `Stage.incoming`.
    private static func buildIncoming(
        _ stage: Stage, _ options: RestoreOptions, _ progress: @escaping (RestoreProgress) -> Void
    ) throws(RestoreError) -> [(copy: TreeCopy, file: Opened)] {
        var built: [(copy: TreeCopy, file: Opened)] = []
        for (number, (source, name)) in options.incoming.enumerated() {
            let (from, last) = try open(source)
            let totals = try translating(source.path) { () throws(CallFailure) in
                try TreeWalk.count(from, last, isStopped: options.isStopped)
            }
            let copy = try build(source, from, last, totals, stage, options, progress)
            let file = try translating(name) { () throws(CallFailure) in
                let file = try stage.directory.file(Stage.new)
                try file.sync()
                try stage.directory.rename(Stage.new, to: stage.directory, as: Stage.incoming(number))
                return file
            }
            built.append((copy, file))
        }
        return built
    }

    private static func publish(
        _ copy: inout TreeCopy, _ incoming: [(copy: TreeCopy, file: Opened)], _ stage: Stage,
        _ destination: RestoreDestination, _ options: RestoreOptions
    ) throws(RestoreError) -> RestoreReport {
        let name = destination.name
        if case .inPlace = options.mode, let first = copy.result.skipped.first {
            throw RestoreError(
                .incomplete, tried: "replace", path: name,
                why: "\(copy.result.skippedCount) of what was to replace it could not be restored, first "
                    + "\(SafeText.line(first.path)): \(first.reason)",
                remedy: "restore beside it, or another version; the original is as it was")
        }
        var companions: Companions?
        let published = try translating(name) { () throws(CallFailure) -> Published? in
            // Before it has its name, or a power cut could leave the name with half of the content.
            let status = try stage.directory.status(of: Stage.new)
            if status.kind == .file {
                try stage.directory.file(Stage.new).sync()
            } else {
                try stage.directory.syncFileSystem()
            }
            if options.isStopped() { throw .called(off: stage.parent) }
            let moved = try Companions.setAside(
                options.companions, for: name, incoming: options.incoming.map(\.name), stage)
            companions = moved
            do throws(CallFailure) {
                if let published = try put(stage, name, options) { return published }
            } catch {
                moved.putBack(stage)
                throw error
            }
            moved.putBack(stage)
            return nil
        }
        guard let published, let companions else {
            throw RestoreError(
                .taken, tried: "restore as", path: name, why: "the name is taken, and so are those tried after it",
                remedy: "remove what an earlier restore left there, or restore elsewhere with --to")
        }
        let came = place(companions, incoming, stage)
        copy.setTopFlags(published.top)
        var report = copy.result
        report.brought = came.placed
        for (name, reason) in came.missing {
            report.skip(name, "\(reason): its transactions are missing from the restored database")
        }
        report.name = published.name
        report.hasReplaced = published.replacement.hasReplaced
        report.inTwoSteps = published.replacement.inTwoSteps
        report.keptAs = published.keptAs
        report.setAside = companions.outgoing
        if let failure = published.failure {
            report.remainder = "\(SafeText.line(stage.name)) holds what was replaced: \(failure)"
        } else if let remainder = stage.remove() {
            report.remainder = "\(SafeText.line(stage.name)): \(remainder)"
        }
        // It is there in any case: an error here is no failure of the restore.
        do throws(CallFailure) { try stage.parent.sync() } catch {
            report.lose("the certainty that a power cut right now leaves it there", error.errno.description, name)
        }
        return report
    }

    /// Gives what comes with it its names.
    private static func place(
        _ companions: Companions, _ incoming: [(copy: TreeCopy, file: Opened)], _ stage: Stage
    ) -> (placed: [[UInt8]], missing: [(name: [UInt8], reason: String)]) {
        defer {
            for (copy, file) in incoming {
                var copy = copy
                copy.setTopFlags(file)
            }
        }
        do throws(CallFailure) {
            let (placed, taken) = try companions.place(stage)
            return (placed, taken.map { ($0, "the name is taken") })
        } catch { return ([], [(error.name, error.errno.description)]) }
    }

    private struct Published {
        var name: [UInt8]
        var replacement = Publication.Replacement()
        var keptAs: [UInt8]?
        /// Why the old one could not be kept as it was to be.
        var failure: String?
        var top: Opened?
    }

    private static func put(
        _ stage: Stage, _ name: [UInt8], _ options: RestoreOptions
    ) throws(CallFailure) -> Published? {
        var top: Opened?
        switch try stage.directory.status(of: Stage.new).kind {
        case .directory: top = try stage.directory.directory(Stage.new)
        case .file: top = try stage.directory.file(Stage.new)
        default: break
        }
        guard case .inPlace(let keepsOld) = options.mode else {
            for number in 0...nameTries {
                guard let next = number == 0 ? name : options.names(number), next.isComponent else { return nil }
                if try Publication.putIfFree(Stage.new, of: stage.directory, to: stage.parent, as: next) {
                    return Published(name: next, top: top)
                }
            }
            return nil
        }
        let (first, kept) = keepsOld ? try nameToKeep(name, in: stage.parent, options) : (1, nil)
        var published = Published(
            name: name, replacement: try Publication.replace(stage, as: name, kept: kept), top: top)
        guard keepsOld, published.replacement.holdsOld else { return published }
        do throws(CallFailure) {
            for number in first...(first + nameTries) {
                guard let next = number == first ? kept : options.names(number), next.isComponent else { break }
                if try Publication.putIfFree(Stage.old, of: stage.directory, to: stage.parent, as: next) {
                    published.keptAs = next
                    return published
                }
            }
            published.failure = "no name is free for it"
        } catch { published.failure = error.error(at: error.name).description }
        return published
    }

    /// What the old one is to be called, and which of the names to try that is. It is announced before the swap, so that a
    /// restore that is killed in between is finished by the next one: a name that an earlier restore took would be none for it.
    private static func nameToKeep(
        _ name: [UInt8], in parent: Opened, _ options: RestoreOptions
    ) throws(CallFailure) -> (Int, [UInt8]?) {
        for number in 1...nameTries {
            guard let next = options.names(number), next.isComponent else { break }
            if try parent.statusIfThere(next) == nil { return (number, next) }
        }
        return (1, name + Array(".replaced".utf8))
    }

    private static func require(_ destination: RestoreDestination) throws(RestoreError) {
        guard !destination.name.isComponent else { return }
        throw RestoreError(
            .refused, tried: "restore as", path: destination.name, why: "this is no name for a file",
            remedy: "give one of 1 to 255 bytes without a slash")
    }

    private static func requireNoMounts(
        _ parent: Opened, _ name: [UInt8], _ options: RestoreOptions
    ) throws(RestoreError) {
        let mounts = try translating(name) { () throws(CallFailure) in
            guard try parent.statusIfThere(name)?.kind == .directory else { return [[UInt8]]() }
            do throws(CallFailure) { return try TreeWalk.mounts(parent, name, isStopped: options.isStopped) } catch {
                // The directory itself is a mount point.
                if error.errno == .improperLink { return [[]] }
                throw error
            }
        }
        guard let first = mounts.first else { return }
        throw RestoreError(
            .refused, tried: "replace", path: name,
            why: first.isEmpty
                ? "a file system is mounted on it" : "another file system is mounted in it, on \(SafeText.line(first))",
            remedy: "restore beside it, or unmount that first; to bring a whole dataset back there is 'zfs rollback'")
    }

    /// The directory of what is to be restored, and its name there: empty when it is the snapshot's root.
    static func open(_ source: RestoreSource) throws(RestoreError) -> (Opened, [UInt8]) {
        var components = source.path.split(separator: UInt8(ascii: "/")).map(Array.init)
        guard components.allSatisfy(\.isComponent) else {
            throw RestoreError(
                .refused, tried: "restore", path: source.path, why: "the path has '.', '..' or a name that is too long")
        }
        let root = try borrow(source.root, .source, source.path)
        guard let last = components.popLast() else { return (root, []) }
        let parent = try translating(source.path) { () throws(CallFailure) in
            var place = root
            for component in components { place = try place.directory(component) }
            _ = try place.status(of: last)
            return place
        }
        return (parent, last)
    }

    /// A descriptor of our own for a directory.
    static func borrow(
        _ descriptor: FileDescriptor, _ side: CallFailure.Side, _ path: [UInt8]
    ) throws(RestoreError) -> Opened {
        let fd = kairos_restore_directory(descriptor.rawValue, ".", false)
        let number = Errno(rawValue: errno)
        guard fd >= 0 else {
            throw CallFailure(tried: "open the directory of", name: [], errno: number, side: side).error(at: path)
        }
        return Opened(owning: fd, side)
    }
}

func translating<Value>(
    _ path: [UInt8], _ body: () throws(CallFailure) -> Value
) throws(RestoreError) -> Value {
    do throws(CallFailure) { return try body() } catch { throw error.error(at: path) }
}

extension [UInt8] {
    func joined(_ path: [UInt8]) -> [UInt8] { isEmpty ? path : self + [UInt8(ascii: "/")] + path }
}
