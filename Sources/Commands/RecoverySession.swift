import ArgumentParser
import Background
import Datasets
import Glibc
import Journal
import Recovery
import Snapshots
import SystemPackage

/// Exit status of the commands that look back: as `diff` and `grep` have it.
enum LookStatus {
    static let nothing = ExitCode(1)
    static let trouble = ExitCode(2)
    static let words = "EXIT STATUS: 0 found, 1 nothing found, 2 trouble."
}

/// Where what was written down of changes is read.
struct JournalOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "What 'kairos run' wrote down of changes; 'none': read all from the snapshots.", valueName: "path"))
    var journal: String?

    /// Nil: there is none to read.
    func open() throws -> (any ChangeHistory)? {
        if journal == "none" { return nil }
        do throws(JournalError) {
            return JournalHistory(try JournalReader(journal ?? Journal.standardPath))
        } catch {
            // The usual one is another's to read, or nobody's yet: the snapshots have it all.
            if journal == nil, error.kind == .missing || geteuid() != 0 { return nil }
            Output.message("\(error); all is read from the snapshots")
            return nil
        }
    }
}

/// What the commands that look back have in common.
struct LookOptions: ParsableArguments {
    @Flag(name: .shortAndLong, help: "JSON on stdout.")
    var json = false

    @Flag(name: .shortAndLong, help: "No remarks on stderr but what went wrong.")
    var quiet = false

    @Flag(help: "Times in UTC instead of local ones, also those that are given.")
    var utc = false

    @OptionGroup var journal: JournalOptions

    @Option(help: .hidden)
    var zfsCommand: String?

    func text(_ time: Timestamp) -> String { LocalTime.date(time.nanoseconds, utc: utc) }

    /// The second that somebody wrote.
    func moment(_ text: String, option: String) throws -> (first: Timestamp, last: Timestamp) {
        do throws(TimeText.Fault) {
            let seconds = try LocalTime.seconds(text, utc: utc)
            return (
                Timestamp(seconds: seconds, nanoseconds: 0), Timestamp(seconds: seconds, nanoseconds: 999_000_000)
            )
        } catch { throw Output.failure("\(option): \(error)", status: 2) }
    }

    func remark(_ text: String) {
        if !quiet { Output.message(text) }
    }
}

/// An argument as it was given. Swift repairs what is not UTF-8, and a file's name need not be.
enum RawArgument {
    static func bytes(of text: String) -> [UInt8] {
        for place in 1..<max(Int(CommandLine.argc), 1) {
            guard let pointer = CommandLine.unsafeArgv[place] else { continue }
            let bytes = UnsafeBufferPointer(start: pointer, count: strlen(pointer)).map { UInt8(bitPattern: $0) }
            // Not `==`, which takes two spellings of one letter for the same.
            if String(decoding: bytes, as: UTF8.self).utf8.elementsEqual(text.utf8) { return bytes }
        }
        return Array(text.utf8)
    }
}

/// The dataset of a path, found.
enum PlaceLookup {
    /// - Throws: an error that describes itself in one printable line, with what to do.
    static func place(
        of bytes: [UInt8], links: PlaceFinder.Links, _ command: ZFSCommand
    ) throws -> DatasetPlace { try places(of: bytes, links: links, command)[0] }

    /// All that a path may mean, as `PlaceFinder.places` has it.
    static func places(
        of bytes: [UInt8], links: PlaceFinder.Links, _ command: ZFSCommand
    ) throws -> [DatasetPlace] {
        let table = try MountTable.read()
        let isAbsolute = bytes.first == UInt8(ascii: "/")
        let directory = isAbsolute ? [] : try PlaceFinder.workingDirectory()
        let places: [DatasetPlace]
        do throws(PlaceError) {
            places = try PlaceFinder(table, directory: directory, links: links).places(of: bytes)
        } catch {
            let absolute = isAbsolute ? bytes : directory + [UInt8(ascii: "/")] + bytes
            if let remedy = unmounted(over: absolute, beyond: [], command, table) {
                throw PlaceError(description: remedy)
            }
            throw error
        }
        let place = places[0]
        if !place.exists, let remedy = unmounted(over: place.absolute, beyond: place.mountPoint, command, table) {
            throw PlaceError(description: remedy)
        }
        return places
    }

