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
        var properties: [SnapshotProperty]
    }

    /// Flushes on a thread that may block.
    static func flush(_ jobs: [Job], _ mounts: MountTable) async -> [UInt64: [String]] {
        guard jobs.contains(where: { !$0.mapped.isEmpty }) else { return [:] }
        return await WorkerThreads.shared.value {
            var warnings: [UInt64: [String]] = [:]
            for job in jobs {
                guard let mounted = job.mounted,
                    let warning = Flush.run(job.mapped, mount: mounted, mounts: mounts)
                else { continue }
                warnings[job.guid, default: []].append(warning)
            }
            return warnings
        }
    }

    static func results(
        of request: SnapshotRequest, by engine: any SnapshotEngine, for jobs: [Job], _ warnings: [UInt64: [String]]
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
                    guid: job.guid, serial: job.serial, outcome: outcome, warnings: warnings[job.guid] ?? [],
                    finished: finished)
            }
        } catch {
            let finished = SystemClock.monotonic()
            return jobs.map {
                Daemon.AttemptResult(guid: $0.guid, serial: $0.serial, outcome: failure(error), finished: finished)
            }
        }
    }

    static func verdict(_ check: ChangeCheck, on dataset: String) async -> Daemon.AttemptResult.Outcome {
        do throws(ZFSError) {
            return .verdict(try await check.verdict(on: dataset))
        } catch {
            return .failed(operation: "check", error.kind, error.description)
        }
    }
}
