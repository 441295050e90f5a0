import CTestSupport
import Glibc
import Testing

extension IntegrationTests {
    @Suite("The audit", .kairos("a", "b", options: .prompt + ["--probes", "syscalls", "--audit", "1s"]))
    struct AuditTests {
        /// Makes changes that no probe sees until an audit is the first to find one: a check of paths of other processes that
        /// could not be resolved, some of them of tests that run beside this one, finds it too, and says so.
        ///
        /// - Returns: the number of events before the change that the audit found.
        private func missed(
            _ dataset: String, _ fixture: Fixture, _ kairos: KairosProcess, change: () throws -> Void
        ) async throws -> Int {
            let name = fixture.name(dataset)
            for _ in 0..<60 {
                let start = kairos.claim().start
                try change()
                let snapshot = try await kairos.event("its snapshot", from: start) {
                    $0.event == "snapshot" && $0.dataset == name
                }
                guard snapshot.trigger == "audit" else { continue }
                let told = kairos.events.dropFirst(start)
                #expect(told.contains { $0.event == "missed" && $0.dataset == name }, "\(kairos.transcript)")
                return start
            }
            throw KairosError(description: "each change was found by a check\n\(kairos.transcript)")
        }

        @Test("what no probe saw is snapshotted, and told as missed, once")
        func missed() async throws {
            let fixture = try Fixture.current()
            let kairos = try KairosTrait.current()
            let path = fixture.path("a") + "/unseen"
            _ = try await kairos.onlySnapshot(of: "a", in: fixture) { try write("content", to: path) }
            let start = try await missed("a", fixture, kairos) {
                // The kernel's own writes, which docs/design.md names as not seen by this set.
                let result = support_account(path)
                try #require(result == 0, "acct: \(result)")
            }
            // Two audits more: what was found is found no more, and a dataset that nobody touched was not missed.
            try await Task.sleep(for: .seconds(3))
            let told = Array(kairos.events.dropFirst(start))
            _ = kairos.claim()
            #expect(told.filter { $0.event == "missed" }.map(\.dataset) == [fixture.name("a")], "\(kairos.transcript)")
            #expect(told.filter { $0.event == "snapshot" }.map(\.trigger) == ["audit"], "\(kairos.transcript)")
        }

        @Test("also where our newest snapshot is gone, but somebody's newer one holds what it held")
        func missedAfterAnothers() async throws {
            let fixture = try Fixture.current()
            let kairos = try KairosTrait.current()
            let path = fixture.path("b") + "/unseen"
            let snapshot = try await kairos.onlySnapshot(of: "b", in: fixture) { try write("content", to: path) }
            try await fixture.zfs("snapshot", fixture.name("b@by-hand"))
            try await fixture.patiently("destroy", snapshot.fullName)
            let start = kairos.claim().start
            try #require(support_account(path) == 0)
            try await kairos.event("word of the change", from: start) {
                $0.event == "missed" && $0.dataset == fixture.name("b")
            }
            let another = try await kairos.event("its snapshot", from: start) {
                $0.event == "snapshot" && $0.dataset == fixture.name("b")
            }
            #expect(another.trigger == "audit")
            _ = kairos.claim()
        }
    }
}
