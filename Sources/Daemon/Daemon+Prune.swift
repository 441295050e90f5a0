import Background
import Datasets
import Policy
import Retention
import Tracing

/// What became of one round of thinning.
struct PruneResult: Sendable {
    var datasets: [(retention: DatasetRetention, outcome: Pruner.Outcome)] = []
    var failures: [(dataset: String, why: String)] = []
}

extension Daemon {
    /// Destroys what no rule keeps, beside everything else: a snapshot that is due meanwhile is not held up.
    func pruneIfDue(_ now: UInt64) {
        guard let at = nextPrune, let interval = configuration.prune, now >= at, !isPruning, !isStopping else { return }
        nextPrune = Instant(nanoseconds: now).advanced(by: interval).nanoseconds
        isPruning = true
        let infos = watched.values.map(\.info).sorted { $0.name < $1.name }
        let wall = SystemClock.wall(at: now)
        let (command, prefix, inbox) = (command, configuration.prefix, inbox)
        WorkerThreads.shared.task {
            let survey = await DatasetRetention.plans(
                for: infos, prefix: prefix, command: command, now: wall.seconds * 1_000_000_000 + wall.nanoseconds)
            var result = PruneResult(failures: survey.failures)
            for retention in survey.plans {
                let doomed = retention.plan.doomed.map(\.name)
                guard !doomed.isEmpty else { continue }
                let outcome = await Pruner(command).destroy(doomed, of: retention.dataset)
                result.datasets.append((retention, outcome))
            }
            inbox.post(.pruned(result))
        }
    }

    func take(_ result: PruneResult) {
        isPruning = false
        for (dataset, why) in result.failures {
            let line = "\(dataset): not pruned: \(why)"
            if told.isNew(line) { report(.warning(line)) }
        }
        for (retention, outcome) in result.datasets {
            for error in outcome.errors {
                let line = "\(retention.dataset): not pruned: \(error)"
                if told.isNew(line) { report(.warning(line)) }
            }
            summary.pruned += UInt64(outcome.destroyed.count)
            guard !outcome.destroyed.isEmpty else { continue }
            report(
                .pruned(
                    DaemonEvent.PruneReport(
                        dataset: retention.dataset, rule: retention.rule.description,
                        destroyed: outcome.destroyed.count, busy: outcome.busy.count)))
        }
    }
}
