import ArgumentParser
import Background
import Datasets
import Retention
import Snapshots
import Tracing

struct PruneCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune",
        abstract: "Destroy those of Kairos's snapshots that no rule keeps.",
        discussion: """
            The rule is the dataset's property kairos:keep, or 1h=all,24h=1h,30d=1d,1y=1w: all of the last hour; of the last 24 \
            hours one an hour; of the last 30 days one a day; of the last year one a week. What stays is the state at each full hour, at \
            midnight, on Monday at midnight (UTC): the newest snapshot up to then, so the state of last Friday is there even if nothing changed \
            on Friday. 'all' keeps everything.

            Never destroyed, whatever the rule says: what Kairos did not make (name and its own kairos:trigger must agree), what is \
            held ('zfs hold'), cloned or bookmarked, and the newest snapshot of a dataset. A clock that jumps makes nothing old: time between \
            two snapshots of a pool counts for a week or two at most.

            EXAMPLES:
              kairos prune --dry-run              what would go, and why the others stay
              kairos prune tank/home              one dataset
              kairos prune -r tank                and everything below it
              kairos prune                        all that have kairos:enabled=on
              zfs set kairos:keep=2h=all,7d=1h,5y=1w tank/home
            """)

    @Argument(help: ArgumentHelp("Datasets. None: all with kairos:enabled=on.", valueName: "dataset"))
    var datasets: [String] = []

    @Flag(name: .shortAndLong, help: "The datasets below the named ones too.")
    var recursive = false

    @Flag(
        name: [.customShort("n"), .long], help: "Destroy nothing; tell what would go, and why each of the others stays."
    )
    var dryRun = false

    @Option(help: ArgumentHelp("This rule instead of the datasets' own.", valueName: "rule"))
    var keep: String?

    @Option(help: ArgumentHelp("What the names of Kairos's snapshots begin with.", valueName: "text"))
    var prefix = SnapshotPrefix.standard.text

    @Flag(help: "Times in UTC instead of local ones.")
    var utc = false

    @Flag(name: .shortAndLong, help: "JSON on stdout: an array, one object for each snapshot.")
    var json = false

    @Flag(name: .shortAndLong, help: "Say nothing but what went wrong.")
    var quiet = false

    @Flag(name: .shortAndLong, help: "As --dry-run tells it, but do it.")
    var verbose = false

    @Option(help: .hidden)
    var zfsCommand: String?

    mutating func run() throws {
        if datasets.isEmpty, recursive {
            throw Output.failure("-r needs a dataset: 'kairos prune -r tank'", status: 64)
        }
        let rule: RetentionRule?
        do throws(RetentionRule.Fault) {
            if let keep { rule = try RetentionRule(parsing: keep) } else { rule = nil }
        } catch {
            throw Output.failure("--keep: \(SafeText.line(error.description, limit: 300))", status: 64)
        }
        let prefix: SnapshotPrefix
        do throws(SnapshotPrefix.Fault) { prefix = try SnapshotPrefix(self.prefix) } catch {
            throw Output.failure("--prefix: \(error)", status: 64)
        }
        Output.ignoreBrokenPipe()
        let command = try ZFSAccess.command(at: zfsCommand)
        let chosen = try select(command)
        let now = SystemClock.wall(at: SystemClock.monotonic())
        let survey = blocking {
            await DatasetRetention.plans(
                for: chosen, rule: rule, prefix: prefix, command: command,
                now: now.seconds * 1_000_000_000 + now.nanoseconds)
        }
        var isWhole = survey.failures.isEmpty
        for failure in survey.failures { Output.message("\(SafeText.line(failure.dataset)): \(failure.why)") }
        var rows: [PruneRow] = []
        for plan in survey.plans {
            var outcome: Pruner.Outcome?
            if !dryRun {
                outcome = blocking { await Pruner(command).destroy(plan.plan.doomed.map(\.name), of: plan.dataset) }
            }
            for error in outcome?.errors ?? [] { Output.message("\(SafeText.line(plan.dataset)): \(error)") }
            isWhole = isWhole && outcome?.failed.isEmpty ?? true
            let own = PruneRow.rows(of: plan, outcome)
            if json {
                rows += own
            } else if !quiet {
                show(plan, own, outcome)
            }
        }
        if json { Output.line(Output.json(rows)) }
        if !isWhole { throw ExitCode(1) }
    }

    private func select(_ command: ZFSCommand) throws -> [DatasetInfo] {
        let listing: Result<DatasetCatalog.Listing, ZFSError> = blocking {
            do throws(ZFSError) { return .success(try await DatasetCatalog(command).list()) } catch {
                return .failure(error)
            }
        }
        let all: [DatasetInfo]
        do throws(ZFSError) { all = try listing.get().datasets } catch { throw Output.failure(error.description) }
        if datasets.isEmpty {
            let selection = Selection.byProperty(all, volumes: true)
            for problem in selection.problems { Output.message("\(problem)") }
            guard !selection.watched.isEmpty else {
                throw Output.failure(
                    "no dataset has kairos:enabled=on: name one ('kairos prune tank/home'), or 'zfs set kairos:enabled=on DATASET'"
                )
            }
            return selection.watched
        }
        do throws(SelectionError) {
            return try Selection.explicit(datasets, recursive: recursive, of: all, volumes: true).watched
        } catch { throw Output.failure(error.description) }
    }

    private func show(_ plan: DatasetRetention, _ rows: [PruneRow], _ outcome: Pruner.Outcome?) {
        let name = SafeText.line(plan.dataset)
        let doomed = plan.plan.doomed.count
        let rule = "rule \(plan.rule)" + (plan.isDefault ? ", the default" : "")
        if dryRun || verbose {
            var table = TextTable(["", "TAKEN", "SNAPSHOT OF \(name)", "WHY"], left: [0, 2])
            for row in rows {
                table.add([row.words, LocalTime.date(row.time, utc: utc), SafeText.line(row.snapshot), why(row)])
            }
            if !rows.isEmpty { table.print() }
        }
        guard let outcome else {
            Output.line("\(name): \(doomed) of \(Human.count(rows.count, "snapshot")) would be destroyed (\(rule))")
            return
        }
        var line = "\(name): \(outcome.destroyed.count) of \(Human.count(rows.count, "snapshot")) destroyed (\(rule))"
        if !outcome.busy.isEmpty { line += "; \(outcome.busy.count) in use, tried again the next time" }
        if !outcome.failed.isEmpty { line += "; \(outcome.failed.count) FAILED" }
        Output.line(line)
    }

    private func why(_ row: PruneRow) -> String {
        guard let boundary = row.boundary else { return row.reason }
        return "the state of \(LocalTime.date(boundary, utc: utc)) (\(row.tier ?? ""))"
    }
}

