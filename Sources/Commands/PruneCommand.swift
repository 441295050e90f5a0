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
            two snapshots of a pool counts in full up to a week, and a longer pause as one step of the rule. If ZFS's order of snapshots shows \
            that the clock was behind, a snapshot gets the youngest possible age.

            Where a dataset has kairos:min-free=20G (or 10%, of the pool) and less is free, the oldest snapshots go before their time, as \
            many as it takes, but none of the rule's first tier.

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
        let stop = LateStop("stopped; 'zfs destroy' did not answer and may still finish")
        var round = PruneRound(command, rule: rule, prefix: prefix)
        var isWhole = true
        var rows: [PruneRow] = []
        for dataset in chosen where !stop.isSet {
            let wall = SystemClock.wall()
            let now = wall.seconds * 1_000_000_000 + wall.nanoseconds
            let planned: Result<DatasetRetention, PruneRound.Refusal>
            (planned, round) = blocking { [round] in
                var round = round
                do throws(PruneRound.Refusal) {
                    return (.success(try await round.plan(for: dataset.name, guid: dataset.guid, now: now)), round)
                } catch { return (.failure(error), round) }
            }
            let retention: DatasetRetention
            do throws(PruneRound.Refusal) { retention = try planned.get() } catch {
                Output.message("\(SafeText.line(error.dataset)): \(error.why)")
                isWhole = false
                continue
            }
            var outcome: Pruner.Outcome?
            if !dryRun {
                // Before that there is nothing to report.
                stop.arm()
                let pruner = Pruner(command, prefix: prefix, isStopped: { stop.isSet })
                outcome = blocking { await pruner.destroy(retention) }
            }
            for error in outcome?.errors ?? [] {
                Output.message("\(SafeText.line(dataset.name)): \(error)")
                round.note(error, of: dataset.name)
            }
            if let why = outcome?.why { Output.message("\(SafeText.line(dataset.name)): pruned in part: \(why)") }
            isWhole = isWhole && (outcome.map { $0.failed.isEmpty && $0.left.isEmpty } ?? true)
            let future = retention.plan.verdicts.count { $0.verdict == .future }
            if future > 0 {
                Output.message(
                    "\(SafeText.line(dataset.name)): \(Human.count(future, "snapshot")) of a time that this clock calls the future: kept; is the clock right?"
                )
            }
            if let pressure = retention.pressure, pressure.isShort {
                Output.message("\(SafeText.line(dataset.name)): \(SpaceWords.short(pressure))")
                isWhole = false
            }
            let own = PruneRow.rows(of: retention, outcome)
            if json {
                rows += own
            } else if !quiet {
                show(retention, own, outcome)
            }
        }
        if json { Output.line(Output.json(rows)) }
        if let signal = stop.number { throw ExitCode(128 + signal) }
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
        if !outcome.gone.isEmpty { line += "; \(outcome.gone.count) gone already" }
        if !outcome.left.isEmpty { line += "; \(outcome.left.count) not tried" }
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
    enum Fate: String, Encodable { case stays, goes, destroyed, gone, busy, failed, left }

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
        var fates: [String: Fate] = [:]
        if let outcome {
            for (fate, names) in [
                (Fate.destroyed, outcome.destroyed), (.gone, outcome.gone), (.busy, outcome.busy),
                (.failed, outcome.failed), (.left, outcome.left),
            ] { for name in names { fates[name] = fate } }
        }
        return retention.plan.verdicts.map { snapshot, verdict in
            var row = PruneRow(
                dataset: retention.dataset, snapshot: snapshot.name, time: snapshot.time, fate: .stays,
                reason: words(verdict, retention.rule))
            if case .room(let tier) = verdict { row.tier = retention.rule.text(ofTier: tier) }
            if case .rule(let tier, let boundary) = verdict {
                row.tier = retention.rule.text(ofTier: tier)
                row.boundary = boundary
            }
            guard !verdict.isKept else { return row }
            row.fate = outcome == nil ? .goes : fates[snapshot.name] ?? .left
            return row
        }
    }

    /// Why a snapshot stays or goes. Printable.
    static func reason(_ verdict: RetentionPlan.Verdict, _ rule: RetentionRule) -> String { words(verdict, rule) }

    private static func words(_ verdict: RetentionPlan.Verdict, _ rule: RetentionRule) -> String {
        switch verdict {
        case .protected(let protections): protections.map(words).joined(separator: "; ")
        case .newest: "the newest of the dataset"
        case .future: "this clock calls its time the future"
        case .uncertain: "taken while the clock was behind: may be younger than its time"
        case .witness: "proves that the clock was behind for later snapshots"
        case .room(let tier): "kept by \(rule.text(ofTier: tier)), but the room is wanted (kairos:min-free)"
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

enum SpaceWords {
    static func short(_ pressure: SpacePressure) -> String {
        "\(KairosProperty.minFree) asks for \(Human.bytes(pressure.wanted)), \(Human.bytes(pressure.available)) are free, and all that may go "
            + "gives back \(Human.bytes(pressure.reclaimed)): what is left is files, protected snapshots and the rule's first tier"
    }
}
