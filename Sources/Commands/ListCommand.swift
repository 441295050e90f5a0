import ArgumentParser
import Background
import Datasets
import Glibc
import Recovery
import Retention
import Snapshots
import Tracing

struct ListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "Kairos's snapshots of a dataset: why they were taken, and how long they stay.",
        discussion: """
            WHY is what led to it: quiet (the dataset was at rest), max-delay (the first change was too old to wait), commit (a file was closed or \
            renamed), stop, check, audit, start, restore (before something was replaced). USED is what it alone holds: what several hold is in none of their figures. KEPT is until when \
            its rule keeps it at least, or what else keeps it; 'kairos prune --dry-run' tells what goes next.

            EXAMPLES:
              kairos list tank/home
              kairos list                    of the working directory's dataset
              kairos list --all tank/home    also what others made
              kairos list -q --json tank/home | jq -r '.[].snapshot'

            \(LookStatus.words)
            """)

    @Argument(help: "A dataset, or a path in one. None: that of the working directory.")
    var dataset: String?

    @Flag(help: "Also the snapshots that Kairos did not make.")
    var all = false

    @Option(help: ArgumentHelp("What the names of Kairos's snapshots begin with.", valueName: "text"))
    var prefix = SnapshotPrefix.standard.text

    @OptionGroup var options: LookOptions

    mutating func run() throws {
        Output.ignoreBrokenPipe()
        let command = try ZFSAccess.found(options.zfsCommand)
        let prefix: SnapshotPrefix
        do throws(SnapshotPrefix.Fault) { prefix = try SnapshotPrefix(self.prefix) } catch {
            throw Output.failure("--prefix: \(error)", status: 2)
        }
        let name = try name(command)
        let wall = SystemClock.wall().seconds * 1_000_000_000
        let answer: Result<Answer, ListFailure> = blocking {
            do { return .success(try await Answer.read(name, command, prefix, now: wall)) } catch {
                return .failure(ListFailure(description: "\(error)"))
            }
        }
        let read: Answer
        do throws(ListFailure) { read = try answer.get() } catch { throw Output.failure(error.description, status: 2) }
        for fault in read.faults { Output.message("\(SafeText.line(read.dataset)): \(fault)") }
        let rows = read.rows.filter { all || $0.isKairos }
        if options.json {
            Output.line(Output.json(rows))
        } else {
            show(rows, read)
        }
        if rows.isEmpty { throw LookStatus.nothing }
    }

    private func name(_ command: ZFSCommand) throws -> String {
        if let dataset, !dataset.hasPrefix("/"), !dataset.hasPrefix("."), DatasetName.isLegal(dataset) {
            return dataset
        }
        return try RecoverySession(dataset ?? ".", options).view.dataset
    }

    private func show(_ rows: [ListRow], _ answer: Answer) {
        let name = SafeText.line(answer.dataset)
        if !rows.isEmpty {
            var table = TextTable(
                ["TAKEN", "SNAPSHOT OF \(name)", "WHY", "USED", "KEPT", "CHANGES"], left: [0, 1, 2, 4])
            for row in rows {
                table.add([
                    options.text(row.taken), SafeText.line(row.snapshot), row.trigger ?? "-",
                    row.used.map(Human.bytes) ?? "-",
                    row.kept(options), SafeText.line(row.changes ?? "-"),
                ])
            }
            table.print()
        }
        let ours = answer.rows.count(where: \.isKairos)
        let others = answer.rows.count - ours
        options.remark(
            "\(name): \(Human.count(ours, "snapshot")) of Kairos's, "
                + (answer.faults.isEmpty
                    ? "rule \(answer.rule)" + (answer.isDefault ? " (the default)" : "")
                    : "invalid property (see above): Kairos prunes nothing here")
                + (others > 0 ? "; \(others) that others made\(all ? "" : " (--all)")" : ""))
    }
}

private struct ListFailure: Error, CustomStringConvertible { var description: String }

/// What is known of a dataset's snapshots.
private struct Answer: Sendable {
    var dataset: String
    var rule: String
    var isDefault: Bool
    /// Properties that cannot be read. Printable.
    var faults: [String]
    var rows: [ListRow]

