import ArgumentParser
import Background
import CLinux
import Datasets
import Glibc
import Recovery
import Restore
import Snapshots
import SystemPackage
import Tracing

struct RestoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore",
        abstract: "Get files and directories back out of snapshots.",
        discussion: """
            Never overwrites, unless told to: what is deleted comes back under its name; where something is, the old version is written beside \
            it, with its time in the name: report.odt, report.2026-11-22T09.05.00.odt. It comes with owner, permissions, times, attributes, \
            ACLs, holes and links, and appears all at once or not at all.

            Without --at, --version or --snapshot, restore takes the newest version whose content, owner or permissions \
            differ from the current file. For a directory: the newest in which something is missing or different now. \
            If the path is gone: the last version. If there is no such version, or a copy of it already lies beside \
            the original, restore writes nothing.

            restore brings an SQLite database with its -wal and -journal. --in-place removes those of the replaced \
            database. First stop the program that has it open. For other databases, restore the whole directory.

            --in-place first takes a snapshot, then puts the version in the file's place by one rename. For a directory it tells what that would \
            add, replace and remove, and asks.

            EXAMPLES:
              kairos restore thesis.tex                          the version before the last change
              kairos restore thesis.tex --at 'yesterday 14:00'
              kairos restore thesis.tex --version 3              of 'kairos log thesis.tex'
              kairos restore photos/ --to /mnt/usb               a whole tree, elsewhere
              kairos restore --in-place --dry-run site/          what would be added, replaced, removed
              kairos restore --snapshot kairos-2026-11-22T09.05.00.123Z ledger.db

            Exit status: 0 all is restored, 1 not all, 2 nothing.
            """)

    @Argument(help: ArgumentHelp("Files or directories, as they are or were called.", valueName: "path"))
    var paths: [String]

    @OptionGroup var version: VersionOptions

    @Option(help: ArgumentHelp("To this directory, or under this new name.", valueName: "path"))
    var to: String?

    @Flag(help: "Replace what is there, after taking a snapshot of it.")
    var inPlace = false

    @Flag(name: .shortAndLong, help: "Do not ask before a directory is replaced.")
    var yes = false

    @Flag(name: [.customShort("n"), .long], help: "Change nothing; tell what would be done.")
    var dryRun = false

    @Flag(help: "Times in UTC instead of local ones.")
    var utc = false

    @OptionGroup var journal: JournalOptions

    @Flag(help: "JSON on stdout: an array, one object for each path.")
    var json = false

    @Flag(name: .shortAndLong, help: "Say nothing but what went wrong.")
    var quiet = false

    @Option(help: .hidden)
    var zfsCommand: String?

    private static let nothing: Int32 = 2

    mutating func run() throws {
        let selector = try version.selector(utc: utc)
        guard !(inPlace && to != nil) else {
            throw Output.failure("--in-place and --to are two places: give one of them", status: Self.nothing)
        }
        guard geteuid() == 0 else {
            throw Output.failure(
                "kairos restore gives files back to their owners, which takes root: run 'sudo kairos restore'",
                status: Self.nothing)
        }
        Output.ignoreBrokenPipe()
        let command = try ZFSAccess.found(zfsCommand)
        let history = try journal.open()
        let stop = LateStop(RecoverySession.cutShort)
        let lookup = VersionLookup(command, history, stop)
        // What holds snapshots open ends with the function.
        let result = Result { try restore(selector, lookup, stop) }
        lookup.close()
        if let signal = stop.number { throw ExitCode(128 + signal) }
        try result.get()
    }

    private func restore(_ selector: VersionSelector?, _ lookup: VersionLookup, _ stop: LateStop) throws {
        var items = try find(selector, by: lookup, stop)
        for index in items.indices { try prepare(&items[index], stop) }
        if dryRun { return try finish(items) }
        if inPlace {
            try confirm(items, stop)
            try takeSnapshots(&items)
        }
        // What is written is removed again after a signal, however long that takes.
        stop.arm()
        stop.waitForAll()
        for index in items.indices where !stop.isSet { restore(&items[index], stop) }
        for index in items.indices
        where items[index].report == nil && items[index].existing == nil && items[index].error == nil {
            items[index].error = "not tried"
        }
        try finish(items)
    }

    // MARK: Before anything is written

    /// All are found before the first is written.
    private func find(
        _ selector: VersionSelector?, by lookup: VersionLookup, _ stop: LateStop
    ) throws -> [RestoreItem] {
        var items: [RestoreItem] = []
        var isWhole = true
        let raw = paths.map(RawArgument.bytes)
        for (path, result) in zip(raw, lookup.versions(of: raw, selector)) {
            do { items.append(RestoreItem(path: path, version: try result.get())) } catch {
                // The status says that a signal came.
                if stop.isSet {
                    isWhole = false
                    break
                }
                Output.message(error is TreeFault ? "\(SafeText.line(path)): \(error)" : "\(error)")
                if let fault = error as? SelectionFault, fault.isAsItWas { continue }
                isWhole = false
            }
        }
        guard isWhole else {
            throw Output.failure(
                stop.isSet
                    ? "nothing was restored: stopped" : "nothing was restored: not every path has such a version",
                status: Self.nothing)
        }
        if items.isEmpty { throw ExitCode(Self.nothing) }
        return items
    }

    private func prepare(_ item: inout RestoreItem, _ stop: LateStop) throws {
        let components = item.version.path.split(separator: UInt8(ascii: "/")).map(Array.init)
        do throws(RestoreError) {
            (item.count, item.isDirectory) = try Restorer.count(
                item.version.source, isStopped: { stop.isSet })
            let own =
                components.last
                ?? Array(item.version.dataset.split(separator: "/").last.map(String.init)?.utf8 ?? "root".utf8)
            if let to {
                try prepare(&item, to: RawArgument.bytes(of: to), own)
            } else {
                guard let last = components.last else {
                    throw RestoreError(
                        .refused, tried: "restore", path: item.path, why: "this is a whole dataset",
                        remedy: "give --to DIRECTORY, or bring all of it back with 'zfs rollback'")
                }
                item.name = last
                item.directoryPath = Array(components.dropLast().joined(separator: [UInt8(ascii: "/")]))
                // Missing ones are made when it is to be written.
                do throws(RestoreError) {
                    item.directory = try DestinationDirectory.original(
                        mountPoint: item.version.mountPoint, device: item.version.device, path: item.directoryPath,
                        creating: nil
                    ).directory
                } catch { if error.kind == .refused { throw error } }
                if inPlace, let directory = item.directory {
                    item.comparison = try Restorer.compare(
                        item.version.source, with: RestoreDestination(in: directory, name: last),
                        isStopped: { stop.isSet })
                    if let mount = item.comparison?.mounts.first {
                        throw RestoreError(
                            .refused, tried: "replace", path: item.path,
                            why: "another file system is mounted in it, on \(SafeText.line(mount))",
                            remedy: "restore beside it, or unmount that first")
                    }
                }
            }
        } catch { throw Output.failure("\(error); nothing was restored", status: Self.nothing) }
    }

    private func prepare(_ item: inout RestoreItem, to path: [UInt8], _ own: [UInt8]) throws(RestoreError) {
        do throws(RestoreError) {
            item.directory = try DestinationDirectory.named(path)
            item.name = own
        } catch {
            // Not a directory that is there: a new name, then.
            var rest = path
            let slash = UInt8(ascii: "/")
            while rest.count > 1, rest.last == slash { rest.removeLast() }
            let cut = rest.lastIndex(of: slash).map { $0 + 1 } ?? 0
            let parent = cut == 0 ? Array(".".utf8) : Array(rest[..<cut])
            guard paths.count == 1, error.kind != .refused, let directory = try? DestinationDirectory.named(parent)
            else {
                throw error
            }
            item.directory = directory
            item.name = Array(rest[cut...])
        }
        item.isElsewhere = true
    }

    /// A directory is not replaced without a word.
    private func confirm(_ items: [RestoreItem], _ stop: LateStop) throws {
        let replaced = items.filter { $0.isDirectory && ($0.comparison?.replaced.entries ?? 0) > 0 }
        guard !replaced.isEmpty, !yes else { return }
        for item in replaced { Output.message(item.plan(utc: utc)) }
        guard isatty(STDIN_FILENO) == 1, isatty(STDERR_FILENO) == 1 else {
            throw Output.failure(
                "nothing was restored: there is no terminal to ask on; --yes replaces without asking",
                status: Self.nothing)
        }
        _ = try? FileDescriptor.standardError.writeAll("Replace? [y/N] ".utf8)
        while !stop.isSet, kairos_wait_readable(STDIN_FILENO, 200) == 0 {}
        guard !stop.isSet, let answer = readLine(), ["y", "yes"].contains(answer.lowercased()) else {
            throw Output.failure("nothing was restored", status: Self.nothing)
        }
    }

    /// What is replaced can be had back, too.
    private func takeSnapshots(_ items: inout [RestoreItem]) throws {
        var command = try ZFSAccess.command(at: zfsCommand)
        command.timeLimit = .seconds(120)
        let choice = zfsCommand == nil ? EngineChoice.auto : .cli
        let kernelHasZFS = KernelSupport.zfsModule != nil
        var taken: [String: String] = [:]
        for index in items.indices {
            let dataset = items[index].version.dataset
            let flavour = items[index].version.flavour
            if let name = taken[dataset] {
                items[index].safetySnapshot = name
                continue
            }
            let wall = SystemClock.wall()
            let request = SnapshotRequest(
                items: [
                    SnapshotRequest.Item(
                        dataset: dataset,
                        properties: [
                            SnapshotProperty(name: SnapshotProperties.trigger, value: SnapshotTrigger.restore.rawValue)
                        ].compactMap { $0 })
                ],
                name: SnapshotName(time: Timestamp(seconds: wall.seconds, nanoseconds: wall.nanoseconds)))
            let result: Result<String, SnapshotError> = blocking { [command] in
                do throws(SnapshotError) {
                    guard let engine = try? choice.resolve(kernelHasZFS: kernelHasZFS) else {
                        return .failure(.invalidName(dataset: dataset, "no engine takes snapshots here"))
                    }
                    let results = try await engine.engine(command, flavour: flavour).snapshot(request)
                    guard let outcome = results.first?.outcome else {
                        return .failure(.invalidName(dataset: dataset, "the engine gave no answer"))
                    }
                    return outcome.map(\.name.text)
                } catch { return .failure(error) }
            }
            switch result {
            case .success(let name):
                taken[dataset] = name
                items[index].safetySnapshot = name
            case .failure(let error):
                throw Output.failure(
                    "nothing was restored: no snapshot could be taken before: \(error)", status: Self.nothing)
            }
        }
    }

    // MARK: Writing

    private func restore(_ item: inout RestoreItem, _ stop: LateStop) {
        do throws(RestoreError) {
            if item.directory == nil {
                (item.directory, item.made) = try DestinationDirectory.original(
                    mountPoint: item.version.mountPoint, device: item.version.device, path: item.directoryPath,
                    creating: item.version.source)
            }
            guard let directory = item.directory else { return }
            let version = VersionName(item.name, stamp: stamp(item.version.time), isDirectory: item.isDirectory)
            if !inPlace, let copy = copy(of: item, in: directory, version, stop) {
                item.existing = copy
                return
            }
            var options = RestoreOptions(
                mode: inPlace ? .inPlace(keepsOld: false) : .beside, names: { version.candidate($0) },
                isStopped: { stop.isSet })
            options.carriesPrivileges =
                !item.isElsewhere
                || DestinationDirectory.carriesPrivileges(from: item.version.mountPoint, to: directory)
            let line = ProgressLine(isShown: !quiet && !json, item.path)
            let destination = RestoreDestination(in: directory, name: item.name)
            item.report =
                if try DatabaseFiles.isDatabase(item.version.source) {
                    try DatabaseFiles.copy(item.version.source, to: destination, options) { line.show($0) }
                } else {
                    try Restorer.copy(item.version.source, to: destination, options) { line.show($0) }
                }
            line.clear()
        } catch { item.error = error.description }
    }

    /// The name of a copy of the version that an earlier restore has written.
    private func copy(
        of item: RestoreItem, in directory: DirectoryHandle, _ version: VersionName, _ stop: LateStop
    ) -> [UInt8]? {
        let isFuse = item.version.flavour == .fuse
        let old = TreeReader(root: item.version.source.root, isFuse: isFuse, isStopped: { stop.isSet })
        let new = TreeReader(root: directory.descriptor, isFuse: isFuse)
        return ContentComparison.copy(of: item.version.source.path, in: old, beside: new) {
            $0 == 0 ? item.name : version.candidate($0)
        }
    }

    private func stamp(_ time: Int64) -> String {
        String(LocalTime.date(time, utc: utc).map { $0 == " " ? "T" : $0 == ":" ? "." : $0 }) + (utc ? "Z" : "")
    }

    private func finish(_ items: [RestoreItem]) throws {
        if json {
            Output.line(Output.json(items))
        } else if !quiet || dryRun {
            for item in items where item.error == nil {
                Output.line(dryRun ? item.plan(utc: utc) : item.line(utc: utc))
            }
        }
        for item in items {
            if let error = item.error { Output.message(error) }
            for line in item.remarks { Output.message(line) }
        }
        if dryRun { return }
        let restored = items.count { $0.report != nil || $0.existing != nil }
        if restored == 0 { throw ExitCode(Self.nothing) }
        if restored < items.count || items.contains(where: { $0.report?.isWhole == false }) { throw ExitCode(1) }
    }
}