    /// What is to be mounted over a path, or on the way to it, and is not.
    private static func unmounted(
        over path: [UInt8], beyond mountPoint: [UInt8], _ command: ZFSCommand, _ table: MountTable
    ) -> String? {
        let listing = blocking { try? await DatasetCatalog(command).list() }
        let missing = PlaceFinder.unmounted(over: path, among: listing?.datasets ?? [], table)
        guard let dataset = missing.first(where: { ($0.mountPoint ?? "").utf8.count > mountPoint.count }) else {
            return nil
        }
        let name = SafeText.line(dataset.name)
        return
            "\(name), which belongs at \(SafeText.line(dataset.mountPoint ?? "")), is not mounted here: 'zfs mount \(name)' first"
    }
}

/// The dataset of a path, open for looking back.
final class RecoverySession {
    private(set) var place: DatasetPlace
    private(set) var view: DatasetView
    let history: (any ChangeHistory)?
    /// What else the path may mean.
    private let others: [DatasetPlace]
    /// By dataset.
    private var views: [String: DatasetView]
    private let command: ZFSCommand
    private let options: LookOptions
    private let stop: LateStop
    static let cutShort =
        "stopped before clean-up ended; the next Kairos command that looks back removes leftover clones"

    init(_ path: String, _ options: LookOptions) throws {
        Output.ignoreBrokenPipe()
        let command = try ZFSAccess.found(options.zfsCommand)
        let stop = LateStop(Self.cutShort)
        self.stop = stop
        let history = try options.journal.open()
        self.history = history
        self.command = command
        self.options = options
        do {
            let places = try PlaceLookup.places(of: RawArgument.bytes(of: path), links: .followed, command)
            place = places[0]
            others = Array(places.dropFirst())
            view = try DatasetView(
                place, command, history: history, willClone: { stop.arm() }, isStopped: { stop.isSet })
        } catch {
            throw Output.failure("\(error)", status: 2)
        }
        views = [view.dataset: view]
    }

    /// Runs what looks at snapshots, and cleans up after it whatever happened.
    func look<Value>(_ body: () throws -> Value) throws -> Value {
        defer {
            for view in views.values {
                view.close()
                for problem in view.problems { Output.message(problem) }
            }
        }
        do { return try body() } catch TreeFault.stopped {
            throw ExitCode(128 + (stop.number ?? SIGTERM))
        } catch let error as TreeFault {
            throw Output.failure("\(shown(place.path)): \(error)", status: 2)
        } catch let error as SelectionFault {
            throw Output.failure(error.description)
        }
    }

    /// Does `body` at the place where the path leads now. If that finds nothing, then at the others: a link on the way may have the name of
    /// a directory that the snapshots have.
    func atPlaces<Value>(_ body: () throws -> Value, isFound: (Value) -> Bool = { _ in true }) throws -> Value {
        let first: Result<Value, any Error>
        do {
            let value = try body()
            if isFound(value) { return value }
            first = .success(value)
        } catch let error as SelectionFault { first = .failure(error) }
        let start = (place, view)
        for other in others {
            do {
                place = other
                view =
                    try views[other.dataset]
                    ?? DatasetView(
                        other, command, history: history, willClone: { [stop] in stop.arm() },
                        isStopped: { [stop] in stop.isSet })
                views[view.dataset] = view
                let value = try body()
                guard isFound(value) else { continue }
                if let link = place.link {
                    options.remark(
                        "\(SafeText.line(link, limit: 300)) is a symbolic link now; shown is what had this name before")
                }
                return value
            } catch TreeFault.stopped { throw TreeFault.stopped } catch {}
        }
        (place, view) = start
        return try first.get()
    }

    func read() throws -> FileHistory {
        try atPlaces {
            try FileHistory.read(
                place.path, from: view, dataset: view.guid, history: history, onHistoryFailure: Self.historyFailed)
        } isFound: {
            !$0.versions.isEmpty || $0.live != nil
        }
    }

    /// Where a link on the way was followed: how to ask for what its name was before.
    func tellLink() {
        guard let other = others.first, let link = other.link, place.link == nil, let last = view.snapshots.last,
            other.dataset == view.dataset
        else { return }
        let named = PathBytes.join(Array(".zfs/snapshot/\(last.name)".utf8), other.path)
        options.remark(
            "\(SafeText.line(link, limit: 300)) is a symbolic link; shown is \(shown(place.path)); "
                + "for a directory that had this name before, run 'kairos log \(shown(named))'")
    }

