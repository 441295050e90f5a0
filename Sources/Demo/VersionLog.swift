/// One content of one file, for as long as the workload left it there.
struct Version: Hashable, Sendable {
    /// Below the pool: `docs`.
    var dataset: String
    var file: String
    var content: String
    /// CLOCK_MONOTONIC nanoseconds.
    var from: UInt64
    /// When it was overwritten, renamed or deleted; nil: it is there still.
    var to: UInt64?
    /// The snapshot that followed, the part after `@`: it has to hold this version.
    var snapshot: String?

    func exists(at time: UInt64) -> Bool { from <= time && to.map { time < $0 } ?? true }
}

/// The versions of all files, told by the workload itself.
struct VersionLog: Sendable {
    private(set) var versions: [Version] = []

    /// Takes in what one step left behind.
    mutating func add(_ notes: [WorkloadNote], dataset: String) {
        for note in notes {
            for index in versions.indices
            where versions[index].dataset == dataset && versions[index].file == note.file && versions[index].to == nil {
                versions[index].to = note.time
            }
            guard let content = note.content else { continue }
            versions.append(Version(dataset: dataset, file: note.file, content: content, from: note.time))
        }
    }

    /// The snapshot that was taken after the last step in this dataset.
    mutating func captured(dataset: String, by snapshot: String) {
        for index in versions.indices
        where versions[index].dataset == dataset && versions[index].to == nil && versions[index].snapshot == nil {
            versions[index].snapshot = snapshot
        }
    }

    /// What a job at fixed times could have had of it: its one tick at the best of all moments.
    ///
    /// The number of versions that exist at once only grows when one comes into being, so one of these moments is best.
    func bestTick() -> (time: UInt64, versions: Int) {
        var best: (time: UInt64, versions: Int) = (0, 0)
        for moment in versions.map(\.from) {
            let count = versions.count { $0.exists(at: moment) }
            if count > best.versions { best = (moment, count) }
        }
        return best
    }
}
