import FoundationEssentials
import Glibc
import Scratch
import Snapshots
import Subprocess
import TestSupport
import Testing

import struct Datasets.Timestamp

extension IntegrationTests {
    /// `kairos prune` on snapshots whose names tell of a year. They were all made just now, so `DatedZFS` stands between.
    @Suite("kairos prune")
    struct PruneTests {
        struct Row: Decodable, Equatable {
            var dataset: String
            var snapshot: String
            var fate: String
            var reason: String
            var tier: String?
            var boundary: String?
        }

        private static let trigger = "kairos:trigger=quiet"

        private func name(secondsAgo: Int64) -> String {
            var now = timespec()
            clock_gettime(CLOCK_REALTIME, &now)
            return SnapshotName(time: Timestamp(seconds: Int64(now.tv_sec) - secondsAgo, nanoseconds: 0)).text
        }

        private func prune(_ arguments: String...) async throws -> [Row] {
            let zfs = try DatedZFS(for: Fixture.current())
            let (status, output, messages) = try await KairosProcess.output(
                ["prune", "--json", "--zfs-command", zfs.path] + arguments)
            #expect(status.isSuccess, "\(messages)")
            return try JSONDecoder().decode([Row].self, from: Data(output.utf8))
        }

        /// A dataset of its own around a test, with everything below it.
        private func dataset(
            _ name: String, _ body: (Fixture, String) async throws -> Void
        ) async throws {
            let fixture = try Fixture.current()
            let dataset = fixture.name(name)
            try await fixture.zfs("create", dataset)
            do { try await body(fixture, dataset) } catch {
                _ = try? await fixture.patiently("destroy", "-R", dataset)
                throw error
            }
            try await fixture.patiently("destroy", "-R", dataset)
        }

        private func snapshot(_ fixture: Fixture, _ dataset: String, _ names: [String]) async throws {
            // zfs-fuse takes one a call.
            for name in names { try await fixture.zfs("snapshot", "-o", Self.trigger, "\(dataset)@\(name)") }
            try DatedZFS(for: fixture).date(names)
        }

        @Test("what a dry run says goes is what goes; protected ones stay; a second run finds nothing")
        func thinning() async throws {
            try await dataset("prune") { fixture, dataset in
                // A day's, an hour apart and at no full one; three of one week a year ago.
                let day = (0..<30).map { name(secondsAgo: Int64(30 - $0) * 3000 + 4000) }
                let old = (0..<3).map { name(secondsAgo: 200 * 86_400 - Int64($0) * 60) }
                // What is in the names' order is in ZFS's.
                try await snapshot(fixture, dataset, old + day)
                let (held, cloned) = (day[3], day[5])
                try await fixture.zfs("hold", "kairos-test", "\(dataset)@\(held)")
                try await fixture.zfs("clone", "\(dataset)@\(cloned)", fixture.name("prune-clone"))
                try await fixture.zfs("snapshot", "\(dataset)@by-hand")
                // Its name alone, and its property alone.
                let bare = name(secondsAgo: 40 * 86_400)
                try await fixture.zfs("snapshot", "\(dataset)@\(bare)")
                try await fixture.zfs("snapshot", "-o", Self.trigger, "\(dataset)@other")

                let planned = try await prune("--dry-run", dataset)
                #expect(planned.count == 36)
                let before = try await fixture.snapshots(of: "prune")
                #expect(Set(before) == Set(planned.map(\.snapshot)))
                let doomed = planned.filter { $0.fate == "goes" }.map(\.snapshot)
                #expect(!doomed.isEmpty && doomed.allSatisfy { (day + old).contains($0) })
                // Of the minutes of one week the last stays.
                #expect(doomed.contains(old[0]) && doomed.contains(old[1]) && !doomed.contains(old[2]))
                for (name, reason) in [
                    (held, "held"), (cloned, "clone"), ("by-hand", "Kairos did not make it"),
                    (bare, "Kairos did not make it"), ("other", "Kairos did not make it"),
                ] {
                    let row = planned.first { $0.snapshot == name }
                    #expect(row?.fate == "stays" && row?.reason.contains(reason) == true, "\(name): \(row as Any)")
                }

                let done = try await prune(dataset)
                #expect(done.filter { $0.fate == "destroyed" }.map(\.snapshot) == doomed)
                let after = try await fixture.snapshots(of: "prune")
                #expect(Set(after) == Set(before).subtracting(doomed))
                #expect(try await prune(dataset).allSatisfy { $0.fate == "stays" })

                try await fixture.zfs("release", "kairos-test", "\(dataset)@\(held)")
                try await fixture.patiently("destroy", fixture.name("prune-clone"))
            }
        }

