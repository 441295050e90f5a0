import Glibc
import Testing

extension IntegrationTests {
    @Suite(
        "Each traced call makes one snapshot",
        .kairos(
            "a", "a/nested", "b", prepare: { fixture in try TracedCall.all.forEach { try $0.prepare(in: fixture) } })
    )
    struct TracedCallTests {
        @Test("of the right dataset among three, which holds the change", arguments: TracedCall.all)
        func oneSnapshot(call traced: TracedCall) async throws {
            let fixture = try Fixture.current()
            let kairos = try KairosTrait.current()
            let directory = fixture.path(traced.dataset) + "/" + traced.directory
            let file: CInt = if let flags = traced.opened { open(directory + "/file", flags | O_CLOEXEC) } else { -1 }
            var returned: Int?
            defer { for descriptor in [file, CInt(returned ?? -1)] where descriptor >= 0 { close(descriptor) } }
            let snapshot = try await kairos.onlySnapshot(of: traced.dataset, in: fixture) {
                returned = try traced.act(TracedCall.Site(directory: directory, descriptor: file))
            }
            #expect(snapshot.changes == [traced.kind: 1])
            // "check": a path of some other process of the host could not be resolved, so ZFS was asked just then.
            #expect(["quiet", "check"].contains(snapshot.trigger))
            #expect(snapshot.processes?.map(\.pid) == [getpid()])
            let tree = try await SnapshotReader(fixture: fixture).tree(of: snapshot.fullName, below: traced.directory)
            #expect(tree.entries == traced.expected)
        }
    }
}
