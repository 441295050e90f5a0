import Datasets
import Glibc
import Scratch
import Subprocess
import Testing

extension IntegrationTests {
    @Suite("Clones")
    struct CloneTests {
        @Test(
            "a clone that equals its origin gets no snapshot, one that was changed does, and after a promotion all differ"
        )
        func clone() async throws {
            let fixture = try Fixture.current()
            let (origin, clone) = (fixture.name("cloned"), fixture.name("clone"))
            try await fixture.zfs("create", origin)
            do { try await live(fixture, origin, clone) } catch {
                // Which of them is the clone is open.
                for name in [clone, origin, clone] { try? await fixture.patiently("destroy", "-r", name) }
                throw error
            }
            try await fixture.patiently("destroy", "-r", origin)
            try await fixture.patiently("destroy", "-r", clone)
        }

        /// What the first look at a dataset leads to.
        private func firstLook(_ dataset: String) async throws -> KairosEvent {
            try await KairosProcess.run(["run", "--json"] + .prompt + [dataset]) { kairos in
                let first = try await kairos.event("the first look at \(dataset)") {
                    $0.dataset == dataset && ($0.event == "unchanged" || $0.event == "snapshot")
                }
                #expect(try await kairos.stop().status.isSuccess, "\(kairos.transcript)")
                return first
            }
        }

        private func live(_ fixture: Fixture, _ origin: String, _ clone: String) async throws {
            try write("content", to: fixture.path("cloned") + "/file")
            try await fixture.zfs("snapshot", origin + "@origin")
            try await fixture.zfs("clone", origin + "@origin", clone)
            #expect(try await firstLook(clone).event == "unchanged")
            #expect(try await fixture.snapshots(of: "clone").isEmpty)
            // A change of the origin's dataset is none of the clone.
            try write("more", to: fixture.path("cloned") + "/file")
            #expect(try await firstLook(clone).event == "unchanged")
            try call("fchmodat", .here, .text(fixture.path("clone") + "/file"), 0o600)
            let first = try await firstLook(clone)
            #expect(first.event == "snapshot" && first.trigger == "start", "\(first)")
            #expect(try await firstLook(clone).event == "unchanged")
            try await fixture.zfs("promote", clone)
            try write("new", to: fixture.path("clone") + "/new")
            #expect(try await firstLook(clone).event == "snapshot")
            let names = try await fixture.snapshots(of: "clone")
            #expect(names.count == 3 && names.contains("origin"), "\(names)")
        }
    }
}