        @Test("kairos:keep is the rule; a bad one destroys nothing and says so")
        func property() async throws {
            try await dataset("prune-keep") { fixture, dataset in
                let names = (0..<5).map { name(secondsAgo: Int64(20 - $0) * 86_400) }
                try await snapshot(fixture, dataset, names)
                try await fixture.zfs("set", "kairos:keep=1h=al", dataset)
                let (status, _, messages) = try await KairosProcess.output(["prune", dataset])
                #expect(!status.isSuccess && messages.contains("kairos:keep") && messages.contains("nothing of it"))
                try await fixture.zfs("set", "kairos:keep=all", dataset)
                #expect(try await prune(dataset).allSatisfy { $0.fate == "stays" })
                try await fixture.zfs("set", "kairos:keep=1h=all", dataset)
                #expect(try await prune(dataset).map(\.fate) == Array(repeating: "destroyed", count: 4) + ["stays"])
                #expect(try await fixture.snapshots(of: "prune-keep") == [names[4]])
            }
        }

        @Test("a bookmark protects", .enabled(if: OpenZFS.isInKernel, "zfs-fuse has no bookmarks"))
        func bookmark() async throws {
            try await dataset("prune-mark") { fixture, dataset in
                let names = (0..<3).map { name(secondsAgo: Int64(20 - $0) * 86_400) }
                try await snapshot(fixture, dataset, names)
                try await fixture.zfs("bookmark", "\(dataset)@\(names[0])", "\(dataset)#base")
                let rows = try await prune("--keep", "1h=all", dataset)
                #expect(rows.map(\.fate) == ["stays", "destroyed", "stays"])
                #expect(rows[0].reason.contains("bookmark"))
            }
        }

