import Background
import Datasets
import Journal
import Policy
import Snapshots
import Tracing

extension Daemon {
    /// After so long an attempt under way is worth a word.
    static let stuckLimit: UInt64 = 30_000_000_000
    /// Added to the end of a snapshot, nanoseconds. A change that is in it may be marked a moment after it: the call that
    /// made the change still has to return. Those marked within this time are checked instead of snapshotted again.
    static let finishSlack: UInt64 = 5_000_000

    /// Ends the epochs of the datasets that are due and starts their snapshots and checks.
    ///
    /// - Returns: whether records were taken that the caller has not looked at the consequences of.
    func begin(_ due: [(guid: UInt64, action: PolicyAction)]) -> Bool {
        guard !due.isEmpty else { return false }
        // What was changed up to now is told in records that are in the ring by now: they name what is captured.
        let before = recordsTaken
        _ = drain()
        defer { if recordsTaken != before { handCandidatesOver() } }
        var groups: [String: [AttemptWork.Job]] = [:]
        for (guid, action) in due {
            guard let dataset = watched[guid] else { continue }
            let attempt = start(dataset, action)
            let job = AttemptWork.Job(
                guid: guid, serial: attempt.serial, dataset: dataset.info.name, mapped: attempt.mapped,
                mounted: dataset.mounted,
                // An audit asks what was missed; what is in the cache of a device was not ZFS's to tell.
                flushesVolume: dataset.isVolume && !attempt.isAudit,
                groups: AttemptWork.Groups(slots: probes.slots, slot: dataset.slot), lastTaken: dataset.lastTaken,
                mustAsk: dataset.mustAskSince != nil || probes.layout != .none, unreported: dataset.unreportedSettled,
                slight: dataset.slight, upkeep: dataset.upkeep,
                properties: properties(of: attempt))
            if attempt.isCheck {
                summary.checks += 1
                check(job, isAudit: attempt.isAudit)
            } else {
                groups[dataset.info.pool, default: []].append(job)
            }
        }
        for jobs in groups.values.map({ $0.sorted { $0.dataset < $1.dataset } }) { snapshot(jobs) }
        return recordsTaken != before
    }

    /// Moves the epoch on. What is marked from here on is the next snapshot's.
    private func start(_ dataset: WatchedDataset, _ action: PolicyAction) -> WatchedDataset.Attempt {
        let slot = probes.slots.read(dataset.slot)
        let started = SystemClock.monotonic()
        let isCheck: Bool
        let trigger: SnapshotTrigger
        var first: UInt64?
        var last: UInt64?
        switch action {
        case .check:
            isCheck = true
            trigger = .check
        case .snapshot(let reason, let since, let until):
            isCheck = false
            let isFound = dataset.missed != nil && reason == .check
            trigger = isFound ? .audit : SnapshotTrigger(reason, isFirst: dataset.isFirst)
            // A check that found a change does not know when it was made.
            if reason != .check || !dataset.summary.isEmpty {
                first = since.nanoseconds
                last = until.nanoseconds
            }
        }
        serial += 1
        dataset.lastSerial = serial
        let attempt = WatchedDataset.Attempt(
            serial: serial, isCheck: isCheck, started: started, epoch: slot.epoch, trigger: trigger, first: first,
            last: last,
            summary: dataset.summary, mapped: dataset.mapped,
            changes: slot.changes + dataset.resolvedChanges, hidden: slot.hidden, epochStarted: dataset.epochStarted,
            isAudit: isCheck && dataset.isAuditAlone && dataset.summary.isEmpty && !dataset.isFirst,
            detail: dataset.detail, unreported: probes.slots.groups(dataset.slot).unreported)
        dataset.isAuditAlone = false
        dataset.epoch = probes.slots.advanceEpoch(dataset.slot)
        dataset.epochStarted = started
        dataset.summary = ChangeSummary()
        dataset.detail = WatchedDataset.Detail()
        dataset.mapped = MappedFiles()
        dataset.isRelevant = false
        dataset.attempt = attempt
        return attempt
    }