    /// The one version that is meant: where none is named, that of the snapshot in the path, or the newest that differs from what is there.
    func find(_ selector: VersionSelector?) throws -> FoundVersion {
        try atPlaces {
            try FileHistory.find(
                selector ?? place.snapshot.map(VersionSelector.snapshot), of: place.path, from: view,
                dataset: view.guid, history: history, onHistoryFailure: Self.historyFailed)
        }
    }

    /// Which version was chosen.
    func words(_ version: FoundVersion) -> String {
        let snapshot = view.snapshots[version.snapshot]
        return "\(shown(version.path)): as of \(options.text(snapshot.time)), \(SafeText.line(snapshot.name))"
    }

    /// Before a child process that must not be left behind.
    func catchSignals() { stop.arm() }

    var isStopped: @Sendable () -> Bool { { [stop] in stop.isSet } }

    /// Before what waits for others.
    func checkStopped() throws(TreeFault) { if stop.isSet { throw .stopped } }

    static func historyFailed(_ error: any Error) {
        Output.message("\(error); all is read from the snapshots")
    }

    /// What people know a path of the dataset as.
    func absolute(_ path: [UInt8]) -> [UInt8] {
        let root = view.mountPoint == [UInt8(ascii: "/")] ? [] : view.mountPoint
        return path.isEmpty ? view.mountPoint : root + [UInt8(ascii: "/")] + path
    }

    func shown(_ path: [UInt8]) -> String { SafeText.line(absolute(path), limit: 5000) }

    func tellPassedOver(_ passedOver: [Int: String]) {
        for (index, why) in passedOver.sorted(by: { $0.key < $1.key }).prefix(5) {
            Output.message("the snapshot \(SafeText.line(view.snapshots[index].name)) was passed over: \(why)")
        }
        if passedOver.count > 5 { Output.message("and \(passedOver.count - 5) more were") }
    }
}

extension ZFSAccess {
    /// With the status of the commands that look back.
    static func found(_ path: String?) throws -> ZFSCommand {
        do { return try command(at: path) } catch { throw LookStatus.trouble }
    }
}

/// How a version is chosen on the command line.
struct VersionOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("As it was then: '10m ago', 'yesterday 14:00', 2026-11-22 09:05.", valueName: "time"))
    var at: String?

    @Option(
        name: .customLong("version"),
        help: ArgumentHelp("The version with this number of 'kairos log'.", valueName: "number"))
    var number: Int?

    @Option(help: ArgumentHelp("As it is in this snapshot.", valueName: "name"))
    var snapshot: String?

    mutating func validate() throws {
        guard [at != nil, number != nil, snapshot != nil].count(where: { $0 }) < 2 else {
            throw ValidationError("--at, --version and --snapshot each say which version: give one of them")
        }
    }

    /// Nil: none of them was given.
    func selector(utc: Bool) throws -> VersionSelector? {
        if let number { return .number(number) }
        if let snapshot { return .snapshot(snapshot) }
        guard let at else { return nil }
        do throws(TimeText.Fault) {
            let seconds = try LocalTime.seconds(at, utc: utc)
            // Within the second that was named counts.
            return .time(Timestamp(seconds: seconds, nanoseconds: 999_000_000))
        } catch { throw Output.failure("--at: \(error)", status: 2) }
    }
}

/// Who did something, for people: `sed[123] of alice`.
enum WhoText {
    static func text(_ changes: [RecordedChange]) -> String {
        var seen: [String] = []
        for change in changes.reversed() {
            let text = "\(SafeText.line(change.command, limit: 64))[\(change.pid)] of \(user(change.user))"
            if !seen.contains(text) { seen.append(text) }
        }
        guard let last = seen.first else { return "" }
        return seen.count == 1 ? last : "\(last) and \(seen.count - 1) more"
    }

    static func kinds(_ changes: [RecordedChange]) -> String {
        changes.reduce(into: Set()) { $0.formUnion($1.kinds) }.sorted().map(\.rawValue).joined(separator: ", ")
    }

    static func user(_ number: UInt32) -> String {
        var entry = passwd()
        var found: UnsafeMutablePointer<passwd>?
        var buffer = [CChar](repeating: 0, count: 16 << 10)
        guard getpwuid_r(number, &entry, &buffer, buffer.count, &found) == 0, found != nil, let name = entry.pw_name
        else { return "user \(number)" }
        return SafeText.line(String(cString: name), limit: 64)
    }
}
