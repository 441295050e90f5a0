import ArgumentParser
import Datasets
import Recovery

struct DeletedCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "deleted",
        abstract: "What was deleted below a directory, and can be had back.",
        discussion: """
            What the snapshots have below a directory and is not there now, the newest deletion first: when it was last seen and by when it was \
            gone, how large it is, and the last snapshot that has it. A deleted directory is one line, with the files and bytes that went with it. \
            What was renamed is not deleted, wherever in the dataset it is by now, and neither is what has its name again; --all tells of the \
            latter too, and of each file by itself. Other datasets mounted below are not looked at.

            Without a journal the trees of neighbouring snapshots are compared: --since makes that short.

            EXAMPLES:
              kairos deleted                             in the dataset of the working directory
              kairos deleted ~/thesis                    below a directory, which may be gone itself
              kairos deleted --since '2 hours ago' /srv
              kairos deleted --all --json /srv           each file, for a program

            \(LookStatus.words)
            """)

    @Argument(help: "A directory. None: the dataset of the working directory.")
    var directory: String?

    @Option(
        help: ArgumentHelp(
            "Nothing that was gone before: '2 hours ago', 'yesterday', '2026-11-22 09:05'.", valueName: "time"))
    var since: String?

    @Flag(help: "Each file, also in deleted directories and where the name is in use again.")
    var all = false

    @OptionGroup var options: LookOptions

    mutating func run() throws {
        let since = try since.map { try options.moment($0, option: "--since").first }
        let session = try RecoverySession(directory ?? ".", options)
        let deleted = try session.look {
            try session.atPlaces {
                try DeletedFiles.read(
                    below: directory == nil ? [] : session.place.path, from: session.view, dataset: session.view.guid,
                    history: session.history, since: since, all: all, onHistoryFailure: RecoverySession.historyFailed)
            } isFound: {
                !$0.entries.isEmpty || session.place.exists
            }
        }
        let below = directory == nil ? [] : session.place.path
        session.tellPassedOver(deleted.passedOver)
        if options.json {
            Output.line(Output.json(deleted.entries.map { JSONDeleted($0, session) }))
        } else {
            show(deleted.entries, session)
        }
        guard deleted.entries.isEmpty else { return }
        let count = Human.count(session.view.snapshots.count, "snapshot")
        options.remark(
            "nothing that was deleted below \(session.shown(below))"
                + (since.map { " since \(options.text($0))" } ?? "")
                + " is in the \(count) of \(SafeText.line(session.view.dataset))"
                + (all ? "" : " (but what is there again: --all)"))
        throw LookStatus.nothing
    }

    private func show(_ entries: [DeletedFiles.Entry], _ session: RecoverySession) {
        guard !entries.isEmpty else { return }
        let hasWho = entries.contains { !$0.changes.isEmpty }
        let snapshots = session.view.snapshots
        var table = TextTable(
            ["LAST SEEN", "GONE BY", "SIZE", "FILES", "LAST SNAPSHOT"] + (hasWho ? ["BY"] : []) + ["PATH"],
            left: [0, 1, 4, 5])
        for entry in entries {
            let isDirectory = entry.status.map { $0.kind == .directory } ?? true
            var cells = [
                options.text(snapshots[entry.last].time),
                entry.missing.map { options.text(snapshots[$0].time) } ?? "now",
                Human.bytes(isDirectory ? entry.bytes : entry.status?.size ?? 0),
                isDirectory ? "\(entry.files)" + (entry.before > 0 ? " +\(entry.before) before" : "") : "-",
                SafeText.line(snapshots[entry.last].name),
            ]
            if hasWho { cells.append(WhoText.text(entry.changes)) }
            var path = session.shown(entry.path) + (isDirectory ? "/" : "")
            if let kind = entry.status?.kind, kind != .directory, kind != .file { path += " (\(kind.rawValue))" }
            table.add(cells + [path + (entry.isThereAgain ? " (there again)" : "")])
        }
        table.print()
        options.remark("one of these as it was: 'kairos restore PATH'; to see it first: 'kairos cat PATH'")
    }
}

private struct JSONDeleted: Encodable {
    var dataset: String
    var path: String?
    var pathRaw: String?
    var kind: String
    var status: JSONStatus?
    var bytes: UInt64
    var files: Int?
    var filesBefore: Int?
    var last: JSONSnapshotPlace
    var missing: JSONSnapshotPlace?
    var isThereAgain: Bool
    var changes: [JSONChange]

    init(_ entry: DeletedFiles.Entry, _ session: RecoverySession) {
        let snapshots = session.view.snapshots
        let isDirectory = entry.status.map { $0.kind == .directory } ?? true
        dataset = session.view.dataset
        let path = JSONBytes(session.absolute(entry.path))
        (self.path, pathRaw) = (path.text, path.raw)
        kind = (entry.status?.kind ?? .directory).rawValue
        status = entry.status.map(JSONStatus.init)
        bytes = isDirectory ? entry.bytes : entry.status?.size ?? 0
        files = isDirectory ? entry.files : nil
        filesBefore = isDirectory ? entry.before : nil
        last = JSONSnapshotPlace(snapshots[entry.last])
        missing = entry.missing.map { JSONSnapshotPlace(snapshots[$0]) }
        isThereAgain = entry.isThereAgain
        changes = entry.changes.map(JSONChange.init)
    }
}