    private func properties(of attempt: WatchedDataset.Attempt) -> [SnapshotProperty] {
        func timestamp(_ monotonic: UInt64) -> Timestamp {
            let wall = SystemClock.wall(at: monotonic)
            return Timestamp(seconds: wall.seconds, nanoseconds: wall.nanoseconds)
        }
        return SnapshotProperties(
            trigger: attempt.trigger, changes: attempt.summary.counts, firstChange: attempt.first.map(timestamp),
            lastChange: attempt.last.map(timestamp)
        ).properties
    }

    private func snapshot(_ jobs: [AttemptWork.Job]) {
        let flavour = flavour(of: jobs.lazy.compactMap(\.mounted).first)
        let engine: any SnapshotEngine =
            configuration.dryRun ? DryRunEngine() : engine.engine(command, flavour: flavour)
        let request = SnapshotRequest(
            items: jobs.map { SnapshotRequest.Item(dataset: $0.dataset, properties: $0.properties) },
            name: namer.next(wallClock: SystemClock.wall()))
        let inbox = inbox
        let mounts = mounts
        let check = ChangeCheck(command, flavour: flavour)
        let dryRun = configuration.dryRun
        let flushes = flushes
        WorkerThreads.shared.task {
            let flushed = dryRun ? [:] : await AttemptWork.flush(jobs, mounts, flushes)
            var done: [AttemptResult] = []
            let results = await AttemptWork.results(of: request, by: engine, for: jobs, flushed)
            for (job, result) in zip(jobs, results) {
                if let slight = job.slight, case .snapshot(let taken) = result.outcome, !taken.dryRun {
                    // Each by itself: at the start of a host there may be many, and others do not wait for them.
                    WorkerThreads.shared.task {
                        inbox.post(.attempts([await AttemptWork.compared(result, taken, with: slight, of: job, check)]))
                    }
                } else {
                    done.append(result)
                }
            }
            if !done.isEmpty { inbox.post(.attempts(done)) }
        }
    }

    /// Which ZFS the command belongs to. A mount tells; for what is not mounted, whether the kernel has one.
    private func flavour(of mounted: MountedDataset?) -> ZFSFlavour {
        mounted?.flavour ?? (KernelSupport.zfsModule == nil ? .fuse : .kernel)
    }

    private func check(_ job: AttemptWork.Job, isAudit: Bool) {
        let check = ChangeCheck(command, flavour: flavour(of: job.mounted))
        let inbox = inbox
        let mounts = mounts
        let flushes = flushes
        WorkerThreads.shared.task {
            let flushed = await AttemptWork.flush([job], mounts, flushes)
            let result = await AttemptWork.check(job, by: check, isAudit: isAudit, flush: flushed[job.guid])
            inbox.post(.attempts([result]))
        }
    }

