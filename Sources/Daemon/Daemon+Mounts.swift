import Datasets

extension Daemon {
    /// Warns once of each mount that has the name of a watched dataset and is not taken for it. Where ZFS's own mount
    /// cannot be told, the dataset counts as not mounted: no probe sees its changes, audits find them.
    func reportRejectedMounts() {
        guard !mounts.rejected.isEmpty else { return }
        for problem in mounts.problems(of: Set(watched.values.map(\.info.name))) where told.isNew(problem.key) {
            report(.warning(problem.text))
        }
    }
}
