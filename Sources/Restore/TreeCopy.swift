import CRestore
import Datasets
import Glibc
import SystemPackage

/// Builds in a stage what is to be restored: one file, or a tree of any depth, with two open directories and no memory but for the
/// names of directories still to come.
///
/// A directory gets its owner, permissions and times when all that is in it is there. Until then it is root's alone, as is
/// the stage around it.
struct TreeCopy {
    let source: Opened
    /// Empty: the source's own directory.
    let name: [UInt8]
    let stage: Stage
    let carriesPrivileges: Bool
    let isStopped: () -> Bool
    let report: (RestoreProgress) -> Void

    private(set) var result = RestoreReport()
    private var progress = RestoreProgress()
    private var path = WalkPath()
    /// What has to wait until nothing is linked or renamed any more: flags of the top, and of hard-linked files by inode.
    private(set) var topFlags: FileFlags?
    private var linkedFlags: [UInt64: FileFlags] = [:]
    private var links: Opened?

    init(
        source: Opened, name: [UInt8], stage: Stage, totals: TreeCount, carriesPrivileges: Bool,
        isStopped: @escaping () -> Bool, report: @escaping (RestoreProgress) -> Void
    ) {
        self.source = source
        self.name = name
        self.stage = stage
        self.carriesPrivileges = carriesPrivileges
        self.isStopped = isStopped
        self.report = report
        progress.totalEntries = totals.entries
        progress.totalBytes = totals.bytes
    }

    /// - Throws: when all of it fails; what fails of single files is in the result.
    mutating func run() throws(CallFailure) {
        let status = name.isEmpty ? try source.status() : try source.status(of: name)
        guard status.kind == .directory else {
            // The only one: if it cannot be copied, nothing can.
            let flags = try make(status, name, from: source, as: Stage.new, in: stage.directory)
            topFlags = flags
            return
        }
        try tree()
        try finishLinks()
    }

    /// Where the trouble is, for messages.
    func path(of failure: CallFailure) -> [UInt8] { path.with(failure.name) }

    private mutating func tree() throws(CallFailure) {
        let from = Cursor(try source.directory(name.isEmpty ? TreeWalk.here : name, crossing: name.isEmpty))
        try stage.directory.makeDirectory(Stage.new)
        let to = Cursor(try stage.directory.directory(Stage.new))
        var pending = [try files(from.here, to.here)]
        while !pending.isEmpty {
            if isStopped() { throw .called(off: source) }
            if let name = pending[pending.count - 1].popLast() {
                guard try enter(name, from, to) else { continue }
                path.push(name)
                pending.append(try files(from.here, to.here))
            } else {
                pending.removeLast()
                try finish(from.here, to.here, isTop: pending.isEmpty)
                guard !pending.isEmpty else { return }
                try from.up()
                try to.up()
                path.pop()
            }
        }
    }

    private mutating func enter(_ name: [UInt8], _ from: Cursor, _ to: Cursor) throws(CallFailure) -> Bool {
        do throws(CallFailure) { try from.down(name) } catch {
            try skip(error, name)
            return false
        }
        do throws(CallFailure) { try to.here.makeDirectory(name) } catch {
            try from.up()
            try skip(error, name)
            return false
        }
        try to.down(name)
        return true
    }

    /// Copies all that is no directory; returns those that are.
    private mutating func files(_ from: Opened, _ to: Opened) throws(CallFailure) -> NameList {
        var directories = NameList()
        // A snapshot does not change, and a million names at once would take much memory.
        try from.forEachName { name throws(CallFailure) in
            if isStopped() { throw .called(off: source) }
            do throws(CallFailure) {
                let status = try from.status(of: name)
                if TreeWalk.isControl(name, status) { return }
                if status.kind == .directory {
                    directories.append(name)
                } else if status.links > 1 {
                    try link(status, name, from: from, in: to)
                } else if let flags = try make(status, name, from: from, as: name, in: to),
                    let file = try? to.file(name)
                {
                    set(flags, file, name)
                }
            } catch { try skip(error, name) }
        }
        return directories
    }

    private mutating func skip(_ failure: CallFailure, _ name: [UInt8]) throws(CallFailure) {
        if failure.isFatal { throw failure }
        let side = failure.side == .source ? "the snapshot" : "the destination"
        result.skip(path.with(name), "cannot \(failure.tried) it in \(side): \(failure.errno)")
        count(entries: 1)
    }

    private mutating func count(entries: Int = 0, bytes: Int64 = 0) {
        progress.entries += entries
        progress.bytes.addSize(bytes)
        report(progress)
    }

    // MARK: Directories

    private mutating func finish(_ from: Opened, _ to: Opened, isTop: Bool) throws(CallFailure) {
        let status = try from.status()
        attributes([]).copy(status, from: AttributePlace(file: from), to: AttributePlace(file: to))
        takeLosses([])
        if let flags = FileFlags(of: from) {
            // A directory that is immutable cannot be renamed.
            if isTop { topFlags = flags } else { set(flags, to, []) }
        }
        result.directories += 1
        count(entries: 1)
    }

    // MARK: Everything else