    /// Tells the policy how an attempt ended, and the world.
    func finish(_ result: AttemptResult) {
        // A dataset that was left and taken up again meanwhile is another one.
        guard let dataset = watched[result.guid], let attempt = dataset.attempt, attempt.serial == result.serial else {
            return
        }
        dataset.attempt = nil
        dataset.isStuckReported = false
        let now = Instant(nanoseconds: SystemClock.monotonic())
        lastAnswer = now.nanoseconds
        let succeeded = PolicyEvent.succeeded(
            started: Instant(nanoseconds: attempt.started),
            finished: Instant(nanoseconds: result.finished + Self.finishSlack))
        for warning in result.warnings where told.isNew(warning) { report(.warning(warning)) }
        let hasAnswered =
            switch result.outcome {
            case .failed: false
            case .verdict: !attempt.isCheck || result.warnings.isEmpty
            case .snapshot: true
            }
        let isOfNow = dataset.isOfNow(attempt)
        if let captured = result.captured, isOfNow { probes.slots.raiseCaptured(dataset.slot, to: captured) }
        if hasAnswered, isOfNow { dataset.mustAskSince = nil }
        if hasAnswered {
            dataset.unreportedSettled = attempt.unreported
            if attempt.isCheck { warnOfUnseen(dataset) }
        }
        if hasAnswered { dataset.missing = nil }
        switch result.outcome {
        case .snapshot(let taken):
            let failures = dataset.policy.consecutiveFailures
            _ = dataset.policy.handle(succeeded, now: now)
            self.succeeded(dataset, attempt, taken, finished: result.finished, failures: failures)
            dataset.doubtsUnreported = false
            prove(by: taken, of: dataset, attempt)
            checkAgain(dataset, attempt, result.flush, now)
        case .verdict where !attempt.isCheck:
            // It was taken, and held nothing: what the check had found was upkeep of ZFS's own.
            _ = dataset.policy.handle(succeeded, now: now)
            dataset.upkeep = dataset.slight
            unchanged(dataset, attempt, now)
            checkAgain(dataset, attempt, result.flush, now)
            if result.newestIsGone {
                dataset.mustAskSince = now.nanoseconds
                suspect(dataset, at: now.nanoseconds)
            }
        case .verdict(let verdict)
        where !result.warnings.isEmpty && (verdict.isUnchanged || isExplained(result, attempt)):
            // Without the flush ZFS's figures do not tell about mapped files. As a failure it is tried again. A difference is one
            // all the same, and is snapshotted.
            dataset.takeBack(attempt)
            _ = dataset.policy.handle(.checkFailed(at: now), now: now)
            failed(dataset, operation: "check", nil, result.warnings.joined(separator: "; "))
        case .verdict(let verdict):
            if verdict.isUnchanged {
                unchanged(dataset, attempt, now)
            } else if isExplained(result, attempt) {
                // ZFS knows of no ignored paths, and of files without a name it keeps the blocks: it is dirty with them still.
                let hidden = dataset.hiddenCaptured
                unchanged(dataset, attempt, now)
                dataset.hiddenCaptured = hidden
            } else {
                changed(dataset, attempt, result, verdict, now)
            }
        case .failed(let operation, let kind, let error):
            dataset.takeBack(attempt)
            let event: PolicyEvent =
                attempt.isCheck ? .checkFailed(at: now) : kind == .timedOut ? .unanswered(at: now) : .failed(at: now)
            _ = dataset.policy.handle(event, now: now)
            failed(dataset, operation: operation, kind, error)
        }
    }

    /// Whether a difference that an audit found is of what makes no snapshot.
    private func isExplained(_ result: AttemptResult, _ attempt: WatchedDataset.Attempt) -> Bool {
        guard let dataset = watched[result.guid] else { return false }
        return attempt.isAudit && !result.newestIsGone
            && (dataset.hasIgnored || attempt.hidden > dataset.hiddenCaptured)
    }

    /// A check found a difference, or could not tell.
    private func changed(
        _ dataset: WatchedDataset, _ attempt: WatchedDataset.Attempt, _ result: AttemptResult, _ verdict: ChangeVerdict,
        _ now: Instant
    ) {
        // What ZFS cannot tell counts as a change: a snapshot too many is better than one too few.
        dataset.takeBack(attempt)
        dataset.slight = comparable(verdict)
        // As of its answer: a rollback may have taken it back since.
        _ = dataset.policy.handle(.changed(at: Instant(nanoseconds: result.finished)), now: now)
        // It may be its snapshot that fails.
        if dataset.policy.consecutiveFailures == 0 { dataset.isFailing = false }
        // What was seen while the check ran may be what it found.
        let slot = probes.slots.read(dataset.slot)
        let isSeen = slot.changes + dataset.resolvedChanges > attempt.changes || slot.groups?.isDirty == true
        if result.newestIsGone {
            let text =
                "\(dataset.info.name): @\(dataset.lastTaken?.text ?? "") is gone, and nothing else has what was in it: "
                + "what is there now is snapshotted again"
            if told.isNew(text) { report(.notice(text)) }
        } else if attempt.isAudit, !isSeen, dataset.summary.isEmpty {
            dataset.missed = WatchedDataset.Missed(
                since: dataset.lastCaptured ?? attempt.epochStarted, changes: attempt.changes)
            // So little may be nothing.
            if dataset.slight == nil { tellMissed(dataset) }
        }
    }

