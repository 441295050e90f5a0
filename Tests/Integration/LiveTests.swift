import Datasets
import Glibc
import Scratch
import Subprocess
import Testing

extension IntegrationTests {
    @Suite("Datasets and properties are followed as they change")
    struct LiveTests {
        /// Runs `kairos run` on what has `kairos:enabled=on`: the dataset `live`, what is below it, and the sentinel.
        private func withKairos(
            properties: [String: String] = ["kairos:quiet": "100ms", "kairos:min-interval": "50ms"],
            children: [String] = [], waits: Bool = true, _ body: (Fixture, KairosProcess) async throws -> Void
        ) async throws {
            let fixture = try Fixture.current()
            let all = properties.merging(["kairos:enabled": "on"]) { $1 }
            var failure: (any Error)?
            do {
                for (property, value) in all {
                    try await fixture.zfs("set", "\(property)=\(value)", fixture.sentinel)
                }
                let options = all.flatMap { ["-o", "\($0.key)=\($0.value)"] }
                try await fixture.pool.command.run(["create"] + options + [fixture.name("live")])
                for child in children { try await fixture.zfs("create", fixture.name("live/" + child)) }
                try await KairosProcess.run(["run", "--json"]) { kairos in
                    if waits {
                        try await kairos.ready()
                    } else {
                        try await kairos.event("ready") { $0.event == "ready" }
                    }
                    try await body(fixture, kairos)
                    let (status, summary) = try await kairos.stop()
                    #expect(status.isSuccess, "\(kairos.transcript)")
                    #expect(summary?.leftAtRisk == [])
                }
            } catch {
                failure = error
            }
            for property in all.keys { try await fixture.zfs("inherit", property, fixture.sentinel) }
            try await fixture.patiently("destroy", "-r", fixture.name("live"))
            if let failure { throw failure }
        }

        private func notice(_ words: String, from kairos: KairosProcess, after start: Int) async throws {
            try await kairos.event("notice: \(words)", from: start) {
                $0.event == "notice" && $0.text?.contains(words) == true
            }
        }

        /// Changes a file and expects one snapshot, which holds it.
        private func expectSnapshot(
            of dataset: String, _ text: String, in fixture: Fixture, _ kairos: KairosProcess,
            sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            let snapshot = try await kairos.onlySnapshot(
                of: dataset, in: fixture,
                after: { try create(text, in: fixture.path(dataset)) }, sourceLocation: sourceLocation)
            let tree = try await SnapshotReader(fixture: fixture).tree(of: snapshot.fullName)
            #expect(tree[text] == .directory, sourceLocation: sourceLocation)
        }

        /// One call, so that it cannot be cut in two by a snapshot.
        private func create(_ name: String, in directory: String) throws {
            try call("mkdirat", .here, .text(directory + "/" + name), 0o755)
        }

        @Test("a dataset created below an enabled one")
        func created() async throws {
            try await withKairos { fixture, kairos in
                let start = kairos.events.count
                try await fixture.zfs("create", fixture.name("live/new"))
                try await notice("watching \(fixture.name("live/new"))", from: kairos, after: start)
                try await kairos.settled(fixture.name("live/new"), from: start)
                try await kairos.rest(in: fixture)
                try await expectSnapshot(of: "live/new", "made", in: fixture, kairos)
                try await expectSnapshot(of: "live", "made", in: fixture, kairos)
            }
        }

        @Test("a dataset changed as soon as it was created")
        func createdAndChanged() async throws {
            try await withKairos { fixture, kairos in
                let start = kairos.events.count
                try await fixture.zfs("create", fixture.name("live/new"))
                try create("early", in: fixture.path("live/new"))
                let snapshot = try await kairos.event("a snapshot", from: start) {
                    $0.event == "snapshot" && $0.dataset == fixture.name("live/new")
                }
                _ = kairos.claim()
                let tree = try await SnapshotReader(fixture: fixture).tree(of: snapshot.fullName)
                #expect(tree["early"] == .directory)
            }
        }

