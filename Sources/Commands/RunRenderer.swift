import CLinux
import Daemon
import Datasets
import Glibc
import Snapshots
import SystemPackage
import Tracing

/// Shows what a daemon tells.
protocol RunRenderer {
    func render(_ event: DaemonEvent)
}

/// One line a snapshot on stdout, messages on stderr, and on a terminal a status line below them.
final class TextRunRenderer: RunRenderer {
    private let output: OutputQueue
    private let verbose: Bool
    private let hasStatusLine: Bool
    private var statusLine = ""

    init(_ output: OutputQueue, verbose: Bool) {
        self.output = output
        self.verbose = verbose
        hasStatusLine = kairos_terminal_columns(STDOUT_FILENO) > 0 && kairos_terminal_columns(STDERR_FILENO) > 0
    }

    func render(_ event: DaemonEvent) {
        if case .status(let status) = event {
            statusLine = Self.text(status)
            showStatus()
            return
        }
        hideStatus()
        switch event {
        case .ready(let ready): show(ready)
        case .change(let change): output.line(Self.text(change))
        case .snapshot(let report): output.line(Self.text(report))
        case .unchanged(let dataset):
            if verbose { output.message("\(dataset): checked, nothing changed since its newest snapshot") }
        case .missed(let missed): output.message(Self.text(missed))
        case .failure(let failure): output.message(Self.text(failure))
        case .unresolved(let record, let reason):
            guard verbose else { break }
            output.message(
                "unresolved: \(record.operation.name) \(SafeText.line(record.name?.text ?? [])) "
                    + "by \(SafeText.line(record.process.command))[\(record.process.pid)]: \(reason)")
        case .pruned(let report):
            let room = report.forRoom == 0 ? "" : ", \(report.forRoom) of them for room (kairos:min-free)"
            let busy = report.busy == 0 ? "" : ", \(report.busy) in use are tried again"
            output.message(
                "\(SafeText.line(report.dataset)): \(Human.count(report.destroyed, "snapshot")) destroyed that no rule "
                    + "keeps (\(report.rule))\(room)\(busy)")
        case .notice(let text), .warning(let text): output.message(SafeText.line(text, limit: 2000))
        case .stopped(let summary):
            statusLine = ""
            output.message(Self.text(summary))
        case .status: break
        }
        showStatus()
    }

    private func show(_ ready: DaemonEvent.Ready) {
        output.message(
            "watching \(ready.datasets.map { SafeText.line($0) }.joined(separator: ", ")) "
                + "(probes: \(ready.probes), engine: \(ready.engine))")
        if verbose { for blind in ready.blindSpots { output.message("not seen by these probes: \(blind)") } }
    }

    /// `21:05:00.123 tank/home rename: draft.txt -> letter.txt by mv[1234]`
    static func text(_ change: ChangeReport) -> String {
        let paths = change.paths.map { SafeText.line($0, limit: 200) }.joined(separator: " -> ")
        return LocalTime.text(SystemClock.wall(at: change.record.time))
            + " \(SafeText.line(change.dataset)) \(change.record.operation.name): \(paths.isEmpty ? "?" : paths)"
            + " by \(SafeText.line(change.record.process.command))[\(change.record.process.pid)]"
    }

    /// `21:05:00.123 tank/home@kairos-… quiet: 3 write, 1 create: a.txt, b (+2) by vim[1234]; window 2013 ms, zfs 9 ms`
    static func text(_ report: SnapshotReport) -> String {
        var line =
            LocalTime.text(report.time) + " \(SafeText.line(report.dataset))@\(report.name) \(report.trigger.rawValue)"
        line += report.isDryRun ? " (dry run)" : ""
        let kinds = ChangeKind.allCases.filter { report.changes.counts[$0] > 0 }
            .map { "\(report.changes.counts[$0]) \($0.rawValue)" }
        line += ": " + (kinds.isEmpty ? unseen(report) : kinds.joined(separator: ", "))
        if !report.changes.paths.isEmpty {
            line += ": " + report.changes.paths.map { SafeText.line($0, limit: 80) }.joined(separator: ", ")
        }
        if report.changes.morePaths > 0 { line += " (+\(report.changes.morePaths))" }
        if !report.changes.actors.isEmpty {
            let actors = report.changes.actors.map { "\(SafeText.line($0.command))[\($0.pid)]" }
            line += " by " + actors.joined(separator: ", ") + (report.changes.hasMoreActors ? ", …" : "")
        }
        if report.changes.lostRecords > 0 { line += "; \(Human.count(report.changes.lostRecords, "record")) lost" }
        if let window = report.window { line += "; window \(Human.milliseconds(window)) ms" }
        line += ", zfs \(Human.milliseconds(report.engineTime)) ms"
        if report.failuresBefore > 0 {
            line += ", after \(Human.count(report.failuresBefore, "failed try", "failed tries"))"
        }
        return line
    }