    static func read(
        _ name: String, _ command: ZFSCommand, _ prefix: SnapshotPrefix, now: Int64
    ) async throws -> Answer {
        let catalog = SnapshotCatalog(command)
        guard let guid = try await catalog.guid(of: name) else {
            throw ListFailure(description: "\(SafeText.line(name)) has no GUID: is it a dataset?")
        }
        var round = PruneRound(command, prefix: prefix, isForListing: true)
        let retention: DatasetRetention
        do throws(PruneRound.Refusal) { retention = try await round.plan(for: name, guid: guid, now: now) } catch {
            throw ListFailure(description: error.description)
        }
        let flavour: ZFSFlavour = access("/sys/module/zfs/version", F_OK) == 0 ? .kernel : .fuse
        let names = Set(retention.plan.verdicts.map(\.snapshot.name))
        let reasons = try await SnapshotListing(command, flavour).reasons(of: name, among: names)
        let types = flavour == .kernel ? ["-t", "snapshot"] : []
        let bytes = try await command.run(
            ["get", "-H", "-p", "-d", "1"] + types + ["-o", "name,value", "used", name],
            outputLimit: ZFSCommand.snapshotsLimit)
        var used: [String: UInt64] = [:]
        for row in ZFSOutput.table(bytes, columns: 2).rows { used[row[0]] = UInt64(row[1]) }
        let ends = retention.plan.kept(by: retention.rule)
        let rows = retention.plan.verdicts.map { snapshot, verdict in
            ListRow(
                retention, snapshot, verdict, reasons[snapshot.name], used: used[name + "@" + snapshot.name],
                end: ends[snapshot.name])
        }
        return Answer(
            dataset: name, rule: "\(retention.rule)", isDefault: retention.isDefault, faults: retention.faults,
            rows: rows)
    }
}

/// One snapshot.
private struct ListRow: Encodable, Sendable {
    var dataset: String
    var snapshot: String
    var time: String
    var isKairos: Bool
    var trigger: String?
    var changes: String?
    var firstChange: String?
    var lastChange: String?
    /// Bytes.
    var used: UInt64?
    /// Whether the next prune leaves it.
    var isKept: Bool
    var reason: String
    var tier: String?
    /// At least.
    var keptUntil: String?

    var taken: Timestamp
    private var end: Timestamp?
    private var isForEver = false

    private enum Key: String, CodingKey {
        case dataset, snapshot, time, isKairos, trigger, changes, firstChange, lastChange, used, isKept, reason, tier,
            keptUntil
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(dataset, forKey: .dataset)
        try container.encode(snapshot, forKey: .snapshot)
        try container.encode(time, forKey: .time)
        try container.encode(isKairos, forKey: .isKairos)
        try container.encodeIfPresent(trigger, forKey: .trigger)
        try container.encodeIfPresent(changes, forKey: .changes)
        try container.encodeIfPresent(firstChange, forKey: .firstChange)
        try container.encodeIfPresent(lastChange, forKey: .lastChange)
        try container.encodeIfPresent(used, forKey: .used)
        try container.encode(isKept, forKey: .isKept)
        try container.encode(reason, forKey: .reason)
        try container.encodeIfPresent(tier, forKey: .tier)
        try container.encodeIfPresent(keptUntil, forKey: .keptUntil)
    }

    init(
        _ retention: DatasetRetention, _ snapshot: RetainedSnapshot, _ verdict: RetentionPlan.Verdict,
        _ properties: SnapshotProperties?, used: UInt64?, end: Int64?
    ) {
        dataset = retention.dataset
        self.snapshot = snapshot.name
        taken = Timestamp(milliseconds: snapshot.time / 1_000_000)
        time = taken.rfc3339
        isKairos = !snapshot.protections.contains(.foreign)
        if isKairos, let properties {
            trigger = properties.trigger?.rawValue ?? "group"
            changes = properties.changes.isEmpty ? nil : properties.changes.description
            firstChange = properties.firstChange?.rfc3339
            lastChange = properties.lastChange?.rfc3339
        }
        self.used = used
        isKept = verdict.isKept
        let row = PruneRow.reason(verdict, retention.rule)
        reason = row
        switch verdict {
        case .rule(let tier, _), .room(let tier): self.tier = retention.rule.text(ofTier: tier)
        default: break
        }
        guard case .rule = verdict, let end else { return }
        isForEver = end == .max
        if !isForEver {
            self.end = Timestamp(milliseconds: end / 1_000_000)
            keptUntil = self.end?.rfc3339
        }
    }

    /// Until when and by what, in words.
    func kept(_ options: LookOptions) -> String {
        if let end { return "until \(options.text(end)) (\(tier ?? ""))" }
        if isForEver { return "for ever (\(tier ?? ""))" }
        return isKept ? "as long as \(condition)" : "until the next prune: \(reason)"
    }

    private var condition: String {
        switch reason {
        case let text where text.hasPrefix("held"): "it is held"
        case let text where text.hasPrefix("a clone"): "a clone depends on it"
        case let text where text.hasPrefix("bookmarked"): "a bookmark of it is there"
        case let text where text.hasPrefix("the newest"): "no newer one is there"
        case let text where text.hasPrefix("Kairos did not"): "nobody destroys it by hand"
        default: reason
        }
    }
}
