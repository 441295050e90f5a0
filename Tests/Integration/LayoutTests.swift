import Datasets
import Glibc
import Scratch
import Subprocess
import Testing

@testable import Tracing

extension IntegrationTests {
    /// The probe set `zfs` as for a module without BTF, whether it has some or not.
    @Suite("A zfs module without BTF", .enabled(if: OpenZFS.isInKernel, "zfs-fuse is no module"))
    struct LayoutTests {
        /// Kairos on the datasets `a` and `b`, which reads the module by what it finds, or by these offsets.
        private func withKairos(
            by layout: String, _ body: (Fixture, KairosProcess) async throws -> Void
        ) async throws {
            let fixture = try Fixture.current()
            let names = ["a", "b"].map(fixture.name) + [fixture.sentinel]
            try await KairosProcess.run(
                ["run", "--json", "--probes", "zfs"] + .prompt + names,
                wrapper: ["/usr/bin/env", "KAIROS_TEST_ZFS_LAYOUT=" + layout]
            ) { kairos in
                try await kairos.ready()
                try await kairos.rest(in: fixture)
                try await body(fixture, kairos)
                kairos.expectNothingUnclaimed()
                let (status, summary) = try await kairos.stop()
                #expect(status.isSuccess, "\(kairos.transcript)")
                #expect(summary?.leftAtRisk == [])
                #expect(summary?.failures == 0, "\(kairos.transcript)")
            }
        }

        /// Each change is in one snapshot, and reading makes none.
        private func expectSnapshots(_ fixture: Fixture, _ kairos: KairosProcess) async throws {
            for round in 0..<8 {
                let dataset = round % 2 == 0 ? "a" : "b"
                let name = "layout-\(round)-\(UInt32.random(in: 0..<UInt32.max))"
                let snapshot = try await kairos.onlySnapshot(of: dataset, in: fixture) {
                    try call("mkdirat", .here, .text(fixture.path(dataset) + "/" + name), 0o755)
                }
                let tree = try await SnapshotReader(fixture: fixture).tree(of: snapshot.fullName)
                #expect(tree[name] == .directory)
                try call("unlinkat", .here, .text(fixture.path(dataset) + "/" + name), 0x200)
                try await kairos.event("a snapshot of the removal") {
                    $0.event == "snapshot" && $0.dataset == fixture.name(dataset)
                        && ($0.snapshot ?? "") > (snapshot.snapshot ?? "")
                }
                _ = kairos.claim()
            }
        }

        @Test("is read by what the programs find, and a snapshot proves it")
        func proven() async throws {
            try await withKairos(by: "search") { fixture, kairos in
                try await expectSnapshots(fixture, kairos)
                let words = "proves that Kairos reads the right fields"
                let isProven = kairos.events.contains { $0.event == "notice" && $0.text?.contains(words) == true }
                #expect(isProven, "\(kairos.transcript)")
            }
        }

        /// What the programs find in this module.
        private func search(_ fixture: Fixture) async throws -> ZFSLayout {
            let probes = try Probes(
                .zfs, ProbeSet.zfs.programs(.layout), .layout, mode: .watch, ringBytes: 1 << 16)
            try await watch("a", by: [probes], fixture)
            return try #require(probes.slots.withLayout { ZFSLayout($0.evidence) } ?? nil)
        }

        /// Has these probes follow a dataset in slot 0, and find what they have to.
        private func watch(_ dataset: String, by all: [Probes], _ fixture: Fixture) async throws {
            let name = fixture.name(dataset)
            let guid = try await number("guid", of: name)
            for probes in all {
                probes.slots.reset(0, wakesAtCommit: false, wakesAtRecords: false)
                try probes.add(dataset: guid, slot: 0)
            }
            try await fixture.pool.command.runPool(["sync", fixture.pool.name])
            _ = try await fixture.zfs("get", "-H", "written", name)
            for probes in all where probes.layout == .sought { #expect(probes.findLayout()) }
        }

        private func number(_ property: String, of name: String) async throws -> UInt64 {
            let fixture = try Fixture.current()
            let output = try await fixture.zfs("get", "-H", "-p", "-o", "value", property, name)
            return try #require(UInt64(String(decoding: output, as: UTF8.self).prefix { $0 != "\n" }))
        }

        /// Offsets that lead to no dataset; to a number that is no transaction group; to none that can be one.
        @Test("wrong offsets, even if trusted, lose no change", arguments: ["dataset", "small", "address"])
        func wrong(kind: String) async throws {
            let found = try await search(try Fixture.current())
            // Before the group lie pointers and, in the list of holds, the distance of a node's links.
            let (buffer, group) =
                switch kind {
                case "dataset": (found.datasetBuffer + 8, found.transactionGroup)
                case "small": (found.datasetBuffer, found.holds - 8)
                default: (found.datasetBuffer, found.holds)
                }
            try await withKairos(by: "\(buffer),\(group),\(found.holds)") { fixture, kairos in
                try await expectSnapshots(fixture, kairos)
            }
        }

        private static let hasTypes = OpenZFS.isInKernel && access(KernelSupport.moduleBTFPath, R_OK) == 0

        @Test("says the same as BTF does, where there is some", .enabled(if: hasTypes))
        func agrees() async throws {
            let fixture = try Fixture.current()
            let types = try Probes(.zfs, ProbeSet.zfs.programs(.types), .types, mode: .watch, ringBytes: 1 << 16)
            let layout = try Probes(.zfs, ProbeSet.zfs.programs(.layout), .layout, mode: .watch, ringBytes: 1 << 16)
            try await watch("a", by: [types, layout], fixture)
            func expectSame(_ what: String) {
                var (first, second) = (types.slots.groups(0), layout.slots.groups(0))
                // When each of them looked at the clock.
                (first.dirtied, second.dirtied) = (0, 0)
                #expect(first == second, "after \(what)")
            }
            let file = fixture.path("a") + "/agrees"
            for round in 0..<10 {
                let descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
                try #require(descriptor >= 0)
                try call("pwrite64", .descriptor(descriptor), .text("round \(round)"), 8, 0)
                try call("fsync", .descriptor(descriptor))
                close(descriptor)
                expectSame("a write and a sync")
                #expect(layout.slots.groups(0).isDirty)
                if round % 3 == 0 {
                    unlink(file)
                    expectSame("a removal")
                }
                let name = (round % 2 == 0 ? "kairos-" : "other-") + "agrees-\(round)"
                try await fixture.zfs("snapshot", fixture.name("a") + "@" + name)
                expectSame("a snapshot")
                let groups = layout.slots.groups(0)
                #expect(
                    (round % 2 == 0 ? groups.captured : groups.foreign)
                        == (try await number("createtxg", of: fixture.name("a") + "@" + name)))
            }
            try await fixture.zfs("rollback", "-r", fixture.name("a") + "@kairos-agrees-8")
            expectSame("a rollback")
            #expect(!layout.slots.groups(0).isDirty)
            for round in 0..<9 {
                try await fixture.patiently(
                    "destroy", fixture.name("a") + "@" + (round % 2 == 0 ? "kairos-" : "other-") + "agrees-\(round)")
            }
            unlink(file)
        }
    }
}