    private static func unseen(_ report: SnapshotReport) -> String {
        if report.isVolume, report.calls > 0 { return "volume written, \(Human.count(report.calls, "write"))" }
        if report.trigger == .start { return "changes from before the start" }
        return report.isVolume ? "volume changed" : "a change that no probe named"
    }

    static func text(_ missed: DaemonEvent.MissedReport) -> String {
        "\(SafeText.line(missed.dataset)): MISSED: it changed since \(LocalTime.text(missed.since)) and no probe saw it; "
            + "its snapshot follows"
            + (missed.mayBeReads ? " (with atime=on it may only have been read: 'zfs get atime' tells)" : "")
    }

    static func text(_ failure: DaemonEvent.FailureReport) -> String {
        var line =
            "\(SafeText.line(failure.dataset)): \(failure.operation) failed: \(SafeText.line(failure.error, limit: 1000))"
        line += "; its changes are at risk"
        if let since = failure.atRiskSince { line += " since \(LocalTime.text(SystemClock.wall(at: since)))" }
        line += failure.retryAt == nil ? "" : "; trying again, with growing pauses, until it works"
        return line
    }

    static func text(_ summary: Summary) -> String {
        var parts = [
            Human.count(summary.events, "event"), "\(Human.count(summary.recordsLost, "record")) lost",
            Human.count(summary.snapshots, "snapshot"), Human.count(summary.failures, "failure"),
            "\(summary.unresolved) unresolved",
        ]
        if summary.checks > 0 {
            parts.append("\(Human.count(summary.checks, "check")) (\(summary.checksUnchanged) found nothing)")
        }
        if summary.missed > 0 { parts.append("\(summary.missed) MISSED by the probes, found by the audit") }
        if summary.pruned > 0 { parts.append("\(Human.count(summary.pruned, "snapshot")) destroyed that no rule kept") }
        parts.append("longest window \(summary.longestWindowMilliseconds) ms")
        var line = "stopped: " + parts.joined(separator: ", ")
        if !summary.leftAtRisk.isEmpty {
            line +=
                "; AT RISK, in no snapshot: "
                + summary.leftAtRisk.map { SafeText.line($0) }.joined(separator: ", ")
        }
        if !summary.notWatched.isEmpty {
            line += "; never watched: " + summary.notWatched.map { SafeText.line($0) }.joined(separator: ", ")
        }
        return line
    }

    static func text(_ status: DaemonEvent.Status) -> String {
        var parts = [Human.count(status.watched, "dataset"), Human.count(status.snapshots, "snapshot")]
        if !status.atRisk.isEmpty { parts.append("at risk: " + status.atRisk.prefix(3).joined(separator: ", ")) }
        if status.atRisk.count > 3 { parts[parts.count - 1] += " +\(status.atRisk.count - 3)" }
        if !status.busy.isEmpty { parts.append("working") }
        if !status.failing.isEmpty { parts.append("FAILING: " + status.failing.prefix(3).joined(separator: ", ")) }
        if status.atRisk.isEmpty, status.failing.isEmpty { parts.append("all captured") }
        return SafeText.line(parts.joined(separator: " · "))
    }

    // MARK: The status line

    private func hideStatus() {
        if hasStatusLine { output.raw("\r\u{1B}[K") }
    }

    private func showStatus() {
        guard hasStatusLine, !statusLine.isEmpty else { return }
        let line = Self.fit(statusLine, columns: Int(kairos_terminal_columns(STDERR_FILENO)))
        if !line.isEmpty { output.raw("\r\u{1B}[K" + line) }
    }

    /// The status line for a terminal of so many columns: 0 once the terminal is gone.
    static func fit(_ line: String, columns: Int) -> String {
        // One column stays free: a full line would wrap, and could not be taken back.
        String(line.prefix(max(columns - 1, 0)))
    }
}

/// A JSON object a line on stdout: see docs/json.md.
final class JSONRunRenderer: RunRenderer {
    private let output: OutputQueue

    init(_ output: OutputQueue) { self.output = output }

    private struct Ready: Encodable {
        let event = "ready"
        var datasets: [String]
        var probes: String
        var engine: String
        var blindSpots: [String]
    }

    struct Process: Encodable {
        var pid: UInt32
        var uid: UInt32
        var comm: String
    }

