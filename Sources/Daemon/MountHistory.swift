import Datasets

/// Where mounts came and went of late. A path that a process used just before leads elsewhere now, and it need not be
/// missing for that: the directory below a mount that is gone is there all the same.
struct MountHistory {
    private struct Change {
        var point: [UInt8]
        /// When it was heard of, CLOCK_MONOTONIC nanoseconds: never before it was made.
        var heard: UInt64
    }

    private struct Mount: Hashable {
        var id: Int32
        var device: DeviceNumber
        var point: [UInt8]
    }

    /// No path takes longer to be resolved.
    private static let memory: UInt64 = 60_000_000_000
    private static let limit = 1024

    /// Oldest first.
    private var changes: [Change] = []
    /// When some were forgotten because there were too many: up to then everything changed.
    private var forgottenUpTo: UInt64 = 0

    mutating func note(from old: MountTable, to new: MountTable, heard: UInt64) {
        let points = Self.mounts(old).symmetricDifference(Self.mounts(new)).map(\.point)
        changes.removeAll { $0.heard + Self.memory < heard }
        changes += Set(points).map { Change(point: $0, heard: heard) }
        let excess = changes.count - Self.limit
        guard excess > 0 else { return }
        forgottenUpTo = changes[excess - 1].heard
        changes.removeFirst(excess)
    }

    private static func mounts(_ table: MountTable) -> Set<Mount> {
        Set(table.entries.map { Mount(id: $0.mountID, device: $0.device, point: $0.mountPoint) })
    }

    /// Whether a mount came or went at `path` or above it, at this time or later; with `orBelow`, below it too.
    func changed(since time: UInt64, at path: [UInt8], orBelow: Bool = false) -> Bool {
        time <= forgottenUpTo
            || changes.contains { change in
                change.heard >= time
                    && (Self.contains(change.point, path) || orBelow && Self.contains(path, change.point))
            }
    }

    private static func contains(_ directory: [UInt8], _ path: [UInt8]) -> Bool {
        let slash = UInt8(ascii: "/")
        return path.starts(with: directory)
            && (directory == [slash] || path.count == directory.count || path[directory.count] == slash)
    }
}
