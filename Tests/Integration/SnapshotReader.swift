import Datasets
import Glibc
import Synchronization

/// Reads what a snapshot holds.
///
/// zfs-fuse has no `.zfs` directory and mounts no snapshots, so a clone stands in for one, with either ZFS.
struct SnapshotReader {
    let fixture: Fixture

    private static let next = Mutex(0)

    /// Makes a clone for as long as `body` runs, and passes the path where it is mounted.
    func open<Value>(_ snapshot: String, _ body: (String) async throws -> Value) async throws -> Value {
        let number = Self.next.withLock { next in
            next += 1
            return next
        }
        let clone = "clone-\(number)"
        try await fixture.zfs("clone", snapshot, fixture.name(clone))
        let value: Value
        do {
            value = try await body(fixture.path(clone))
        } catch {
            try? await fixture.patiently("destroy", fixture.name(clone))
            throw error
        }
        try await fixture.patiently("destroy", fixture.name(clone))
        return value
    }

    /// The files in a snapshot, or those below one of its directories.
    func tree(of snapshot: String, below directory: String? = nil) async throws -> Tree {
        try await open(snapshot) { mountPoint in
            try Tree.read(directory.map { mountPoint + "/" + $0 } ?? mountPoint)
        }
    }
}
