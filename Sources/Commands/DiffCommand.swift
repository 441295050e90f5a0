import ArgumentParser
import Background
import Datasets
import Glibc
import Recovery
import SystemPackage

struct DiffCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "What two versions of a file differ in.",
        discussion: """
            A and B are versions: a number of 'kairos log', a time, the name of a snapshot, or 'now' for the live file. \
            Without A, the newest version that differs is compared with the live file ('kairos cat' and 'kairos \
            restore' take the same version). With A alone, A is compared with the live file. Text files are shown as a \
            unified diff, other files by size and SHA-256. A directory is listed at all depths: '-' only in the older, \
            '+' only in the newer, '!' other content, owner, permissions or attributes.

            EXAMPLES:
              kairos diff thesis.tex                       the last change
              kairos diff photos                           what was deleted, changed or added below
              kairos diff thesis.tex 3                     since version 3
              kairos diff thesis.tex 'yesterday 18:00' 4
              kairos diff thesis.tex 1 2 | patch -R        take version 2's changes back

            EXIT STATUS: 0 they are the same, 1 they differ, 2 trouble.
            """)

    @Argument(help: "A file or directory, as it is or was called.")
    var path: String

    @Argument(help: ArgumentHelp("The older version.", valueName: "a"))
    var older: String?

    @Argument(help: ArgumentHelp("The newer one.", valueName: "b"))
    var newer: String?

    @OptionGroup var options: LookOptions

    /// The largest diff that is shown, bytes.
    private static let outputLimit = 256 << 20

    mutating func run() throws {
        let session = try RecoverySession(path, options)
        let isSame = try session.look {
            let history: FileHistory = try session.read()
            session.tellPassedOver(history.passedOver)
            do {
                let left =
                    try older.map { try DiffSide($0, history, options) } ?? DiffSide(try session.find(nil), history)
                let right = try newer.map { try DiffSide($0, history, options) } ?? DiffSide(history)
                return try compare(left, right, session)
            } catch let fault as SelectionFault {
                guard fault.isAsItWas, older == nil else { throw Output.failure(fault.description, status: 2) }
                options.remark(fault.description)
                return try !options.json || compare(DiffSide(history), DiffSide(history), session)
            }
        }
        if !isSame { throw ExitCode(1) }
    }

    private func compare(_ left: DiffSide, _ right: DiffSide, _ session: RecoverySession) throws -> Bool {
        let (one, other) = try (DiffState(left, session), DiffState(right, session))
        defer {
            one.close()
            other.close()
        }
        var answer = JSONDiff(older: JSONDiffSide(one, session), newer: JSONDiffSide(other, session), same: true)
        var lines: [String] = []
        switch (one.status?.kind, other.status?.kind) {
        case (.directory, .directory):
            let changes = try session.changes(from: left, to: right)
            answer.same = changes.isEmpty
            answer.entries = changes.map(JSONDiffEntry.init)
            lines = changes.map(Self.line)
            if !answer.same { lines = ["--- " + label(left, session), "+++ " + label(right, session)] + lines }
        case (.file?, .file?):
            guard let first = one.file, let second = other.file else { throw TreeFault.gone }
            let digests = try (session.digest(of: first, left.path), session.digest(of: second, right.path))
            answer.same = try digests.0 == digests.1 && session.changes(from: left, to: right).isEmpty
            answer.older.sha256 = Self.hexadecimal(digests.0)
            answer.newer.sha256 = Self.hexadecimal(digests.1)
            if answer.same { break }
            if digests.0 == digests.1 {
                lines = heads(one, other, session)
                break
            }
            if try DiffState.isText(first, left.path) && DiffState.isText(second, right.path) {
                let text = try unified(first, second, label(left, session), label(right, session), session)
                answer.diff = String(decoding: text, as: UTF8.self)
                if !options.json { Output.write(text) }
            } else {
                answer.binary = true
                for (mark, side, digest) in [("---", left, digests.0), ("+++", right, digests.1)] {
                    lines.append(
                        "\(mark) \(label(side, session))  \(side.status?.size ?? 0) bytes, SHA-256 \(Self.hexadecimal(digest))"
                    )
                }
            }
        case (nil, nil): break
        default:
            answer.same = try one.status?.kind == other.status?.kind && session.changes(from: left, to: right).isEmpty
            if !answer.same { lines = heads(one, other, session) }
        }
        if options.json {
            Output.line(Output.json(answer))
        } else {
            for line in lines { Output.line(line) }
        }
        return answer.same
    }

    /// What two states are, where no more can be shown of them.
    private func heads(_ one: DiffState, _ other: DiffState, _ session: RecoverySession) -> [String] {
        var words = (one.words, other.words)
        if words.0 == words.1 { words = (one.ownership, other.ownership) }
        let more = words.0 == words.1 ? ", extended attributes differ" : ""
        return [
            "--- " + label(one.side, session) + "  " + words.0 + more,
            "+++ " + label(other.side, session) + "  " + words.1 + more,
        ]
    }

    /// A line for what differs below a directory.
    private static func line(_ change: ContentComparison.Change) -> String {
        let mark =
            switch change.what {
            case .removed: "-"
            case .added: "+"
            case .changed: "!"
            }
        let name = change.path.isEmpty ? "." : SafeText.line(change.path, limit: 5000)
        return mark + name + (change.kind == .directory ? "/" : "")
    }

    private func label(_ side: DiffSide, _ session: RecoverySession) -> String {
        session.shown(side.path) + "\t" + side.words(session.view.snapshots, options)
    }

    /// `diff` gets the open files: what a path leads to by then may be another file.
    private func unified(
        _ left: FileDescriptor, _ right: FileDescriptor, _ first: String, _ second: String, _ session: RecoverySession
    ) throws -> [UInt8] {
        let places = [left, right].map { "/proc/\(getpid())/fd/\($0.rawValue)" }
        session.catchSignals()
        var child = ChildProcess(
            "/usr/bin/diff", ["-u", "--label", first, "--label", second, "--"] + places, outputLimit: Self.outputLimit,
            errorLimit: 64 << 10)
        child.isStopped = session.isStopped
        switch child.run(timeLimit: nil) {
        case .exited(let output, let status) where status < 2: return output.stdout
        case .exited(let output, _):
            throw Output.failure("diff: \(SafeText.line(output.stderr))", status: 2)
        case .timedOut: throw TreeFault.stopped
        case .notStarted(.noSuchFileOrDirectory):
            throw Output.failure("there is no /usr/bin/diff: 'apt-get install diffutils'", status: 2)
        case .tooMuchOutput:
            throw Output.failure(
                "the diff is larger than \(Human.bytes(UInt64(Self.outputLimit))): compare them by 'kairos cat'",
                status: 2)
        case let ending: throw Output.failure("diff: \(ending)", status: 2)
        }
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { $0 < 16 ? "0" + String($0, radix: 16) : String($0, radix: 16) }.joined()
    }
}