        @Test(
            "where room is wanted the oldest go before their time, as many as it takes",
            .enabled(if: OpenZFS.isInKernel, "zfs-fuse does not say what a snapshot's end gives back"))
        func room() async throws {
            try await dataset("prune-room") { fixture, dataset in
                let names = (0..<4).map { name(secondsAgo: Int64(20 - $0) * 86_400) }
                let path = fixture.path("prune-room") + "/file"
                // So that each holds as much as was written.
                try await fixture.zfs("set", "compression=off", dataset)
                let data = (0..<2_000_000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) }
                for name in names {
                    // Each snapshot holds a file of its own.
                    try write(String(decoding: data.map { $0 & 0x7f }, as: UTF8.self), to: path)
                    try await snapshot(fixture, dataset, [name])
                    unlink(path)
                }
                try DatedZFS(for: fixture).date(names)
                try await fixture.zfs("set", "kairos:keep=1h=all,30d=1d", dataset)
                #expect(try await prune("--dry-run", dataset).allSatisfy { $0.fate == "stays" })
                // What was deleted is given back some time later.
                try await fixture.pool.command.runPool(["sync", fixture.pool.name])
                let answer = try await fixture.zfs("get", "-Hp", "-o", "value", "available", dataset)
                let text = String(decoding: answer, as: UTF8.self).split(separator: "\n").first ?? ""
                let available = try #require(UInt64(text))
                // A little more than there is.
                try await fixture.zfs("set", "kairos:min-free=\(available + 65_536)", dataset)
                let planned = try await prune("--dry-run", dataset)
                // What one gives back is ZFS's to say, and the pool's room moves with what else is in it.
                let gone = planned.count { $0.fate == "goes" }
                #expect((1...2).contains(gone) && planned.prefix(gone).allSatisfy { $0.fate == "goes" }, "\(planned)")
                #expect(planned[0].reason.contains("kairos:min-free"))
                let done = try await prune(dataset)
                #expect(done.prefix(gone).allSatisfy { $0.fate == "destroyed" }, "\(done)")
                #expect(done.last?.fate == "stays", "\(done)")
                // More than all of them hold: the newest stays, and it is said.
                try await fixture.zfs("set", "kairos:min-free=8000T", dataset)
                let zfs = try DatedZFS(for: fixture)
                let (status, _, messages) = try await KairosProcess.output(
                    ["prune", "--zfs-command", zfs.path, dataset])
                #expect(!status.isSuccess && messages.contains("kairos:min-free asks for"), "\(messages)")
                #expect(try await fixture.snapshots(of: "prune-room") == [names[3]])
                try await fixture.zfs("set", "kairos:min-free=lots", dataset)
                let refused = try await KairosProcess.output(["prune", dataset])
                #expect(!refused.status.isSuccess && refused.stderr.contains("kairos:min-free=lots"))
            }
        }

