import Datasets

/// Snapshots to take at one moment, all of one name.
public struct SnapshotRequest: Hashable, Sendable {
    /// One dataset and what its snapshot is to carry.
    public struct Item: Hashable, Sendable {
        /// The dataset's name.
        public var dataset: String
        /// User properties of its snapshot.
        public var properties: [SnapshotProperty]

        /// An item with both parts.
        public init(dataset: String, properties: [SnapshotProperty] = []) {
            self.dataset = dataset
            self.properties = properties
        }
    }

    /// The datasets. Those of one pool are snapshotted in one atomic step where ZFS can.
    public var items: [Item]
    /// The name; an engine takes a later one when it is taken.
    public var name: SnapshotName

    /// A request for these datasets.
    public init(items: [Item], name: SnapshotName) {
        self.items = items
        self.name = name
    }
}

/// Why a dataset has no snapshot.
public enum SnapshotError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The dataset's name is not legal, or too long for the snapshot's beside it; a printable line.
    case invalidName(dataset: String, String)
    /// The request names the dataset twice: a call of OpenZFS refuses both.
    case duplicate(dataset: String)
    /// This name and so many after it are taken: something else makes names of this form.
    case namesTaken(dataset: String, first: SnapshotName, tries: Int)
    /// The command failed.
    case command(ZFSError)

    /// The failure and its remedy in one printable line.
    public var description: String {
        switch self {
        case .invalidName(_, let words): words
        case .duplicate(let dataset): "\(SafeText.line(dataset)) is in the request twice; name each dataset once"
        case .namesTaken(let dataset, let first, let tries):
            "\(SafeText.line(dataset)) has snapshots @\(first) and the \(tries - 1) names after it already; is another"
                + " Kairos running, or the clock set back?"
        case .command(let error): error.description
        }
    }
}

/// A snapshot that was taken.
public struct TakenSnapshot: Hashable, Sendable {
    /// Its name after `@`: the one that was asked for, or a later one.
    public var name: SnapshotName
    /// How long the call that took it ran, attempts that failed before it left out.
    public var duration: Duration
    /// How many datasets that call snapshotted, in one transaction group.
    public var groupSize: Int
    /// What went wrong with its properties: the snapshot is good, what is written on it is not complete.
    public var warnings: [ZFSError]
    /// Whether this was only a rehearsal.
    public var dryRun: Bool

    /// A snapshot with all its parts.
    public init(
        name: SnapshotName, duration: Duration, groupSize: Int = 1, warnings: [ZFSError] = [], dryRun: Bool = false
    ) {
        self.name = name
        self.duration = duration
        self.groupSize = groupSize
        self.warnings = warnings
        self.dryRun = dryRun
    }
}

/// What became of one item of a request.
public struct SnapshotResult: Hashable, Sendable {
    /// The dataset.
    public let dataset: String
    /// Its snapshot, or why there is none.
    public let outcome: Result<TakenSnapshot, SnapshotError>

    /// A result with both parts.
    public init(dataset: String, outcome: Result<TakenSnapshot, SnapshotError>) {
        self.dataset = dataset
        self.outcome = outcome
    }
}

/// Takes snapshots.
public protocol SnapshotEngine: Sendable {
    /// For messages and statistics, such as `zfs command`.
    var name: String { get }

    /// Takes the snapshots of a request.
    ///
    /// - Returns: a result for each item, in the request's order. Some may have failed and others not.
    /// - Throws: when nothing was tried, nor would be for any other request: there is no command to run.
    func snapshot(_ request: SnapshotRequest) async throws(SnapshotError) -> [SnapshotResult]
}

/// Takes no snapshots, and reports all as taken.
public struct DryRunEngine: SnapshotEngine {
    /// `dry run`.
    public var name: String { "dry run" }

    /// An engine that does nothing.
    public init() {}

    /// Reports a snapshot for each item whose name is legal; items that a real engine would refuse are refused.
    public func snapshot(_ request: SnapshotRequest) async -> [SnapshotResult] {
        var seen: Set<String> = []
        return request.items.map { item in
            let outcome: Result<TakenSnapshot, SnapshotError>
            if let error = item.fault(named: request.name, seen: &seen) {
                outcome = .failure(error)
            } else {
                outcome = .success(TakenSnapshot(name: request.name, duration: .zero, dryRun: true))
            }
            return SnapshotResult(dataset: item.dataset, outcome: outcome)
        }
    }
}

extension SnapshotRequest.Item {
    /// Why no command has to be run to know that this item fails, or nil.
    func fault(named name: SnapshotName, seen: inout Set<String>) -> SnapshotError? {
        if let fault = DatasetName.fault(in: dataset) {
            let shown = SafeText.line(dataset, limit: DatasetName.longest)
            return .invalidName(dataset: dataset, "cannot snapshot '\(shown)': the name \(fault)")
        }
        guard name.full(dataset: dataset) != nil else {
            let length = dataset.utf8.count + 1 + name.text.utf8.count
            return .invalidName(
                dataset: dataset,
                "cannot snapshot '\(dataset)': with '@\(name)' the name is \(length) bytes long and"
                    + " \(DatasetName.longest) are allowed; use a shorter prefix, or rename the dataset"
            )
        }
        return seen.insert(dataset).inserted ? nil : .duplicate(dataset: dataset)
    }
}
