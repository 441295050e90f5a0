import Background
import Datasets
import Snapshots
import Tracing

/// The part of an attempt that blocks or waits: done in a task, away from the daemon's thread and state.
enum AttemptWork {
    struct Job: Sendable {
        var guid: UInt64
        var serial: UInt64
        var dataset: String
        var mapped: MappedFiles
        var mounted: MountedDataset?
        /// A volume whose block device is to be written back first.
        var flushesVolume = false
        var groups: Groups
        /// The last snapshot taken of it.
        var lastTaken: SnapshotName?
        /// What the programs say may lack something: ZFS has to be asked.
        var mustAsk: Bool
        /// How many changes OpenZFS had not reported when ZFS itself was asked last: with more it has to be asked again.
        var unreported: UInt64 = 0
        /// So little was written that the snapshot is not wanted if it equals the one before.
        var slight: ChangeVerdict.Slight?
        /// So little was no change.
        var upkeep: ChangeVerdict.Slight?
        var properties: [SnapshotProperty]
    }

    /// What OpenZFS tells of a dataset, now.
    struct Groups: Sendable {
        let slots: SlotTable
        let slot: Int

        /// Whether that can be relied on.
        var tell: Bool { slots.hasGroups(slot) }
        var now: TransactionGroups { slots.groups(slot) }
    }

    /// Flushes what of these datasets is mapped or cached, for no longer than the queue's limit.
    static func flush(_ jobs: [Job], _ mounts: MountTable, _ queue: FlushQueue) async -> [UInt64: FlushQueue.Outcome] {
        let works = jobs.filter { !$0.mapped.isEmpty || $0.flushesVolume }.map { job in
            let work: FlushQueue.Work = {
                let volume = job.flushesVolume ? VolumeFlush.run(job.dataset) : nil
                let files = job.mounted.flatMap { Flush.run(job.mapped, mount: $0, mounts: mounts) }
                return [volume, files].compactMap(\.self)
            }
            return (guid: job.guid, name: job.dataset, work: work)
        }
        guard !works.isEmpty else { return [:] }
        return await WorkerThreads.shared.value { queue.run(works) }
    }

    /// In the order of the jobs.
    static func results(
        of request: SnapshotRequest, by engine: any SnapshotEngine, for jobs: [Job],
        _ flushed: [UInt64: FlushQueue.Outcome]
    ) async -> [Daemon.AttemptResult] {
        func failure(_ error: SnapshotError) -> Daemon.AttemptResult.Outcome {
            .failed(operation: "snapshot", error.kind, error.description)
        }
        do throws(SnapshotError) {
            let taken = try await engine.snapshot(request)
            let finished = SystemClock.monotonic()
            return zip(jobs, taken).map { job, result in
                let outcome: Daemon.AttemptResult.Outcome =
                    switch result.outcome {
                    case .success(let snapshot): .snapshot(snapshot)
                    case .failure(let error): failure(error)
                    }
                return Daemon.AttemptResult(
                    guid: job.guid, serial: job.serial, outcome: outcome, flush: flushed[job.guid], finished: finished)
            }
        } catch {
            let finished = SystemClock.monotonic()
            return jobs.map {
                Daemon.AttemptResult(guid: $0.guid, serial: $0.serial, outcome: failure(error), finished: finished)
            }
        }
    }

    /// The result, or an `.unchanged` where the snapshot turns out to hold nothing that the one before it lacks. It is destroyed then;
    /// one that cannot be (somebody holds it already) stays.
    static func compared(
        _ result: Daemon.AttemptResult, _ taken: TakenSnapshot, with slight: ChangeVerdict.Slight, of job: Job,
        _ check: ChangeCheck
    ) async -> Daemon.AttemptResult {
        let name = "\(job.dataset)@\(taken.name.text)"
        guard await check.isEqual(name, to: slight.since) else { return result }
        do throws(ZFSError) { try await check.command.run(["destroy", name]) } catch { return result }
        var result = result
        result.outcome = .verdict(.unchanged(.stream))
        // Looked at last: if it was destroyed meanwhile, nothing has what both held.
        result.newestIsGone = await isGone(slight.since, check.command)
        return result
    }

    private static func isGone(_ snapshot: String, _ command: ZFSCommand) async -> Bool {
        do throws(ZFSError) {
            _ = try await command.run(["list", "-H", "-o", "name", snapshot])
            return false
        } catch {
            return error.kind == .datasetMissing
        }
    }

