import CTestSupport
import Synchronization
import Testing

extension IntegrationTests {
    @Suite(
        "A change is told of the dataset that it is in",
        .kairos("a", "a/nested", "b", "c", "sp ace", prepare: { fixture in try PathCase.prepare(in: fixture) })
    )
    struct PathTests {
        /// Snapshots without detail: only transaction groups reported the change.
        private static let unreported = Atomic(0)

        @Test("however the file is named", arguments: PathCase.all)
        func path(_ named: PathCase) async throws {
            let fixture = try Fixture.current()
            let paths = PathCase.Paths(fixture: fixture)
            if named.isBound {
                try #require(support_bind(paths.directory("b"), paths.outside + "/bind") == 0)
            }
            defer { if named.isBound { _ = support_unmount(paths.outside + "/bind") } }
            // The mount has to be heard of before the call: what was called before counts as unresolved.
            if named.isBound { try await KairosTrait.current().rest(in: fixture) }
            let snapshot = try await KairosTrait.current().onlySnapshot(of: named.dataset, in: fixture) {
                try named.act(paths)
            }
            if let kind = named.kind {
                if snapshot.calls == 0, OpenZFS.isInKernel {
                    // On a slow machine the quiet time can pass after ZFS dirtied its transaction group and before the call
                    // returns to the probe. More than two such cases in a run are a failure.
                    #expect(Self.unreported.add(1, ordering: .relaxed).newValue <= 2, "\(snapshot)")
                } else {
                    #expect(snapshot.changes?[kind] == 1, "\(snapshot)")
                }
            }
            let tree = try await SnapshotReader(fixture: fixture).tree(of: snapshot.fullName, below: "paths")
            for (path, entry) in named.expected { #expect(tree[path] == entry, "\(path)") }
        }
    }
}
