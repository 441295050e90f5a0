import CLinux
import Daemon
import Datasets
import Demo
import Glibc
import Tracing

/// Shows a demo. False when nobody reads it any more.
protocol DemoRenderer {
    func render(_ event: DemoEvent) -> Bool
}

/// For people, on 80 columns.
final class TextDemoRenderer: DemoRenderer {
    private enum Style: String {
        case bold = "1"
        case dim = "2"
        case red = "31"
        case green = "32"
    }

    private let hasColours: Bool
    private var hasResult = false

    init() {
        // no-color.org: set and not empty.
        let noColour = getenv("NO_COLOR").map { $0.pointee != 0 } ?? false
        hasColours = kairos_terminal_columns(STDOUT_FILENO) > 0 && !noColour
    }

    func render(_ event: DemoEvent) -> Bool {
        if case .result = event { hasResult = true }
        switch event {
        case .message(let text):
            Output.message(SafeText.line(text, limit: 2000))
            return true
        case .left(let lines):
            for line in lines { Output.message("not removed: " + SafeText.line(line, limit: 2000)) }
            return true
        default: return Output.line(lines(of: event).joined(separator: "\n"))
        }
    }

    private func lines(of event: DemoEvent) -> [String] {
        switch event {
        case .opening(let quiet, let keeps): opening(quiet, keeps)
        case .leftovers(let pools):
            ["Removed first, left by a run that was killed: " + pools.joined(separator: ", "), ""]
        case .pool(let pool):
            [
                "Pool \(pool.name) (\(pool.flavour.words)\(pool.startedDaemon ? ", started for it" : ""))"
                    + " with the datasets " + pool.datasets.joined(separator: " and ") + "."
            ]
        case .step(let number, let title): ["", styled("\(number). \(title)", .bold)]
        case .change(let report): [Self.indent + Self.text(report)]
        case .snapshot(let report): [Self.indent + styled("snapshot ", .green) + Self.text(report)]
        case .still(let time): [Self.indent + "nothing changed: no snapshot in \(Human.seconds(time))"]
        case .readBack(let read): text(read)
        case .command(let words, let output):
            [Self.indent + styled("$ ", .dim) + words.joined(separator: " ")]
                + output.map { Self.indent + styled("| ", .dim) + SafeText.line($0) }
        case .result(let result): DemoTable(result).lines + [""] + verdict(result)
        case .removed(let pool):
            (hasResult ? [] : [""]) + [Self.text(removed: pool)] + next
        case .kept(let pool): Self.text(kept: pool) + next
        case .message, .left: []
        }
    }

    private static let indent = "     "

    private func opening(_ quiet: Duration, _ keeps: Bool) -> [String] {
        [
            "Kairos watches datasets by eBPF, and snapshots each when it changed and came to",
            "rest. Here it does so on a scratch pool in a file, with real probes and real",
            "snapshots, at rest after \(Human.milliseconds(quiet)) ms (by default 2 s). It takes about ten seconds,",
            keeps ? "and the pool is left to you." : "and everything is removed at the end.",
            "",
        ]
    }

    /// `rename    docs/a.txt -> b.txt`, then the process.
    static func text(_ report: ChangeReport) -> String {
        let paths = report.paths.map { SafeText.line($0, limit: 60) }
        let place = dataset(report.dataset) + "/" + (paths.isEmpty ? "?" : paths.joined(separator: " -> "))
        let process = report.record.process
        return padded(report.record.operation.name, 9) + padded(place, 38)
            + " by \(SafeText.line(process.command))[\(process.pid)]"
    }

    static func text(_ report: SnapshotReport) -> String {
        let window = report.window.map { " \(Human.seconds($0)) after the change" } ?? ""
        return "\(dataset(report.dataset))@\(report.name)\(window)"
    }

    private func text(_ read: DemoEvent.ReadBack) -> [String] {
        let how = read.byClone ? "by a clone for a moment" : "in .zfs/snapshot"
        let content = SafeText.line(String(decoding: read.content, as: UTF8.self).split(separator: "\n").first ?? "")
        return [
            Self.indent + "\(read.dataset)@\(read.snapshot), \(how), has it:",
            Self.indent + styled("| ", .dim) + content,
        ]
    }

