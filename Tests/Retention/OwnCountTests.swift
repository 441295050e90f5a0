import TestSupport
import Testing

@testable import Retention

@Suite("The number of snapshots that pruning can reduce")
struct OwnCountTests {
    private let names = (0..<5).map { "tank/a@kairos-2026-11-22T09.05.0\($0).123Z" }

    private func fake() throws -> FakeZFS {
        let zfs = try FakeZFS()
        let sources = ["local", "received", "-", "inherited from tank/a", "local"]
        let rows =
            zip(names, sources).map { "\($0)\t\($1)\n" }.joined()
            + "tank/a\tlocal\ntank/a/b@kairos-2026-11-22T09.05.00.123Z\tlocal\ntank/a@daily\tlocal\n"
        try zfs.write("rows", rows)
        return zfs
    }

    @Test("only those whose trigger was set on them here count")
    func own() async throws {
        let zfs = try fake()
        try zfs.answer("cat $dir/rows")
        #expect(try await SnapshotCatalog(zfs.command()).ownCount(of: "tank/a") == 2)
        #expect(try zfs.calls().count == 1)
    }

    @Test("zfs-fuse, which knows no -t, is asked without it")
    func withoutTypes() async throws {
        let zfs = try fake()
        try zfs.answer(
            "case \"$*\" in *-t*) echo \"invalid option 't'\" >&2; echo usage: >&2; exit 2;; *) cat $dir/rows;; esac")
        #expect(try await SnapshotCatalog(zfs.command()).ownCount(of: "tank/a") == 2)
        #expect(try zfs.calls().last?.contains("-t") == false)
    }
}
