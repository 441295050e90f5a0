import Daemon
import Tracing

/// What a step waits for: its changes told, and then a snapshot after which nothing of its dataset is at risk.
struct Awaited: Sendable {
    /// In full, as the daemon tells it.
    let dataset: String
    /// Those not seen yet.
    private(set) var changes: Set<ExpectedChange>
    /// The newest snapshot that was taken when all of them had been seen.
    private(set) var snapshot: String?
    private var isAtRest = false

    init(_ changes: Set<ExpectedChange>, dataset: String) {
        self.changes = changes
        self.dataset = dataset
    }

    var isDone: Bool { changes.isEmpty && snapshot != nil && isAtRest }

    /// What is missing, for people.
    var missing: String {
        changes.isEmpty ? "the snapshot of \(dataset)" : changes.map(\.description).sorted().joined(separator: ", ")
    }

    mutating func take(_ event: DaemonEvent) {
        switch event {
        case .change(let report) where report.dataset == dataset:
            guard let path = report.paths.last else { return }
            changes.remove(ExpectedChange(report.record.operation, String(decoding: path, as: UTF8.self)))
        case .snapshot(let report) where report.dataset == dataset:
            // A step that was interrupted for longer than the quiet time is in two snapshots.
            guard changes.isEmpty else { return }
            snapshot = report.name
            // A status follows each snapshot, and tells whether that was all.
            isAtRest = false
        case .status(let status):
            isAtRest = !status.atRisk.contains(dataset) && !status.busy.contains(dataset)
        default: break
        }
    }
}
