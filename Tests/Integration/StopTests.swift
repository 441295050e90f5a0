import Glibc
import Scratch
import Subprocess
import Testing

extension IntegrationTests {
    @Suite("How a run ends")
    struct StopTests {
        /// Times so long that nothing but its end makes a snapshot.
        private let patient = ["--quiet", "1h", "--max-delay", "2h"]

        @Test("a signal: what is dirty is snapshotted first", arguments: [Signal.terminate, .interrupt])
        func signal(_ signal: Signal) async throws {
            let fixture = try Fixture.current()
            let names = [fixture.name("a"), fixture.name("b")]
            try await capture(names, in: fixture)
            try await KairosProcess.run(["run", "--json"] + patient + names) { kairos in
                try await kairos.event("ready") { $0.event == "ready" }
                let name = "stop-\(signal.rawValue)"
                try call("mkdirat", .here, .text("\(fixture.path("a"))/\(name)"), 0o755)
                let (status, summary) = try await kairos.stop(signal)
                #expect(status == .exited(0), "\(kairos.transcript)")
                let snapshots = kairos.events.filter { $0.event == "snapshot" }
                #expect(snapshots.map(\.dataset) == [fixture.name("a")], "\(kairos.transcript)")
                #expect(snapshots.first?.trigger == "stop")
                #expect(snapshots.first?.changes == ["mkdir": 1])
                #expect(summary?.snapshots == 1)
                #expect(summary?.failures == 0)
                #expect(summary?.leftAtRisk == [])
                #expect(kairos.events.last?.event == "stopped")
                let newest = try #require(snapshots.first?.fullName)
                #expect(try await SnapshotReader(fixture: fixture).tree(of: newest)[name] == .directory)
            }
        }

        /// Takes the datasets to a state in which nothing is at risk.
        private func capture(_ names: [String], in fixture: Fixture) async throws {
            try await KairosProcess.run(["run", "--json"] + .prompt + names) { kairos in
                try await kairos.ready()
                _ = try await kairos.stop()
            }
        }

        @Test("two signals: at once, whatever is under way")
        func twoSignals() async throws {
            let fixture = try Fixture.current()
            let zfs = try FakeZFS(for: fixture, in: fixture.pool.directory, called: "slow-zfs")
            let command = ["run", "--json", "--zfs-command", zfs.path] + patient + [fixture.name("a")]
            try await capture([fixture.name("a")], in: fixture)
            try await KairosProcess.run(command) { kairos in
                try await kairos.event("ready") { $0.event == "ready" }
                try zfs.set(.hold)
                try call("mkdirat", .here, .text(fixture.path("a") + "/two-signals"), 0o755)
                try kairos.signal(.terminate)
                #expect(await wait(for: KairosProcess.patience) { !zfs.calls.isEmpty }, "\(kairos.transcript)")
                #expect(!kairos.isOver)
                let (status, summary) = try await kairos.stop()
                #expect(zfs.done.isEmpty, "it waited for the command")
                #expect(status == .exited(1))
                #expect(summary?.leftAtRisk == [fixture.name("a")])
            }
            // The command outlives Kairos and is not cut off in the middle; the pool must not go before it ends.
            try zfs.clear(.hold)
            #expect(await wait(for: KairosProcess.patience) { !zfs.done.isEmpty })
        }

        @Test("ZFS does not answer: it ends all the same, says so, and the exit status tells")
        func noAnswer() async throws {
            let fixture = try Fixture.current()
            let zfs = try FakeZFS(for: fixture, in: fixture.pool.directory, called: "silent-zfs")
            let name = fixture.name("a")
            try await capture([name], in: fixture)
            try await KairosProcess.run(["run", "--json", "--zfs-command", zfs.path] + patient + [name]) { kairos in
                try await kairos.event("ready") { $0.event == "ready" }
                try zfs.set(.hold)
                try call("mkdirat", .here, .text(fixture.path("a") + "/no-answer"), 0o755)
                let (status, summary) = try await kairos.stop()
                #expect(zfs.done.isEmpty, "it waited for the command")
                #expect(status == .exited(1), "\(kairos.transcript)")
                #expect(summary?.leftAtRisk == [name])
                let warnings = kairos.events.filter { $0.event == "warning" }.compactMap(\.text)
                #expect(warnings.contains { $0.contains("ZFS did not answer") && $0.contains(name) }, "\(warnings)")
            }
            try zfs.clear(.hold)
            #expect(await wait(for: KairosProcess.patience) { !zfs.done.isEmpty })
        }

        @Test("nobody reads its output any more")
        func brokenPipe() async throws {
            let fixture = try Fixture.current()
            let command = ["run"] + .prompt + [fixture.name("a")]
            // `head` ends after the first line; what Kairos writes after that finds no reader.
            let fifo = fixture.pool.directory + "/fifo"
            try call("mknodat", .here, .text(fifo), .number(Int(S_IFIFO) | 0o600), 0)
            let shell = ["/bin/sh", "-c", #"head -n 1 <"$0" >/dev/null & exec "$@" >"$0""#, fifo]
            try await KairosProcess.run(command, wrapper: shell) { kairos in
                try await kairos.message(containing: "watching")
                for number in 0..<4 {
                    let before = try await fixture.snapshots(of: "a").count
                    try call("mkdirat", .here, .text("\(fixture.path("a"))/pipe-\(number)"), 0o755)
                    let taken = try await wait(for: KairosProcess.patience) {
                        try await fixture.snapshots(of: "a").count > before
                    }
                    #expect(taken, "\(kairos.transcript)")
                }
                #expect(try await kairos.stop().status.isSuccess)
            }
        }
    }
}
