import ArgumentParser
import Datasets
import Recovery

struct LogCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "log",
        abstract: "Every version of a file or directory that a snapshot has.",
        discussion: """
            One line for each version, the oldest first: since when (the time of the first snapshot that has it), how large, in how many \
            snapshots, and the last of these. Any snapshot counts, whoever made it. The file may be gone, and its directory too. A file that \
            was renamed is followed to its older names. For a directory, log shows its own entry, not its contents. log \
            follows a symbolic link on the way to its current target. If that finds nothing, log looks for a directory \
            that had the link's name before. For MOUNTPOINT/.zfs/snapshot/NAME/PATH it looks for that directory first.

            Two versions differ in inode, size, owner, mode or times. Numbers stay the same as long as no snapshot is destroyed; 'kairos cat', \
            'diff' and 'restore' take them.

            EXAMPLES:
              kairos log thesis.tex                        its versions
              kairos log --all thesis.tex                  what each snapshot has
              kairos log /srv/www/gone/index.html          of a directory that is gone
              kairos log -q --json notes | jq .[].first    for a program

            \(LookStatus.words)
            """)

    @Argument(help: "A file or directory, as it is or was called.")
    var path: String

    @Flag(help: "A line for each snapshot, not only for those that have another version.")
    var all = false

    @OptionGroup var options: LookOptions

    mutating func run() throws {
        let session = try RecoverySession(path, options)
        let history = try session.look { try session.read() }
        session.tellPassedOver(history.passedOver)
        let found = LogRow.rows(of: history, all: all)
        if options.json {
            Output.line(Output.json(found.map { JSONLogRow($0, session) }))
        } else {
            show(found, history, session)
        }
        if let bound = history.searchBound {
            options.remark("where it came from or went to was looked for among \(bound) names, and no further")
        }
        session.tellLink()
        guard history.versions.isEmpty else { return }
        let count = Human.count(history.snapshots.count, "snapshot")
        options.remark(
            "\(session.shown(history.path)): in none of \(count) of \(SafeText.line(session.view.dataset))"
                + (history.live == nil ? ", and not there now" : ", but there now"))
        throw LookStatus.nothing
    }

    private func show(_ rows: [LogRow], _ history: FileHistory, _ session: RecoverySession) {
        guard !rows.isEmpty else { return }
        let hasWho = rows.contains { !$0.changes.isEmpty }
        var headings = ["VERSION", "SINCE", "SIZE"]
        if !all { headings.append("IN") }
        headings.append(all ? "SNAPSHOT" : "LAST SNAPSHOT")
        if hasWho { headings.append("BY") }
        var table = TextTable(headings + ["NOTE"], left: Set([1] + (3 + (all ? 0 : 1)..<headings.count)))
        for row in rows {
            var cells = [row.number.map(String.init) ?? "-"]
            cells.append(row.since.map { options.text(history.snapshots[$0].time) } ?? "now")
            cells.append(row.status.map { $0.kind == .file ? Human.bytes($0.size) : $0.kind.rawValue } ?? "-")
            if !all { cells.append(row.count > 0 ? String(row.count) : "-") }
            cells.append(row.snapshot.map { SafeText.line(history.snapshots[$0].name) } ?? "-")
            if hasWho { cells.append(WhoText.text(row.changes)) }
            table.add(cells + [row.notes.map { $0.text(session) }.joined(separator: "; ")])
        }
        table.print()
    }
}

/// One line of a log.
struct LogRow {
    enum Note {
        case words(String)
        case renamedFrom([UInt8])
        case renamedTo([UInt8])
        case path([UInt8])

        func text(_ session: RecoverySession) -> String {
            switch self {
            case .words(let words): words
            case .renamedFrom(let path): "renamed from \(session.shown(path))"
            case .renamedTo(let path): "renamed to \(session.shown(path))"
            case .path(let path): "as \(session.shown(path))"
            }
        }
    }

    enum Event: String { case version, deleted, renamed, unsaved, absent }

    var event: Event
    var number: Int?
    var path: [UInt8]
    /// Places of snapshots.
    var since: Int?
    var last: Int?
    var snapshot: Int?
    /// Of a disappearance: the last that had it.
    var hadBy: Int?
    var count = 0
    var status: FileStatus?
    var isLive = false
    var renamedFrom: [UInt8]?
    var renamedTo: [UInt8]?
    var changes: [RecordedChange] = []
    var notes: [Note] = []

    static func rows(of history: FileHistory, all: Bool) -> [LogRow] {
        if all { return each(history) }
        var before: [[UInt8]: FileStatus] = [:]
        return history.rows.map { row in
            switch row {
            case .version(let version):
                let row = LogRow(version, history, before: before[version.path])
                before[version.path] = version.status
                return row
            case .gone(let gone):
                before[gone.path] = nil
                return LogRow(gone)
            case .unsaved(let status, let from):
                var row = LogRow(event: .unsaved, path: history.path, status: status, isLive: true, renamedFrom: from)
                if let from { row.notes.append(.renamedFrom(from)) }
                row.notes.append(.words("now: in no snapshot yet"))
                return row
            }
        }
    }