    /// Whether the dataset differs from its newest snapshot. After the flush: stores to mappings are ZFS's by then.
    ///
    /// - Parameter isAudit: nothing was seen to change. Then what ZFS says to be no change is none, but that it says nothing
    ///   is what the audit doubts.
    static func verdict(_ check: ChangeCheck, of job: Job, isAudit: Bool) async -> Verdict {
        let groups = job.groups.now
        let isClean =
            !job.mustAsk && job.groups.tell && !groups.isDirty && groups.unreported == job.unreported
        if isClean, isAudit, groups.hasNoise { return await noisy(check, of: job) }
        // Of the time before the first capture they know nothing.
        if isClean, !isAudit, groups.captured > 0, groups.noise <= groups.captured {
            return Verdict(.unchanged(.groups))
        }
        do throws(ZFSError) {
            // An idle pool is left idle: what its open group holds is for the next audit to find.
            var verdict = try await check.verdict(on: job.dataset, syncs: !(isAudit && isClean))
            if case .slight(let slight) = verdict, slight == job.upkeep { verdict = .unchanged(.stream) }
            if case .unchanged = verdict {
                // A rollback takes changes back; or they were captured before the watch began.
                return Verdict(verdict, captured: groups.dirty)
            } else if isAudit, isClean {
                let now = job.groups.now
                // It came while ZFS was asked.
                if !now.isDirty, now.hasNoise { return Verdict(.unchanged(.noise)) }
            }
            return Verdict(verdict)
        } catch {
            return Verdict(outcome: .failed(operation: "check", error.kind, error.description))
        }
    }

    /// An audit of a dataset whose `written` includes access times or upkeep. The figure alone proves no change then, so Kairos
    /// compares the dataset with its newest snapshot.
    private static func noisy(_ check: ChangeCheck, of job: Job) async -> Verdict {
        guard let mounted = job.mounted else { return Verdict(.unchanged(.noise)) }
        do throws(ZFSError) {
            guard let newest = try await check.newest(of: job.dataset) else { return Verdict(.changed) }
            if try await check.isSame(job.dataset, mountedAt: mounted.mountPoints, as: newest) {
                return Verdict(.unchanged(.noise))
            }
            // The probes reported a change that came during the comparison.
            return Verdict(job.groups.now.isDirty ? .unchanged(.noise) : .changed)
        } catch {
            return Verdict(outcome: .failed(operation: "check", error.kind, error.description))
        }
    }

    /// How a check came out.
    struct Verdict: Sendable {
        var outcome: Daemon.AttemptResult.Outcome
        /// ZFS says that a snapshot holds everything up to this transaction group. The daemon's thread stores it, since it
        /// alone knows whether the slot is still this dataset's.
        var captured: UInt64?

        init(outcome: Daemon.AttemptResult.Outcome) { self.outcome = outcome }

        init(_ verdict: ChangeVerdict, captured: UInt64? = nil) {
            outcome = .verdict(verdict)
            self.captured = captured
        }
    }

    /// A check as a whole, from the flush to the answer.
    static func check(
        _ job: Job, by check: ChangeCheck, isAudit: Bool, flush: FlushQueue.Outcome?
    ) async -> Daemon.AttemptResult {
        let verdict = await verdict(check, of: job, isAudit: isAudit)
        var result = Daemon.AttemptResult(
            guid: job.guid, serial: job.serial, outcome: verdict.outcome, flush: flush,
            finished: SystemClock.monotonic())
        result.captured = verdict.captured
        guard await newestIsGone(verdict.outcome, of: job, check) else { return result }
        if await isAnother(job.dataset, than: job.guid, check.command) {
            // Destroyed and made anew: what is there now is not what was watched, and says nothing of its snapshots.
            result.outcome = .failed(
                operation: "check", .datasetMissing,
                "\(SafeText.line(job.dataset)) was destroyed, and another dataset has its name")
        } else {
            result.newestIsGone = true
        }
        return result
    }

    /// Whether another dataset has this name by now.
    private static func isAnother(_ dataset: String, than guid: UInt64, _ command: ZFSCommand) async -> Bool {
        guard let output = try? await command.run(["get", "-H", "-p", "-o", "value", "guid", dataset]),
            let found = UInt64(String(decoding: output, as: UTF8.self).prefix { $0 != "\n" })
        else { return false }
        return found != guid
    }

    /// Whether a difference may come of a snapshot of ours that somebody destroyed: then no probe missed anything.
    static func newestIsGone(
        _ outcome: Daemon.AttemptResult.Outcome, of job: Job, _ check: ChangeCheck
    ) async -> Bool {
        guard case .verdict(let verdict) = outcome, let last = job.lastTaken else { return false }
        if case .unchanged = verdict { return false }
        guard await isGone("\(job.dataset)@\(last.text)", check.command) else { return false }
        do throws(ZFSError) {
            guard let newest = try await check.newest(of: job.dataset) else { return true }
            // A newer one holds what it held, and then the difference is to that one.
            if let own = SnapshotName(parsing: newest, prefix: last.prefix) { return own < last }
            // Somebody else's tells the second alone. Within the same one it counts as newer: better a false alarm than none.
            let values = try await DatasetCatalog(check.command).properties(["creation"], of: [newest])
            guard let text = values[newest]?["creation"]?.value, let creation = Int64(text) else { return false }
            return creation < last.time.milliseconds / 1000
        } catch {
            return false
        }
    }
}
