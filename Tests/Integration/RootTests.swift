import Glibc
import Scratch
import Testing

extension IntegrationTests {
    /// The process's root is dataset a; what its paths would mean from the host's root is in dataset b.
    @Suite("A relative path of a process with another root", .kairos("a", "b", options: .prompt))
    struct RootTests {
        private func expectOnlyA(
            _ path: String, holds made: String, _ fixture: Fixture, prepare: () throws -> Void
        ) async throws {
            let kairos = try KairosTrait.current()
            _ = try await kairos.snapshots(of: ["a", "b"], in: fixture, after: prepare)
            try await kairos.rest(in: fixture)
            let snapshot = try await kairos.onlySnapshot(of: "a", in: fixture) {
                try call(
                    "mkdirat", .here, .text(path), 0o755, from: Place(root: fixture.path("a"), directory: "/root"))
            }
            let tree = try await SnapshotReader(fixture: fixture).tree(of: snapshot.fullName)
            #expect(tree[made] == .directory, "\(kairos.transcript)")
        }

        @Test(".. stops at its root")
        func dotDot() async throws {
            let fixture = try Fixture.current()
            try await expectOnlyA("../../b/root/made", holds: "b/root/made", fixture) {
                for dataset in ["a", "b"] { try makeDirectory(fixture.path(dataset) + "/root") }
                try makeDirectory(fixture.path("a") + "/b/root")
            }
        }

        @Test("an absolute symbolic link counts from its root")
        func link() async throws {
            let fixture = try Fixture.current()
            let target = fixture.path("b") + "/target"
            try await expectOnlyA("link/made", holds: String((target + "/made").dropFirst()), fixture) {
                for directory in [fixture.path("a") + "/root", target, fixture.path("a") + target] {
                    try makeDirectory(directory)
                }
                try call("symlinkat", .text(target), .here, .text(fixture.path("a") + "/root/link"))
            }
        }
    }
}