    /// Copies one that is no directory.
    ///
    /// - Returns: the flags that it is to have when nothing is to be done to it any more.
    private mutating func make(
        _ status: Status, _ name: [UInt8], from: Opened, as newName: [UInt8], in to: Opened
    ) throws(CallFailure) -> FileFlags? {
        switch status.kind {
        case .file: return try makeFile(status, name, from: from, as: newName, in: to)
        case .symlink:
            let target = try from.target(of: name)
            try to.call("make the symbolic link", newName) { pointer in
                target.withTerminated { Int(symlinkat($0, to.raw, pointer)) }
            }
        case .characters, .blocks:
            guard carriesPrivileges else {
                result.skip(
                    path.with(name),
                    "a device node: the dataset is mounted nodev or nosuid, and this file system is not")
                count(entries: 1)
                return nil
            }
            try node(status, newName, in: to)
        case .fifo, .socket: try node(status, newName, in: to)
        case .directory, .other:
            throw CallFailure(tried: "restore", name: name, errno: .invalidArgument, side: .source)
        }
        attributes(name).copy(
            status, from: AttributePlace(file: from, name: name), to: AttributePlace(file: to, name: newName))
        takeLosses(name)
        result.others += 1
        count(entries: 1)
        return nil
    }

    private func node(_ status: Status, _ name: [UInt8], in to: Opened) throws(CallFailure) {
        try to.call("make the special file", name) {
            Int(mknodat(to.raw, $0, status.mode & S_IFMT | 0o600, status.deviceNumber))
        }
    }

    private mutating func makeFile(
        _ status: Status, _ name: [UInt8], from: Opened, as newName: [UInt8], in to: Opened
    ) throws(CallFailure) -> FileFlags? {
        let source = try from.file(name)
        let target = try to.create(newName)
        let stopped = isStopped
        let place = self.source
        var progress = progress
        let report = report
        var copy = FileCopy { count throws(CallFailure) in
            progress.bytes.addSize(count)
            report(progress)
            if stopped() { throw .called(off: place) }
        }
        do throws(CallFailure) {
            try copy.copy(from: source, to: target, status: status)
        } catch {
            // Half a file is none.
            try? to.unlink(newName)
            throw CallFailure(tried: error.tried, name: name, errno: error.errno, side: error.side)
        }
        self.progress = progress
        attributes(name).copy(status, from: AttributePlace(file: source), to: AttributePlace(file: target))
        takeLosses(name)
        result.files += 1
        result.bytes.addSize(status.size)
        result.kernelCopied.addSize(copy.kernelCopied)
        count(entries: 1)
        return FileFlags(of: source)
    }

    private mutating func set(_ flags: FileFlags, _ file: Opened, _ name: [UInt8]) {
        if let failure = flags.set(on: file) {
            result.lose("flags", failure.description, path.with(name))
        } else if flags.isHindering {
            result.flagged += 1
        }
    }

    /// The top's, after it has its name.
    mutating func setTopFlags(_ file: Opened?) {
        guard let topFlags, let file else { return }
        set(topFlags, file, [])
    }

    // MARK: Hard links

    /// A file of several names is made in a directory of its own in the stage, by its inode number, and linked from there: no memory for
    /// each, and no way back to where the first name was.
    private mutating func link(_ status: Status, _ name: [UInt8], from: Opened, in to: Opened) throws(CallFailure) {
        let inode = status.identity.inode
        let stored = Array(String(inode, radix: 16).utf8)
        let store: Opened
        if let links {
            store = links
        } else {
            try stage.directory.makeDirectory(Stage.links)
            store = try stage.directory.directory(Stage.links)
            links = store
        }
        do throws(CallFailure) {
            try store.link(stored, to: to, as: name)
            result.hardLinks += 1
            count(entries: 1, bytes: status.kind == .file ? status.size : 0)
        } catch {
            guard error.errno == .noSuchFileOrDirectory else { throw error }
            let skipped = result.skippedCount
            linkedFlags[inode] = try make(status, name, from: from, as: stored, in: store)
            // A device node that is not carried.
            if result.skippedCount > skipped { return }
            try store.link(stored, to: to, as: name)
        }
        // All its names are there, and this one.
        if let now = try store.statusIfThere(stored), now.links > status.links { try settle(stored, inode, store) }
    }

    private mutating func settle(_ stored: [UInt8], _ inode: UInt64, _ store: Opened) throws(CallFailure) {
        let file = linkedFlags[inode] == nil ? nil : try? store.file(stored)
        try store.unlink(stored)
        if let flags = linkedFlags.removeValue(forKey: inode), let file { set(flags, file, []) }
    }

    /// Those that have names outside of the tree, too.
    private mutating func finishLinks() throws(CallFailure) {
        guard let store = links else { return }
        var names = try store.names()
        while let stored = names.popLast() {
            try settle(stored, UInt64(String(decoding: stored, as: UTF8.self), radix: 16) ?? 0, store)
        }
        try stage.directory.removeDirectory(Stage.links)
        links = nil
    }

    // MARK: Losses

    private let losses = LossList()

    private func attributes(_ name: [UInt8]) -> AttributeCopy {
        AttributeCopy(carriesPrivileges: carriesPrivileges) { [losses] in losses.all.append(($0, $1)) }
    }

    private mutating func takeLosses(_ name: [UInt8]) {
        guard !losses.all.isEmpty else { return }
        for (what, reason) in losses.all { result.lose(what, reason, path.with(name)) }
        losses.all = []
    }
}

/// What the attributes of one file lost.
private final class LossList {
    var all: [(String, String)] = []
}