/// One of the two versions: one that a snapshot has, or the live file.
struct DiffSide {
    var path: [UInt8]
    var version: Int?
    /// Nil: the live files.
    var snapshot: Int?
    var status: FileStatus?

    /// The live file.
    init(_ history: FileHistory) {
        path = history.path
        status = history.live
    }

    init(_ found: FoundVersion, _ history: FileHistory) {
        path = found.path
        version = found.number ?? history.version(in: found.snapshot)?.number
        snapshot = found.snapshot
        status = found.status
    }

    init(_ text: String, _ history: FileHistory, _ options: LookOptions) throws {
        self.init(history)
        let selector: VersionSelector
        if text == "now" {
            return
        } else if let number = Int(text) {
            selector = .number(number)
        } else if history.snapshots.contains(where: { $0.name == text || text.hasSuffix("@" + $0.name) }) {
            selector = .snapshot(text)
        } else {
            selector = .time(try options.moment(text, option: "a version is a number, a snapshot or a time").last)
        }
        let (found, place) = try history.resolve(selector)
        path = found.path
        version = found.number
        snapshot = place
        status = found.status
    }

    func words(_ snapshots: [Snapshot], _ options: LookOptions) -> String {
        guard let snapshot else { return status == nil ? "now (not there)" : "now" }
        return
            "version \(version ?? 0), \(options.text(snapshots[snapshot].time)), \(SafeText.line(snapshots[snapshot].name))"
    }
}