/// One path of the command line, and what becomes of it.
struct RestoreItem: Encodable, Sendable {
    var path: [UInt8]
    var version: RestorableVersion
    var count = TreeCount()
    var isDirectory = false
    /// Where it goes; nil while directories are missing.
    var directory: DirectoryHandle?
    var directoryPath: [UInt8] = []
    var name: [UInt8] = []
    var isElsewhere = false
    var comparison: TreeComparison?
    /// Directories that were missing and were made.
    var made: [[UInt8]] = []
    var safetySnapshot: String?
    var report: RestoreReport?
    /// A copy of the version that was there already.
    var existing: [UInt8]?
    var error: String?

    init(path: [UInt8], version: RestorableVersion) {
        self.path = path
        self.version = version
    }

    private var from: String { "\(SafeText.line(version.dataset))@\(SafeText.line(version.snapshot))" }

    private func amount(_ count: TreeCount) -> String {
        isDirectory
            ? "\(Human.count(count.entries, "entry", "entries")), \(Human.bytes(count.bytes))"
            : Human.bytes(count.bytes)
    }

    /// What would be done.
    func plan(utc: Bool) -> String {
        var line = "\(SafeText.line(path)): as of \(LocalTime.date(version.time, utc: utc)), \(from), \(amount(count))"
        if let comparison {
            line += "; would add \(comparison.added.entries), replace \(comparison.replaced.entries)"
            line += " and remove \(comparison.removed.entries)"
        } else {
            line += "; would be written as \(SafeText.line(name)) if that is free, else beside it"
        }
        return line
    }

