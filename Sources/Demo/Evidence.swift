import Datasets

/// What was read back after all was done.
struct Evidence: Sendable {
    /// What one snapshot holds.
    struct Content: Sendable {
        /// The part after `@`.
        var snapshot: String
        var files: [String: [UInt8]]
    }

    /// Each dataset's snapshots, the oldest first.
    var snapshots: [String: [Content]] = [:]
    /// Each dataset's files as they are.
    var live: [String: [String: [UInt8]]] = [:]

    /// Whether the snapshot that was taken after it has this version.
    func holds(_ version: Version) -> Bool {
        snapshots[version.dataset, default: []].contains {
            $0.snapshot == version.snapshot && $0.files[version.file] == Array(version.content.utf8)
        }
    }

    /// Everything that is not as the demo claims, a line each.
    ///
    /// - Parameter reported: the snapshots that the daemon told of, by dataset, in their order.
    func problems(versions: [Version], reported: [String: [String]]) -> [String] {
        var problems = versions.filter { !holds($0) }.map {
            "\($0.dataset)/\($0.file): the version '\(SafeText.line($0.content))' is not in the snapshot after it, "
                + ($0.snapshot ?? "of which there is none")
        }
        for (dataset, files) in live.sorted(by: { $0.key < $1.key }) {
            let contents = snapshots[dataset, default: []]
            if contents.last?.files != files {
                problems.append("\(dataset): the newest snapshot differs from the files")
            }
            for (before, after) in zip(contents, contents.dropFirst()) where before.files == after.files {
                problems.append("\(dataset)@\(after.snapshot) holds nothing that the one before it lacks")
            }
            if contents.map(\.snapshot) != reported[dataset, default: []] {
                problems.append("\(dataset): the pool's snapshots are not those that Kairos reported")
            }
        }
        return problems
    }
}
