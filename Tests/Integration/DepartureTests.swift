import Datasets
import Glibc
import Scratch
import Subprocess
import SystemPackage
import Testing

extension IntegrationTests {
    @Suite("Datasets and pools that go away")
    struct DepartureTests {
        /// Times so long that nothing is snapshotted before it goes away.
        private let patient = ["--quiet", "1h", "--max-delay", "2h", "--audit", "off"]

        /// A pool of its own, so that it can be exported.
        private func withPool<Value>(
            _ body: (_ pool: String, _ mountPoint: String, _ directory: String) async throws -> Value
        ) async throws -> Value {
            let pool = try await ScratchPool(purpose: "export", datasets: [], size: 128 << 20)
            do {
                let value = try await body(pool.name, pool.mountPoint, pool.directory)
                await remove(pool)
                return value
            } catch {
                await remove(pool)
                throw error
            }
        }

        private func remove(_ pool: ScratchPool) async {
            for line in await pool.destroy() { Issue.record("a test pool stays behind: \(line)") }
        }

        private func export(_ pool: String, _ fixture: Fixture) async {
            #expect(
                await wait(for: KairosProcess.patience) {
                    (try? await fixture.pool.command.runPool(["export", pool])) != nil
                })
        }

        @Test("a pool that is exported before its changes are in a snapshot is reported, and the exit status tells")
        func exported() async throws {
            let fixture = try Fixture.current()
            try await withPool { pool, mountPoint, directory in
                try await KairosProcess.run(["run", "--json"] + patient + [pool, fixture.name("a")]) { kairos in
                    try await kairos.event("ready") { $0.event == "ready" }
                    try write("at risk", to: mountPoint + "/file")
                    try await kairos.event("at risk") { $0.event == "status" || $0.event == "ready" }
                    let start = kairos.events.count
                    await export(pool, fixture)
                    let warning = try await kairos.event("a warning", from: start) {
                        $0.event == "warning" && $0.text?.contains(pool) == true
                    }
                    #expect(warning.text?.contains("in no snapshot") == true, "\(warning.text ?? "")")
                    #expect(warning.text?.contains("import") == true, "\(warning.text ?? "")")
                    let (status, summary) = try await kairos.stop()
                    #expect(status == .exited(1), "\(kairos.transcript)")
                    #expect(summary?.leftAtRisk == [pool])
                }
                try await fixture.pool.command.runPool(["import", "-d", directory, pool])
            }
        }

        @Test("... and is captured when it comes back")
        func comesBack() async throws {
            let fixture = try Fixture.current()
            try await withPool { pool, mountPoint, directory in
                let options = ["--quiet", "1500ms", "--max-delay", "1h", "--audit", "off"]
                try await KairosProcess.run(["run", "--json"] + options + [pool, fixture.name("a")]) { kairos in
                    try await kairos.event("ready") { $0.event == "ready" }
                    try await kairos.event("a look") { $0.dataset == pool && $0.event != "failure" }
                    try await Task.sleep(for: .milliseconds(50))
                    try write("at risk", to: mountPoint + "/file")
                    let start = kairos.events.count
                    await export(pool, fixture)
                    try await kairos.event("a warning", from: start) {
                        $0.event == "warning" && $0.text?.contains("in no snapshot") == true
                    }
                    try await fixture.pool.command.runPool(["import", "-d", directory, pool])
                    let snapshot = try await kairos.event("a snapshot", from: start) {
                        $0.event == "snapshot" && $0.dataset == pool
                    }
                    #expect(snapshot.trigger == "start", "\(kairos.transcript)")
                    let (status, summary) = try await kairos.stop()
                    #expect(status.isSuccess, "\(kairos.transcript)")
                    #expect(summary?.leftAtRisk == [])
                }
            }
        }

        @Test("a dataset that is destroyed and made anew leaves no ghost, and no alarm")
        func madeAnew() async throws {
            let fixture = try Fixture.current()
            let name = fixture.name("phoenix")
            try await fixture.zfs("create", name)
            let options = ["--quiet", "100ms", "--min-interval", "50ms", "--audit", "off"]
            try await KairosProcess.run(["run", "-r", "--json"] + options + [fixture.pool.name]) { kairos in
                try await kairos.event("a look") { $0.dataset == name && $0.event != "failure" }
                try await Task.sleep(for: .milliseconds(50))
                try write("old", to: fixture.path("phoenix") + "/old")
                try await kairos.event("a snapshot") { $0.event == "snapshot" && $0.paths == ["old"] }
                let start = kairos.events.count
                try await fixture.patiently("destroy", "-r", name)
                try await fixture.zfs("create", name)
                try await kairos.event("it goes", from: start) { $0.text?.hasPrefix("\(name) is gone") == true }
                try await kairos.event("it comes", from: start) { $0.text == "watching \(name)" }
                try await kairos.event("a look", from: start) { $0.dataset == name && $0.event == "snapshot" }
                try await Task.sleep(for: .milliseconds(50))
                try write("new", to: fixture.path("phoenix") + "/new")
                try await kairos.event("a snapshot", from: start) { $0.event == "snapshot" && $0.paths == ["new"] }
                let texts = kairos.events.dropFirst(start).compactMap(\.text)
                #expect(!texts.contains { $0.contains("nothing else has what was in it") }, "\(kairos.transcript)")
                #expect(!kairos.events.dropFirst(start).contains { $0.event == "failure" }, "\(kairos.transcript)")
                let (status, summary) = try await kairos.stop()
                #expect(status.isSuccess, "\(kairos.transcript)")
                #expect(summary?.failures == 0)
            }
        }

        @Test("a dataset that is renamed before its snapshot is no failure")
        func renamed() async throws {
            let fixture = try Fixture.current()
            let old = fixture.name("before")
            try await fixture.zfs("create", old)
            let options = ["--quiet", "400ms", "--min-interval", "50ms", "--audit", "off"]
            try await KairosProcess.run(["run", "--json"] + options + [old, fixture.name("a")]) { kairos in
                try await kairos.event("a look") { $0.dataset == old && $0.event != "failure" }
                try await Task.sleep(for: .milliseconds(50))
                try await rename("before", to: "after", fixture, kairos)
                try await rename("after", to: "before", fixture, kairos)
                try await rename("before", to: "after", fixture, kairos)
                #expect(!kairos.events.contains { $0.event == "failure" }, "\(kairos.transcript)")
                let (status, summary) = try await kairos.stop()
                #expect(status.isSuccess)
                #expect(summary?.failures == 0, "\(kairos.transcript)")
            }
        }

        /// Changes a dataset, renames it within the quiet time, and waits for the snapshot under the new name.
        private func rename(_ old: String, to new: String, _ fixture: Fixture, _ kairos: KairosProcess) async throws {
            let start = kairos.events.count
            try write("text", to: fixture.path(old) + "/before " + new)
            // By hand: zfs-fuse unmounts a dataset to rename it, and then mostly finds it busy all the same.
            try await fixture.patiently("unmount", fixture.name(old))
            try await fixture.patiently("rename", fixture.name(old), fixture.name(new))
            try await fixture.zfs("mount", fixture.name(new))
            let name = fixture.name(new)
            try await kairos.event("a snapshot", from: start) { $0.event == "snapshot" && $0.dataset == name }
        }
    }
}