    /// Little enough to compare the next snapshot with the one before. One of Kairos's: another's may be there for a moment only.
    private func comparable(_ verdict: ChangeVerdict) -> ChangeVerdict.Slight? {
        guard case .slight(let slight) = verdict,
            SnapshotName(parsing: slight.since, prefix: configuration.prefix) != nil
        else { return nil }
        return slight
    }

    /// After a snapshot: where it may lack something that was marked as in it.
    private func checkAgain(
        _ dataset: WatchedDataset, _ attempt: WatchedDataset.Attempt, _ flush: FlushQueue.Outcome?, _ now: Instant
    ) {
        let slot = probes.slots.read(dataset.slot)
        if slot.groups == nil, slot.early >= attempt.epochStarted {
            // Marked before it was done: it may have been done too late for this snapshot.
            suspect(dataset, at: now.nanoseconds)
        }
        if let flush {
            // The snapshot may lack stores to mapped files: a check, with another flush, tells. One that hangs is waited for.
            dataset.mapped.add(attempt.mapped)
            dataset.isFlushPending = flush.isPending
            if !flush.isPending { suspect(dataset, at: now.nanoseconds) }
        }
    }

    private func unchanged(_ dataset: WatchedDataset, _ attempt: WatchedDataset.Attempt, _ now: Instant) {
        summary.checksUnchanged += 1
        // Up to here all is known. What was changed meanwhile, and is in somebody else's snapshot, is told with the next one.
        var earlier = attempt.detail
        earlier.isPart = false
        dataset.detail.add(earlier: earlier)
        dataset.isFirst = false
        dataset.isFailing = false
        dataset.missed = nil
        dataset.slight = nil
        dataset.doubtsUnreported = false
        _ = dataset.policy.handle(.unchanged(started: Instant(nanoseconds: attempt.started)), now: now)
        dataset.changesCaptured = attempt.changes
        dataset.hiddenCaptured = attempt.hidden
        // Ten minutes of silence are not worth a line each.
        if !attempt.isAudit { report(.unchanged(dataset: dataset.info.name)) }
    }

    /// An audit found what no probe saw.
    private func tellMissed(_ dataset: WatchedDataset) {
        guard let missed = dataset.missed else { return }
        summary.missed += 1
        report(
            .missed(
                DaemonEvent.MissedReport(
                    dataset: dataset.info.name,
                    since: SystemClock.wall(at: missed.since),
                    mayBeReads: !probes.slots.hasGroups(dataset.slot))))
    }