    struct Change: Encodable {
        let event = "change"
        var time: String
        var dataset: String
        var op: String
        /// Of the file, where the probes knew it; else null.
        var inode: UInt64?
        var path: String?
        var newPath: String?
        var pid: UInt32
        var uid: UInt32
        var comm: String
    }

    struct Snapshot: Encodable {
        let event = "snapshot"
        var time: String
        var dataset: String
        var volume: Bool?
        var snapshot: String
        var trigger: String
        var changes: [String: UInt64]
        var calls: UInt64
        var paths: [String]
        var morePaths: Int
        var processes: [Process]
        var recordsLost: UInt64
        var windowMs: Int64?
        var engineMs: Int64
        var dryRun: Bool
        var failuresBefore: Int
    }

    private struct Failure: Encodable {
        let event = "failure"
        var dataset: String
        var operation: String
        var error: String
        var retries: Bool
    }

    private struct Message: Encodable {
        var event: String
        var text: String
    }

    private struct Unchanged: Encodable {
        let event = "unchanged"
        var dataset: String
    }

    private struct Missed: Encodable {
        let event = "missed"
        var dataset: String
        var since: String
        var mayBeReads: Bool
    }

    private struct Pruned: Encodable {
        let event = "pruned"
        var dataset: String
        var rule: String
        var destroyed: Int
        var forRoom: Int
        var busy: Int
    }

    private struct Stopped: Encodable {
        let event = "stopped"
        var summary: Summary
    }

    func render(_ event: DaemonEvent) {
        switch event {
        case .ready(let ready):
            output.line(
                Output.json(
                    Ready(
                        datasets: ready.datasets, probes: ready.probes, engine: ready.engine,
                        blindSpots: ready.blindSpots)))
        case .change(let report): output.line(Output.json(Self.change(report)))
        case .snapshot(let report): output.line(Output.json(Self.snapshot(report)))
        case .unchanged(let dataset): output.line(Output.json(Unchanged(dataset: dataset)))
        case .missed(let missed):
            output.line(
                Output.json(
                    Missed(
                        dataset: missed.dataset,
                        since: Timestamp(seconds: missed.since.seconds, nanoseconds: missed.since.nanoseconds).rfc3339,
                        mayBeReads: missed.mayBeReads)))
        case .failure(let failure):
            output.line(
                Output.json(
                    Failure(
                        dataset: failure.dataset, operation: failure.operation, error: failure.error,
                        retries: failure.retryAt != nil)))
        case .pruned(let report):
            output.line(
                Output.json(
                    Pruned(
                        dataset: report.dataset, rule: report.rule, destroyed: report.destroyed,
                        forRoom: report.forRoom,
                        busy: report.busy)))
        case .notice(let text): output.line(Output.json(Message(event: "notice", text: text)))
        case .warning(let text): output.line(Output.json(Message(event: "warning", text: text)))
        case .stopped(let summary): output.line(Output.json(Stopped(summary: summary)))
        case .status, .unresolved: break
        }
    }

    static func change(_ report: ChangeReport) -> Change {
        let process = report.record.process
        let time = SystemClock.wall(at: report.record.time)
        let paths = report.paths.map { SafeText.line($0, limit: 4096) }
        return Change(
            time: Timestamp(seconds: time.seconds, nanoseconds: time.nanoseconds).rfc3339, dataset: report.dataset,
            op: report.record.operation.name, inode: report.record.name == nil ? report.record.inode : nil,
            path: paths.first, newPath: paths.dropFirst().first, pid: process.pid,
            uid: process.user, comm: SafeText.line(process.command))
    }

    static func snapshot(_ report: SnapshotReport) -> Snapshot {
        let counted = ChangeKind.allCases.filter { report.changes.counts[$0] > 0 }
        return Snapshot(
            time: Timestamp(seconds: report.time.seconds, nanoseconds: report.time.nanoseconds).rfc3339,
            dataset: report.dataset, volume: report.isVolume ? true : nil, snapshot: report.name,
            trigger: report.trigger.rawValue,
            changes: Dictionary(uniqueKeysWithValues: counted.map { ($0.rawValue, report.changes.counts[$0]) }),
            calls: report.calls, paths: report.changes.paths.map { SafeText.line($0, limit: 4096) },
            morePaths: report.changes.morePaths,
            processes: report.changes.actors.map {
                Process(pid: $0.pid, uid: $0.user, comm: SafeText.line($0.command))
            },
            recordsLost: report.changes.lostRecords, windowMs: report.window.map(Human.milliseconds),
            engineMs: Human.milliseconds(report.engineTime), dryRun: report.isDryRun,
            failuresBefore: report.failuresBefore)
    }
}