    private static func each(_ history: FileHistory) -> [LogRow] {
        var rows = history.snapshots.indices.filter { history.passedOver[$0] == nil }.map { index in
            guard let version = history.version(in: index) else {
                return LogRow(
                    event: .absent, path: history.path, since: index, snapshot: index, notes: [.words("not there")])
            }
            var row = LogRow(version, history, before: nil)
            if version.first != index {
                row.changes = []
                row.notes = version.path == history.path ? [] : [.path(version.path)]
            }
            if version.isLive, version.last == index { row.notes.append(.words("now")) }
            (row.since, row.last, row.snapshot, row.count) = (index, index, index, 1)
            row.isLive = version.isLive
            return row
        }
        if let last = Self.rows(of: history, all: false).last,
            last.event == .unsaved || last.since == nil && last.event != .version
        {
            rows.append(last)
        }
        return rows
    }

    private init(
        event: Event, number: Int? = nil, path: [UInt8], since: Int? = nil, snapshot: Int? = nil,
        status: FileStatus? = nil,
        isLive: Bool = false, renamedFrom: [UInt8]? = nil, notes: [Note] = []
    ) {
        self.event = event
        self.number = number
        self.path = path
        self.since = since
        self.snapshot = snapshot
        self.status = status
        self.isLive = isLive
        self.renamedFrom = renamedFrom
        self.notes = notes
    }

    private init(_ version: FileVersion, _ history: FileHistory, before: FileStatus?) {
        event = .version
        number = version.number
        path = version.path
        since = version.first
        last = version.last
        snapshot = version.last
        count = (version.first...version.last).count { history.passedOver[$0] == nil }
        status = version.status
        isLive = version.isLive
        renamedFrom = version.renamedFrom
        changes = version.changes
        if version.path != history.path { notes.append(.path(version.path)) }
        if let from = version.renamedFrom { notes.append(.renamedFrom(from)) }
        let kinds = WhoText.kinds(version.changes)
        if !kinds.isEmpty {
            notes.append(.words(kinds))
        } else if let before {
            notes.append(.words(Self.difference(before, version.status)))
        }
        if version.isLive { notes.append(.words("now")) }
    }

    private init(_ gone: Disappearance) {
        event = gone.renamedTo == nil ? .deleted : .renamed
        path = gone.path
        since = gone.missing
        hadBy = gone.last
        renamedTo = gone.renamedTo
        changes = gone.changes
        if let to = gone.renamedTo { notes = [.renamedTo(to)] } else { notes = [.words("deleted")] }
    }

    /// What the times of two versions and the rest of them tell apart.
    private static func difference(_ old: FileStatus, _ new: FileStatus) -> String {
        if old.kind != new.kind { return "a \(new.kind.rawValue) instead of a \(old.kind.rawValue)" }
        var words: [String] = []
        if old.inode != new.inode {
            words.append("replaced")
        } else if old.size != new.size || old.modified != new.modified || old.changed == new.changed {
            words.append("changed")
        }
        if old.mode != new.mode { words.append("mode \(ModeText.octal(old.mode)) to \(ModeText.octal(new.mode))") }
        if (old.user, old.group) != (new.user, new.group) {
            words.append("owner \(old.user):\(old.group) to \(new.user):\(new.group)")
        }
        return words.isEmpty ? "attributes or names" : words.joined(separator: ", ")
    }
}

/// One line of a log, for programs.
private struct JSONLogRow: Encodable {
    var event: String
    var version: Int?
    var dataset: String
    /// Absolute.
    var path: String?
    var pathRaw: String?
    var first: JSONSnapshotPlace?
    var last: JSONSnapshotPlace?
    var snapshots: Int?
    var isLive: Bool
    var status: JSONStatus?
    var renamedFrom: String?
    var renamedFromRaw: String?
    var renamedTo: String?
    var renamedToRaw: String?
    var changes: [JSONChange]

    init(_ row: LogRow, _ session: RecoverySession) {
        func place(_ index: Int?) -> JSONSnapshotPlace? { index.map { JSONSnapshotPlace(session.view.snapshots[$0]) } }
        event = row.event.rawValue
        version = row.number
        dataset = session.view.dataset
        let path = JSONBytes(session.absolute(row.path))
        (self.path, pathRaw) = (path.text, path.raw)
        first = place(row.since)
        last = place(row.last ?? row.hadBy)
        snapshots = row.count > 0 ? row.count : nil
        isLive = row.isLive
        status = row.status.map(JSONStatus.init)
        let from = row.renamedFrom.map { JSONBytes(session.absolute($0)) }
        (renamedFrom, renamedFromRaw) = (from?.text, from?.raw)
        let to = row.renamedTo.map { JSONBytes(session.absolute($0)) }
        (renamedTo, renamedToRaw) = (to?.text, to?.raw)
        changes = row.changes.map(JSONChange.init)
    }
}
