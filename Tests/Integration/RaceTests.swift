import CTestSupport
import Glibc
import Scratch
import Testing

extension IntegrationTests {
    /// A path is resolved some milliseconds after the call, by what is there then. These make that something else.
    @Suite("A path that leads elsewhere by the time it is resolved", .kairos("a", "b"))
    struct RaceTests {
        private func bind(_ from: String, to: String) throws {
            try makeDirectory(to)
            try #require(support_bind(from, to) == 0)
        }

        /// Waits for a snapshot of the dataset that holds the directory, whatever else is snapshotted.
        private func expectCaptured(
            _ path: String, in dataset: String, _ fixture: Fixture, after change: (Fixture) throws -> Void
        ) async throws {
            let kairos = try KairosTrait.current()
            let start = kairos.claim().start
            try change(fixture)
            // One that was under way already does not hold it yet.
            var next = start
            var isCaptured = false
            while !isCaptured {
                let seen = next
                let snapshot = try await kairos.event("a snapshot of \(dataset) with \(path)", from: seen) {
                    $0.event == "snapshot" && $0.dataset == fixture.name(dataset)
                }
                next = try #require(kairos.events.dropFirst(seen).firstIndex { $0.snapshot == snapshot.snapshot }) + 1
                let tree = try await SnapshotReader(fixture: fixture).tree(of: snapshot.fullName)
                isCaptured = tree[path] == .directory
            }
            try await kairos.rest(in: fixture)
        }

        @Test("a mount that is gone")
        func unmounted() async throws {
            let fixture = try Fixture.current()
            try makeDirectory(fixture.path("b") + "/race/shown")
            let place = fixture.pool.directory + "/shown"
            try bind(fixture.path("b") + "/race/shown", to: place)
            try await KairosTrait.current().rest(in: fixture)
            try await expectCaptured("race/shown/made", in: "b", fixture) { _ in
                try call("mkdirat", .here, .text(place + "/made"), 0o755)
                _ = support_unmount(place)
            }
        }

        @Test("a mount that came over it")
        func covered() async throws {
            let fixture = try Fixture.current()
            let place = fixture.path("a") + "/race/covered"
            try makeDirectory(place)
            try makeDirectory(fixture.pool.directory + "/cover")
            try await KairosTrait.current().rest(in: fixture)
            defer { _ = support_unmount(place) }
            try await expectCaptured("race/covered/made", in: "a", fixture) { fixture in
                try call("mkdirat", .here, .text(place + "/made"), 0o755)
                try #require(support_bind(fixture.pool.directory + "/cover", place) == 0)
            }
        }
    }
}