    /// What was done.
    func line(utc: Bool) -> String {
        var line = "\(SafeText.line(path)): as of \(LocalTime.date(version.time, utc: utc)), \(amount(count))"
        if let existing { return line + ", already there as \(SafeText.line(existing))" }
        guard let report else { return "" }
        line += report.hasReplaced ? ", in place" : ", as \(SafeText.line(report.name))"
        if !report.brought.isEmpty {
            line += " with " + report.brought.map { SafeText.line($0) }.joined(separator: ", ")
        }
        if let safetySnapshot { line += "; what was there before: @\(safetySnapshot)" }
        return line
    }

    /// What else is to be known, each a line.
    var remarks: [String] {
        guard let report else { return [] }
        let own = SafeText.line(path)
        var lines = made.map { "\(own): made the directory \(SafeText.line($0)), as it was in the snapshot" }
        lines += report.skipped.prefix(20).map { "\(own): NOT restored: \(SafeText.line($0.path)): \($0.reason)" }
        if report.skippedCount > 20 { lines.append("\(own): NOT restored: \(report.skippedCount - 20) more") }
        lines += report.losses.prefix(20).map {
            "\(own): \($0.what) of \(Human.count($0.count, "file")) could not be had: \($0.reason) (first \(SafeText.line($0.example)))"
        }
        lines += report.leftovers.map { leftover in
            let name = SafeText.line(leftover.name)
            return switch leftover.fate {
            case .removed: "removed \(name), which a restore that was killed had left"
            case .putBack(let back): "put \(SafeText.line(back)) back, which a restore that was killed had in \(name)"
            case .finished(let log):
                "put \(SafeText.line(log)) in place, which a restore that was killed had in \(name)"
            case .left(let reason): "\(name), which a restore that was killed had left, cannot be removed: \(reason)"
            }
        }
        if let log = report.avoided {
            let log = SafeText.line(log)
            lines.append(
                "\(own): restored under another name, because SQLite would apply the existing \(log) to it")
        }
        let removed = report.setAside.filter { !report.brought.contains($0) }.map { SafeText.line($0) }
        if !removed.isEmpty {
            lines.append("\(own): removed \(removed.joined(separator: ", ")) of the replaced database")
        }
        if report.inTwoSteps {
            lines.append(
                "\(own): replaced in two steps: this ZFS cannot exchange two names, and for a moment there was nothing")
        }
        if let remainder = report.remainder { lines.append("\(own): left behind: \(remainder)") }
        return lines
    }