        @Test("a dataset that is renamed")
        func renamed() async throws {
            try await withKairos(children: ["old"]) { fixture, kairos in
                try await expectSnapshot(of: "live/old", "before", in: fixture, kairos)
                let start = kairos.events.count
                // By hand: zfs-fuse unmounts a dataset to rename it, and then mostly finds it busy all the same.
                try await fixture.patiently("unmount", fixture.name("live/old"))
                try await fixture.patiently("rename", fixture.name("live/old"), fixture.name("live/renamed"))
                try await fixture.zfs("mount", fixture.name("live/renamed"))
                try await notice("is called \(fixture.name("live/renamed")) now", from: kairos, after: start)
                // It has been mounted anew, so it is compared with its newest snapshot: nothing changed.
                try await kairos.event("a look at it", from: start) {
                    $0.event == "unchanged" && $0.dataset == fixture.name("live/renamed")
                }
                // Mount points are directories of the dataset above: one went and one came.
                try await kairos.rest(in: fixture)
                try await expectSnapshot(of: "live/renamed", "after", in: fixture, kairos)
            }
        }

        @Test("a dataset that is destroyed, while others go on")
        func destroyed() async throws {
            try await withKairos(children: ["doomed"]) { fixture, kairos in
                try await expectSnapshot(of: "live/doomed", "made", in: fixture, kairos)
                let start = kairos.events.count
                try await fixture.patiently("destroy", "-r", fixture.name("live/doomed"))
                try await notice("\(fixture.name("live/doomed")) is gone", from: kairos, after: start)
                try await kairos.rest(in: fixture)
                try await expectSnapshot(of: "live", "made", in: fixture, kairos)
            }
        }

        @Test("a dataset that is unmounted and mounted again")
        func remounted() async throws {
            try await withKairos(children: ["other"]) { fixture, kairos in
                let name = fixture.name("live/other")
                try await expectSnapshot(of: "live/other", "before", in: fixture, kairos)
                var start = kairos.events.count
                try await fixture.patiently("unmount", name)
                try await notice("\(name) is not mounted", from: kairos, after: start)
                try await kairos.rest(in: fixture)
                // What lies on the directory meanwhile is the parent's.
                try await expectSnapshot(of: "live", "other/below", in: fixture, kairos)
                try call("unlinkat", .here, .text(fixture.path("live/other/below")), .flags(AT_REMOVEDIR))
                // The path is resolved a little later, and by then must lead to where it led.
                try await kairos.rest(in: fixture)
                start = kairos.events.count
                try await fixture.zfs("mount", name)
                try await kairos.event("a look at it", from: start) { $0.event == "unchanged" && $0.dataset == name }
                try await kairos.rest(in: fixture)
                try await expectSnapshot(of: "live/other", "after", in: fixture, kairos)
            }
        }

        @Test("kairos:quiet set while a change waits for it")
        func quietSet() async throws {
            let slow = ["kairos:quiet": "1h", "kairos:max-delay": "2h", "kairos:min-interval": "50ms"]
            // The look at what was there before takes its quiet time too: that is not waited for.
            try await withKairos(properties: slow, waits: false) { fixture, kairos in
                let name = fixture.name("live")
                let start = kairos.events.count
                try create("waits", in: fixture.path("live"))
                try await fixture.zfs("set", "kairos:quiet=100ms", name)
                try await notice("\(name): new settings in force", from: kairos, after: start)
                let snapshot = try await kairos.event("its snapshot", from: start) {
                    $0.event == "snapshot" && $0.dataset == name
                }
                #expect(snapshot.changes == ["mkdir": 1])
            }
        }

        @Test("kairos:enabled=off, and on again")
        func disabled() async throws {
            try await withKairos(children: ["switched"]) { fixture, kairos in
                let name = fixture.name("live/switched")
                var start = kairos.events.count
                try await fixture.zfs("set", "kairos:enabled=off", name)
                try await notice("\(name) is no longer enabled", from: kairos, after: start)
                _ = kairos.claim()
                try await kairos.expectNoSnapshot(in: fixture) {
                    try create("unseen", in: fixture.path("live/switched"))
                }
                start = kairos.events.count
                try await fixture.zfs("set", "kairos:enabled=on", name)
                try await notice("watching \(name)", from: kairos, after: start)
                try await kairos.settled(name, from: start)
                try await kairos.rest(in: fixture)
                try await expectSnapshot(of: "live/switched", "seen", in: fixture, kairos)
            }
        }
    }
}