    private func verdict(_ result: DemoResult) -> [String] {
        guard result.isVerified else {
            return result.problems.map { styled("NOT AS IT SHOULD BE: ", .red) + SafeText.line($0) }
        }
        return [
            styled("Verified", .green) + ": every change was seen; by reading, each version is in the snapshot",
            "taken after it, the newest snapshots equal the live files, and no two in a row",
            "are equal.",
        ]
    }

    private static func text(removed pool: DemoEvent.Pool) -> String {
        // One on which somebody else made a pool meanwhile goes with that.
        pool.startedDaemon && pool.daemonPID == nil
            ? "Removed: the pool, its files and the zfs-fuse that was started." : "Removed: the pool and its files."
    }

    private static func text(kept pool: DemoEvent.Pool) -> [String] {
        var lines = [
            "Kept: the pool \(pool.name), mounted at", "  \(pool.mountPoint)",
            "Delete what you like in it, and get it back:", "  rm -r \(pool.mountPoint)/docs/letters",
            "  kairos restore \(pool.mountPoint)/docs/letters", "Remove it with",
            "  zpool destroy \(pool.name)", "  rm -r \(pool.directory)",
        ]
        if let pid = pool.daemonPID { lines.append("  kill \(pid)    # the zfs-fuse that was started for it") }
        return lines
    }

    /// What to type after a demo that came to its end.
    private var next: [String] {
        guard hasResult else { return [] }
        return [
            "",
            "Next: kairos doctor               what works on this machine",
            "      kairos run POOL/DATASET     the same for your own files",
        ]
    }

    /// Without the pool.
    private static func dataset(_ name: String) -> String {
        SafeText.line(name.split(separator: "/", maxSplits: 1).last ?? "")
    }

    private static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    private func styled(_ text: String, _ style: Style) -> String {
        hasColours ? "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m" : text
    }
}

extension ZFSFlavour {
    /// As people call it.
    var words: String {
        switch self {
        case .kernel: "OpenZFS"
        case .fuse: "zfs-fuse"
        }
    }
}

/// The table at the end.
struct DemoTable {
    let lines: [String]

    init(_ result: DemoResult) {
        let interval = DemoResult.Cron.interval
        let deleted = result.deletedFileLifetime
        let rows = [
            ["", "Kairos", "a 5-minute cron, at best*"],
            ["changes seen", "\(result.changes)", "-"],
            ["snapshots", "\(result.snapshots)", "\(result.cron.snapshots), changed or not"],
            [
                "versions of files captured", "\(result.versionsCaptured) of \(result.versions)",
                "\(result.cron.versions) of \(result.versions)",
            ],
            [
                "the deleted \(result.deletedFile)", "read back",
                "if its tick is in these \(Human.seconds(deleted))",
            ],
            [
                "longest time at risk", Human.seconds(result.longestWindow),
                "up to \(interval.components.seconds / 60) min",
            ],
        ]
        let odds = max(1, Int(interval / max(result.duration, .milliseconds(1))))
        lines =
            [""] + rows.map(Self.row) + [
                "",
                "* A 5-minute cron ticks once at most in the demo's \(Human.seconds(result.duration)),"
                    + " and mostly not at all",
                "  (in 1 demo of \(odds) it does). Counted is a tick at the best of all moments,",
                "  \(Human.seconds(result.cron.tick)) in: \(result.cron.versions) versions existed then,"
                    + " the deleted file \(result.cron.hasDeletedFile ? "" : "not ")among them.",
            ]
    }

    private static func row(_ cells: [String]) -> String {
        let widths = [28, 12, 0]
        var line = "  "
        for (cell, width) in zip(cells, widths) {
            line += cell + String(repeating: " ", count: max(0, width - cell.count))
        }
        return line
    }
}