    private func succeeded(
        _ dataset: WatchedDataset, _ attempt: WatchedDataset.Attempt, _ taken: TakenSnapshot, finished: UInt64,
        failures: Int
    ) {
        journal?.add(
            JournalEntry(
                dataset: dataset.info.name, guid: dataset.info.guid, snapshot: taken.name.text,
                taken: taken.name.time.milliseconds, trigger: attempt.trigger.rawValue,
                isWhole: !dataset.isFirst && !attempt.detail.isPart && attempt.summary.lostRecords == 0
                    && ![.start, .check, .audit].contains(attempt.trigger) && !dataset.isVolume,
                changes: attempt.detail.changes, clock: SystemClock.wallOffset()))
        stampLater(taken.name.text, of: dataset)
        // Where little was written it has shown now that it was a change. What was seen since may be all of it.
        if dataset.slight != nil, dataset.missed?.changes == attempt.changes, attempt.summary.isEmpty {
            tellMissed(dataset)
        }
        dataset.missed = nil
        dataset.slight = nil
        dataset.isFirst = false
        dataset.isFailing = false
        dataset.hasIgnored = false
        dataset.lastCaptured = attempt.started
        dataset.lastTaken = taken.dryRun ? nil : taken.name
        // A name that was taken made the engine move on: so do the names to come.
        namer.note(taken.name)
        summary.snapshots += 1
        if let count = dataset.snapshotCount {
            dataset.snapshotCount = count + 1
            pace(dataset)
        }
        let window = attempt.first.map { finished - min($0, finished) }
        summary.longestWindowMilliseconds = max(summary.longestWindowMilliseconds, (window ?? 0) / 1_000_000)
        for warning in taken.warnings where told.isNew(warning.description) { report(.warning(warning.description)) }
        report(
            .snapshot(
                SnapshotReport(
                    dataset: dataset.info.name, isVolume: dataset.isVolume, name: taken.name.text,
                    trigger: attempt.trigger, changes: attempt.summary,
                    calls: attempt.changes - min(dataset.changesCaptured, attempt.changes),
                    time: SystemClock.wall(at: finished),
                    window: window.map { .nanoseconds(Int64(clamping: $0)) }, engineTime: taken.duration,
                    isDryRun: taken.dryRun, failuresBefore: failures)))
        dataset.changesCaptured = attempt.changes
        dataset.hiddenCaptured = attempt.hidden
    }

    private func failed(_ dataset: WatchedDataset, operation: String, _ kind: ZFSError.Kind?, _ error: String) {
        if kind == .datasetMissing {
            // Gone, or renamed a moment ago: the list tells which, and the next attempt goes by it.
            let isKnown = dataset.missing?.isListed == true
            list()
            if dataset.missing == nil {
                dataset.missing = WatchedDataset.Missing(listing: listings + (relistAt == nil ? 0 : 1))
            }
            if !isKnown, !isStopping { return }
        }
        summary.failures += 1
        defer { dataset.isFailing = true }
        guard !dataset.isFailing || isStopping else { return }
        report(
            .failure(
                DaemonEvent.FailureReport(
                    dataset: dataset.info.name, operation: operation, error: error,
                    retryAt: isStopping ? nil : dataset.policy.retryAt?.nanoseconds,
                    atRiskSince: dataset.policy.atRiskSince?.nanoseconds)))
    }

    /// Says once of each attempt that it takes long: a suspended pool, say, answers no command.
    func stuckDeadline(_ now: UInt64) -> UInt64? {
        var next: UInt64?
        for dataset in watched.values {
            guard let attempt = dataset.attempt, !dataset.isStuckReported else { continue }
            let limit = attempt.started + Self.stuckLimit
            if now < limit {
                next = min(next ?? limit, limit)
            } else {
                dataset.isStuckReported = true
                report(
                    .warning(
                        "\(dataset.info.name): ZFS has not answered for 30 s; its changes are at risk until it does; "
                            + "is the pool suspended? see 'zpool status \(dataset.info.pool)'"))
            }
        }
        return next
    }
}

extension SnapshotTrigger {
    init(_ trigger: Trigger, isFirst: Bool) {
        switch trigger {
        case .quiet: self = .quiet
        case .maxDelay: self = .maxDelay
        case .commit: self = .commit
        case .flush: self = .stop
        case .check: self = isFirst ? .start : .check
        }
    }
}

extension SnapshotError {
    /// Of the ZFS command's failure, nil when none was run.
    var kind: ZFSError.Kind? {
        if case .command(let error) = self { error.kind } else { nil }
    }
}

extension Daemon {
    /// Compares ZFS's own figures with what the probes said, of every dataset of which nothing is known to be at risk.
    func auditIfDue(_ now: UInt64) {
        guard let at = nextAudit, let interval = configuration.audit, now >= at, !isStopping else { return }
        nextAudit = Instant(nanoseconds: now).advanced(by: interval).nanoseconds
        for dataset in watched.values where dataset.policy.isClean {
            summary.audits += 1
            suspect(dataset, at: now, isAudit: true)
        }
    }
}