/// What is at one side, open.
struct DiffState {
    var side: DiffSide
    var status: FileStatus?
    var file: FileDescriptor?
    var target: [UInt8]?

    var words: String {
        guard let status else { return "not there" }
        return status.kind.rawValue + (target.map { " to \(SafeText.line($0))" } ?? "")
    }

    /// What a file's contents do not tell apart.
    var ownership: String {
        guard let status else { return "not there" }
        return "mode \(ModeText.octal(status.mode)), owner \(status.user):\(status.group)"
    }

    init(_ side: DiffSide, _ session: RecoverySession) throws(TreeFault) {
        self.side = side
        let read = try session.view.look(into: side.snapshot.map { .snapshot($0) } ?? .live) {
            (tree) throws(TreeFault) -> (FileStatus?, FileDescriptor?, [UInt8]?) in
            guard let status = try tree.status(of: side.path) else { return (nil, nil, nil) }
            switch status.kind {
            case .file: return (status, try tree.open(side.path), nil)
            case .symlink: return (status, nil, try tree.target(of: side.path))
            default: return (status, nil, nil)
            }
        }
        (status, file, target) = read
    }

    func close() { try? file?.close() }

    /// As `diff` sees it: no NUL near the beginning.
    static func isText(_ file: FileDescriptor, _ path: [UInt8]) throws -> Bool {
        var buffer = [UInt8](repeating: 0, count: 32 << 10)
        let count = try buffer.withUnsafeMutableBytes { try file.read(fromAbsoluteOffset: 0, into: $0) }
        return !buffer[..<count].contains(0)
    }
}

extension RecoverySession {
    /// What differs at a path and below.
    fileprivate func changes(from left: DiffSide, to right: DiffSide) throws(TreeFault) -> [ContentComparison.Change] {
        func look<Value>(
            _ side: DiffSide, _ body: (any FileTree) throws(TreeFault) -> Value
        ) throws(TreeFault) -> Value {
            guard let index = side.snapshot else { return try view.lookSparingly(body) }
            return try view.look(into: .snapshot(index), body)
        }
        // With times in whole seconds, what was changed at the older one's time may have been changed once more.
        let older = [left, right].compactMap(\.snapshot).min().map { view.snapshots[$0].time.milliseconds / 1000 - 1 }
        let settled = view.hasCoarseTimes ? older ?? .max : .max
        return try look(left) { (old) throws(TreeFault) in
            try look(right) { (new) throws(TreeFault) in
                try ContentComparison.changes(of: left.path, in: old, and: right.path, in: new, settled: settled)
            }
        }
    }

    fileprivate func digest(of file: FileDescriptor, _ path: [UInt8]) throws(TreeFault) -> [UInt8] {
        try SHA256.digest(of: file, path) { () throws(TreeFault) in try checkStopped() }
    }
}

private struct JSONDiffSide: Encodable {
    var path: String?
    var pathRaw: String?
    var version: Int?
    var snapshot: JSONSnapshotPlace?
    var status: JSONStatus?
    var target: String?
    var sha256: String?

    init(_ state: DiffState, _ session: RecoverySession) {
        let bytes = JSONBytes(session.absolute(state.side.path))
        (path, pathRaw) = (bytes.text, bytes.raw)
        version = state.side.version
        snapshot = state.side.snapshot.map { JSONSnapshotPlace(session.view.snapshots[$0]) }
        status = state.status.map(JSONStatus.init)
        target = state.target.map { SafeText.line($0) }
    }
}

private struct JSONDiffEntry: Encodable {
    var change: String
    var path: String?
    var pathRaw: String?
    var kind: String

    init(_ change: ContentComparison.Change) {
        self.change = change.what.rawValue
        let bytes = JSONBytes(change.path)
        (path, pathRaw) = (bytes.text, bytes.raw)
        kind = change.kind.rawValue
    }
}

private struct JSONDiff: Encodable {
    var older: JSONDiffSide
    var newer: JSONDiffSide
    var same: Bool
    /// Of directories: what differs below.
    var entries: [JSONDiffEntry]?
    var binary = false
    var diff: String?
}
