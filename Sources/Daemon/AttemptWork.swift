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
        /// The last snapshot taken of it: its name after `@`.
        var lastTaken: String?
        /// Where nobody saw a change: if its snapshot equals this earlier one, a full name, it is not wanted.
        var unlessEqualTo: String?
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

    /// Flushes on a thread that may block.
    static func flush(_ jobs: [Job], _ mounts: MountTable) async -> [UInt64: [String]] {
        guard jobs.contains(where: { !$0.mapped.isEmpty || $0.flushesVolume }) else { return [:] }
        return await WorkerThreads.shared.value {
            var warnings: [UInt64: [String]] = [:]
            for job in jobs {
                if job.flushesVolume, let warning = VolumeFlush.run(job.dataset) {
                    warnings[job.guid, default: []].append(warning)
                }
                guard let mounted = job.mounted,
                    let warning = Flush.run(job.mapped, mount: mounted, mounts: mounts)
                else { continue }
                warnings[job.guid, default: []].append(warning)
            }
            return warnings
        }
    }

    static func results(
        of request: SnapshotRequest, by engine: any SnapshotEngine, for jobs: [Job], _ check: ChangeCheck,
        _ warnings: [UInt64: [String]]
    ) async -> [Daemon.AttemptResult] {
        func failure(_ error: SnapshotError) -> Daemon.AttemptResult.Outcome {
            .failed(operation: "snapshot", error.kind, error.description)
        }
        do throws(SnapshotError) {
            let taken = try await engine.snapshot(request)
            let finished = SystemClock.monotonic()
            var results: [Daemon.AttemptResult] = []
            for (job, result) in zip(jobs, taken) {
                let outcome: Daemon.AttemptResult.Outcome =
                    switch result.outcome {
                    case .success(let snapshot):
                        await isUnwanted(snapshot, of: job, check) ? .verdict(.unchanged(.stream)) : .snapshot(snapshot)
                    case .failure(let error): failure(error)
                    }
                results.append(
                    Daemon.AttemptResult(
                        guid: job.guid, serial: job.serial, outcome: outcome, warnings: warnings[job.guid] ?? [],
                        finished: finished))
            }
            return results
        } catch {
            let finished = SystemClock.monotonic()
            return jobs.map {
                Daemon.AttemptResult(guid: $0.guid, serial: $0.serial, outcome: failure(error), finished: finished)
            }
        }
    }

    /// Whether a snapshot that a check asked for turns out to hold nothing new. It is destroyed then; one that cannot be (somebody holds
    /// it already) stays.
    private static func isUnwanted(_ taken: TakenSnapshot, of job: Job, _ check: ChangeCheck) async -> Bool {
        guard let earlier = job.unlessEqualTo, !taken.dryRun else { return false }
        let name = "\(job.dataset)@\(taken.name.text)"
        guard await check.isEqual(name, to: earlier) else { return false }
        do throws(ZFSError) {
            try await check.command.run(["destroy", name])
            return true
        } catch {
            return false
        }
    }

    /// Whether the dataset differs from its newest snapshot. After the flush: stores to mappings are ZFS's by then.
    ///
    /// - Parameter isAudit: nothing was seen to change. Then what ZFS says to be no change is none, but that it says nothing
    ///   is what the audit doubts.
    static func verdict(_ check: ChangeCheck, of job: Job, isAudit: Bool) async -> Daemon.AttemptResult.Outcome {
        let groups = job.groups.now
        let isClean = job.groups.tell && !groups.isDirty
        if isClean, isAudit, groups.hasNoise { return .verdict(.unchanged(.noise)) }
        // Of the time before the first capture they know nothing.
        if isClean, !isAudit, groups.captured > 0, groups.noise <= groups.captured {
            return .verdict(.unchanged(.groups))
        }
        do throws(ZFSError) {
            // An idle pool is left idle: what its open group holds is for the next audit to find.
            let verdict = try await check.verdict(on: job.dataset, syncs: !(isAudit && isClean))
            if case .unchanged = verdict {
                // A rollback takes changes back; or they were captured before anybody watched.
                job.groups.slots.raiseCaptured(job.groups.slot, to: groups.dirty)
            } else if isAudit, job.groups.tell {
                let now = job.groups.now
                // It came while ZFS was asked.
                if !now.isDirty, now.hasNoise { return .verdict(.unchanged(.noise)) }
            }
            return .verdict(verdict)
        } catch {
            return .failed(operation: "check", error.kind, error.description)
        }
    }

    /// Whether an audit's difference comes of a snapshot of ours that somebody destroyed: then no probe missed anything.
    static func newestIsGone(
        _ outcome: Daemon.AttemptResult.Outcome, of job: Job, _ command: ZFSCommand
    ) async -> Bool {
        guard case .verdict(let verdict) = outcome, let last = job.lastTaken else { return false }
        if case .unchanged = verdict { return false }
        do throws(ZFSError) {
            _ = try await command.run(["list", "-H", "-o", "name", "\(job.dataset)@\(last)"])
            return false
        } catch {
            return error.kind == .datasetMissing
        }
    }
}