/// JSON lines.
struct JSONDemoRenderer: DemoRenderer {
    private struct Opening: Encodable {
        let event = "opening"
        var quietMs: Int64
    }

    private struct Leftovers: Encodable {
        let event = "leftovers"
        var pools: [String]
    }

    private struct Pool: Encodable {
        var event: String
        var pool: String
        var flavour: String
        var datasets: [String]
        var mountPoint: String
        var directory: String
        var startedDaemon: Bool
    }

    private struct Step: Encodable {
        let event = "step"
        var number: Int
        var title: String
    }

    private struct Still: Encodable {
        let event = "still"
        var durationMs: Int64
    }

    private struct ReadBack: Encodable {
        let event = "read_back"
        var dataset: String
        var snapshot: String
        var file: String
        var content: String
        var byClone: Bool
    }

    private struct Message: Encodable {
        let event = "message"
        var text: String
    }

    private struct Left: Encodable {
        let event = "left"
        var problems: [String]
    }

    private struct Command: Encodable {
        let event = "command"
        var words: [String]
        var output: [String]
    }

    private struct Result: Encodable {
        struct Cron: Encodable {
            var intervalMs: Int64
            var snapshots: Int
            var versions: Int
            var tickMs: Int64
            var hasDeletedFile: Bool
        }

        let event = "result"
        var verified: Bool
        var problems: [String]
        var durationMs: Int64
        var changes: Int
        var snapshots: Int
        var versions: Int
        var versionsCaptured: Int
        var longestWindowMs: Int64
        var deletedFile: String
        var deletedFileLifetimeMs: Int64
        var cron: Cron
    }

    func render(_ event: DemoEvent) -> Bool { Output.line(Self.json(event)) }

    private static func json(_ event: DemoEvent) -> String {
        switch event {
        case .opening(let quiet, _): Output.json(Opening(quietMs: Human.milliseconds(quiet)))
        case .leftovers(let pools): Output.json(Leftovers(pools: pools))
        case .pool(let pool): Output.json(line("pool", pool))
        case .removed(let pool): Output.json(line("removed", pool))
        case .kept(let pool): Output.json(line("kept", pool))
        case .step(let number, let title): Output.json(Step(number: number, title: title))
        case .change(let report): Output.json(JSONRunRenderer.change(report))
        case .snapshot(let report): Output.json(JSONRunRenderer.snapshot(report))
        case .still(let time): Output.json(Still(durationMs: Human.milliseconds(time)))
        case .readBack(let read):
            Output.json(
                ReadBack(
                    dataset: read.dataset, snapshot: read.snapshot, file: read.file,
                    content: String(decoding: read.content, as: UTF8.self), byClone: read.byClone))
        case .command(let words, let output): Output.json(Command(words: words, output: output))
        case .message(let text): Output.json(Message(text: text))
        case .result(let result): Output.json(line(result))
        case .left(let problems): Output.json(Left(problems: problems))
        }
    }

    private static func line(_ event: String, _ pool: DemoEvent.Pool) -> Pool {
        Pool(
            event: event, pool: pool.name, flavour: pool.flavour.rawValue, datasets: pool.datasets,
            mountPoint: pool.mountPoint, directory: pool.directory, startedDaemon: pool.startedDaemon)
    }

    private static func line(_ result: DemoResult) -> Result {
        Result(
            verified: result.isVerified, problems: result.problems, durationMs: Human.milliseconds(result.duration),
            changes: result.changes, snapshots: result.snapshots, versions: result.versions,
            versionsCaptured: result.versionsCaptured, longestWindowMs: Human.milliseconds(result.longestWindow),
            deletedFile: result.deletedFile, deletedFileLifetimeMs: Human.milliseconds(result.deletedFileLifetime),
            cron: Result.Cron(
                intervalMs: Human.milliseconds(DemoResult.Cron.interval), snapshots: result.cron.snapshots,
                versions: result.cron.versions, tickMs: Human.milliseconds(result.cron.tick),
                hasDeletedFile: result.cron.hasDeletedFile))
    }
}