        @Test("near its budget a dataset's snapshots come more slowly, and nothing is given up")
        func budget() async throws {
            try await dataset("budget") { fixture, dataset in
                try await fixture.zfs("set", "kairos:max-snapshots=10", dataset)
                try await snapshot(fixture, dataset, (0..<7).map { name(secondsAgo: Int64(70 - $0)) })
                try await KairosProcess.run(["run", "--json", "--no-prune"] + .prompt + [dataset]) { kairos in
                    try await kairos.ready()
                    // One for each, until the pause is a second; then fewer.
                    var number = 0
                    #expect(
                        await wait(for: .seconds(60)) {
                            number += 1
                            try? write("\(number)", to: fixture.path("budget") + "/file")
                            return kairos.events.contains { $0.text?.contains("kairos:max-snapshots") ?? false }
                        }, "\(kairos.transcript)")
                    try write("the last", to: fixture.path("budget") + "/last")
                    let (status, summary) = try await kairos.stop()
                    #expect(status.isSuccess && summary?.leftAtRisk == [], "\(kairos.transcript)")
                }
                #expect(try await fixture.snapshots(of: "budget").count < 14)
            }
        }

        @Test("what pruning cannot reduce, such as received snapshots, does not slow a dataset down")
        func received() async throws {
            try await dataset("received") { fixture, dataset in
                try await fixture.zfs("set", "kairos:max-snapshots=10", dataset)
                // As a stream without properties brings them: with names of Kairos's and no trigger.
                for index in 0..<12 {
                    try await fixture.zfs("snapshot", "\(dataset)@\(name(secondsAgo: Int64(70 - index)))")
                }
                try await KairosProcess.run(["run", "--json", "--no-prune"] + .prompt + [dataset]) { kairos in
                    try await kairos.ready()
                    let taken = try await fixture.snapshots(of: "received").count
                    // The count comes two seconds after the start at the earliest; each of these would wait an hour.
                    for number in 1...6 {
                        let start = kairos.claim().start
                        try write("\(number)", to: fixture.path("received") + "/file")
                        try await kairos.event("snapshot \(number)", from: start) { $0.event == "snapshot" }
                        try await Task.sleep(for: .milliseconds(500))
                    }
                    #expect(!kairos.events.contains { $0.text?.contains("kairos:max-snapshots") ?? false })
                    #expect(try await fixture.snapshots(of: "received").count >= taken + 6)
                    #expect(try await kairos.stop().status.isSuccess)
                }
            }
        }

        @Test("killed at any moment it has destroyed some of what it was to destroy, and nothing else")
        func killed() async throws {
            try await dataset("prune-kill") { fixture, dataset in
                var random = SplitMix64(seed: 6)
                let names = (0..<40).map { name(secondsAgo: Int64(40 - $0) * 86_400) }
                try await snapshot(fixture, dataset, names)
                let stays = Set(names.suffix(3))
                try await fixture.zfs("hold", "kairos-test", "\(dataset)@\(names[37])", "\(dataset)@\(names[38])")
                for _ in 0..<8 {
                    try await KairosProcess.run(
                        ["prune", "--zfs-command", DatedZFS(for: fixture).path, "--keep", "1h=all", dataset]
                    ) { kairos in
                        try await Task.sleep(for: .milliseconds(Int.random(in: 20...250, using: &random)))
                        try? kairos.signal(.kill)
                        _ = try await kairos.exit()
                    }
                    let left = Set(try await fixture.snapshots(of: "prune-kill"))
                    #expect(left.isSuperset(of: stays) && left.isSubset(of: names))
                }
                _ = try await prune("--keep", "1h=all", dataset)
                #expect(Set(try await fixture.snapshots(of: "prune-kill")) == stays)
                try await fixture.zfs("release", "kairos-test", "\(dataset)@\(names[37])", "\(dataset)@\(names[38])")
            }
        }

        @Test("kairos run thins beside its work and tells of it; with --no-prune it does not")
        func inRun() async throws {
            try await dataset("prune-run") { fixture, dataset in
                // Of today: a pause of over a week counts in part only, and keeps the last one before it.
                let names = (0..<5).map { name(secondsAgo: Int64(8 - $0) * 7_200) }
                try await snapshot(fixture, dataset, names)
                try await fixture.zfs("set", "kairos:keep=1h=all", dataset)
                func run(_ options: [String], until isDone: @Sendable (KairosProcess) -> Bool) async throws {
                    try await KairosProcess.run(
                        ["run", "--json", "--prune-interval", "100ms", "--zfs-command", DatedZFS(for: fixture).path]
                            + .prompt + options + [dataset]
                    ) { kairos in
                        try await kairos.ready()
                        try write("a change", to: fixture.path("prune-run") + "/file-\(options.count)")
                        #expect(await wait(for: .seconds(60)) { isDone(kairos) }, "\(kairos.transcript)")
                        let (status, summary) = try await kairos.stop()
                        #expect(status.isSuccess && summary?.failures == 0, "\(kairos.transcript)")
                    }
                }
                let isTaken = { @Sendable (kairos: KairosProcess) in kairos.events.contains { $0.event == "snapshot" } }
                try await run(["--no-prune"], until: isTaken)
                #expect(try await fixture.snapshots(of: "prune-run").prefix(5) == names[...])
                try await run([]) { kairos in isTaken(kairos) && kairos.events.contains { $0.event == "pruned" } }
                let left = try await fixture.snapshots(of: "prune-run")
                #expect(left.count >= 2 && Set(left).isDisjoint(with: names), "\(left)")
            }
        }

        @Test("what is no dataset, rule or prefix is refused, and nothing is done")
        func refused() async throws {
            let fixture = try Fixture.current()
            for (arguments, words) in [
                (["no-such-pool/x"], "there is no dataset"), (["--keep", "7", fixture.name("a")], "no retention rule"),
                (["--prefix", "", fixture.name("a")], "empty"), (["-r"], "needs a dataset"),
                ([fixture.name("a") + "@x"], "is a snapshot"),
            ] {
                let (status, output, messages) = try await KairosProcess.output(["prune"] + arguments)
                #expect(!status.isSuccess && output.isEmpty && messages.contains(words), "\(arguments): \(messages)")
            }
        }
    }
}