/// One snapshot, and what becomes of it.
struct PruneRow: Encodable {
    enum Fate: String, Encodable { case stays, goes, destroyed, busy, failed }

    var dataset: String
    var snapshot: String
    /// Nanoseconds since 1970.
    var time: Int64
    var fate: Fate
    /// Printable.
    var reason: String
    /// Of the rule; nil where none has a say.
    var tier: String?
    /// Nanoseconds since 1970: the moment whose state it is.
    var boundary: Int64?

    var words: String { fate.rawValue }

    private enum Key: String, CodingKey { case dataset, snapshot, time, fate, reason, tier, boundary }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        func text(_ time: Int64) -> String { Timestamp(milliseconds: time / 1_000_000).rfc3339 }
        try container.encode(dataset, forKey: .dataset)
        try container.encode(snapshot, forKey: .snapshot)
        try container.encode(text(time), forKey: .time)
        try container.encode(fate, forKey: .fate)
        try container.encode(reason, forKey: .reason)
        try container.encode(tier, forKey: .tier)
        try container.encode(boundary.map(text), forKey: .boundary)
    }

    static func rows(of retention: DatasetRetention, _ outcome: Pruner.Outcome?) -> [PruneRow] {
        let destroyed = Set(outcome?.destroyed ?? [])
        let busy = Set(outcome?.busy ?? [])
        return retention.plan.verdicts.map { snapshot, verdict in
            var row = PruneRow(
                dataset: retention.dataset, snapshot: snapshot.name, time: snapshot.time, fate: .stays,
                reason: words(verdict, retention.rule))
            if case .rule(let tier, let boundary) = verdict {
                row.tier = retention.rule.text(ofTier: tier)
                row.boundary = boundary
            }
            guard !verdict.isKept else { return row }
            row.fate =
                outcome == nil
                ? .goes
                : destroyed.contains(snapshot.name) ? .destroyed : busy.contains(snapshot.name) ? .busy : .failed
            return row
        }
    }

    private static func words(_ verdict: RetentionPlan.Verdict, _ rule: RetentionRule) -> String {
        switch verdict {
        case .protected(let protections): protections.map(words).joined(separator: "; ")
        case .newest: "the newest of the dataset"
        case .future: "this clock calls its time the future"
        case .rule(let tier, nil): "all are kept (\(rule.text(ofTier: tier)))"
        case .rule(let tier, _?): "the state of a boundary (\(rule.text(ofTier: tier)))"
        case .destroy: "no rule keeps it"
        }
    }

    private static func words(_ protection: RetainedSnapshot.Protection) -> String {
        switch protection {
        case .foreign: "Kairos did not make it"
        case .held: "held: 'zfs holds' says by whom"
        case .cloned: "a clone depends on it"
        case .bookmarked: "bookmarked: somebody may replicate from it"
        case .unknown: "its properties could not be read"
        }
    }
}