    private enum Key: String, CodingKey {
        case path, dataset, snapshot, time, name, error, files, directories, others, hardLinks, bytes, replaced,
            skipped, losses
        case safetySnapshot, made, added, removed, entries, skippedCount, companions, removedCompanions, isThereAlready
    }

    private struct Reason: Encodable { var path: String, reason: String, what: String? = nil, count: Int? = nil }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
        try container.encode(text(path), forKey: .path)
        try container.encode(version.dataset, forKey: .dataset)
        try container.encode(version.snapshot, forKey: .snapshot)
        try container.encode(Timestamp(milliseconds: version.time / 1_000_000).rfc3339, forKey: .time)
        try container.encode(text(report?.name ?? existing ?? name), forKey: .name)
        if existing != nil { try container.encode(true, forKey: .isThereAlready) }
        try container.encodeIfPresent(error, forKey: .error)
        try container.encodeIfPresent(safetySnapshot, forKey: .safetySnapshot)
        try container.encode(made.map(text), forKey: .made)
        if let comparison {
            try container.encode(comparison.added.entries, forKey: .added)
            try container.encode(comparison.removed.entries, forKey: .removed)
            try container.encode(comparison.replaced.entries, forKey: .replaced)
        }
        guard let report else {
            try container.encode(count.entries, forKey: .entries)
            try container.encode(count.bytes, forKey: .bytes)
            return
        }
        try container.encode(report.files, forKey: .files)
        try container.encode(report.directories, forKey: .directories)
        try container.encode(report.others, forKey: .others)
        try container.encode(report.hardLinks, forKey: .hardLinks)
        try container.encode(report.bytes, forKey: .bytes)
        try container.encode(report.skippedCount, forKey: .skippedCount)
        try container.encode(report.brought.map(text), forKey: .companions)
        try container.encode(report.setAside.map(text), forKey: .removedCompanions)
        try container.encode(
            report.skipped.map { Reason(path: text($0.path), reason: $0.reason) }, forKey: .skipped)
        try container.encode(
            report.losses.map { Reason(path: text($0.example), reason: $0.reason, what: $0.what, count: $0.count) },
            forKey: .losses)
    }
}

/// One line on a terminal's stderr that is written over again, some times a second.
private final class ProgressLine {
    private let isShown: Bool
    private let name: String
    private var last: UInt64 = 0
    private var hasLine = false

    init(isShown: Bool, _ path: [UInt8]) {
        self.isShown = isShown && isatty(STDERR_FILENO) == 1
        name = SafeText.line(path, limit: 40)
    }

    func show(_ progress: RestoreProgress) {
        guard isShown else { return }
        let now = SystemClock.monotonic() / 1_000_000
        guard now >= last + 200 else { return }
        last = now
        hasLine = true
        let text =
            "\r\u{1B}[K\(name): \(progress.entries) of \(progress.totalEntries), \(Human.bytes(progress.bytes)) of \(Human.bytes(progress.totalBytes))"
        _ = try? FileDescriptor.standardError.writeAll(text.utf8)
    }

    func clear() {
        if hasLine { _ = try? FileDescriptor.standardError.writeAll("\r\u{1B}[K".utf8) }
    }
}
