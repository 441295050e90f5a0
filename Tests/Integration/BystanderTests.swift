import Datasets
import Glibc
import Scratch
import Subprocess
import Testing

extension IntegrationTests {
    /// What other programs of a host do all day must neither start `zfs` nor delay a snapshot.
    @Suite("Beside other programs")
    struct BystanderTests {
        /// A `zfs` that writes down the verbs it is called with. Its name is what others hear of.
        private struct LoggedZFS {
            let path: String

            init(_ fixture: Fixture, _ name: String) throws {
                let directory = "\(fixture.pool.directory)/\(name)"
                try makeDirectory(directory)
                path = directory + "/zfs"
                // The kernel keeps a script's name for its interpreter, and a program's own for the program.
                try write(
                    "#!/bin/sh\necho \"$1\" >>\"$0.log\"\nexec '\(fixture.pool.command.zfs)' \"$@\"\n", to: path,
                    mode: 0o755)
            }

            var verbs: [String] {
                let text = (try? contents(of: path + ".log")) ?? []
                return String(decoding: text, as: UTF8.self).split(separator: "\n").map { String($0) }
            }
        }

        /// A change in the very moment in which a snapshot ends may be in it, and is checked for that reason.
        private func letSnapshotsEnd() async throws { try await Task.sleep(for: .milliseconds(50)) }

        /// Whether one of some rounds goes undisturbed: tests that run beside these leave paths behind that cannot be resolved.
        private func once(_ round: (Int) async throws -> Bool) async throws -> Bool {
            for number in 0..<20 where try await round(number) { return true }
            return false
        }

        /// Datasets of its own: none that another test's Kairos is still to be asked about.
        private func dataset(_ name: String, in fixture: Fixture) async throws -> String {
            try await fixture.zfs("create", fixture.name(name))
            return fixture.name(name)
        }

        @Test("two of them on an idle host start no zfs, whatever reads beside them")
        func twoDaemons() async throws {
            let fixture = try Fixture.current()
            let first = try LoggedZFS(fixture, "first-kairos")
            let second = try LoggedZFS(fixture, "second-kairos")
            let names = [try await dataset("idle1", in: fixture), try await dataset("idle2", in: fixture)]
            let options = ["--audit", "off", "--no-prune", "--quiet", "50ms", "--journal", "none"]
            try await KairosProcess.run(["run", "--json", "--zfs-command", first.path] + options + [names[0]]) { one in
                try await KairosProcess.run(
                    ["run", "--json", "--zfs-command", second.path] + options + [names[1]]
                ) { other in
                    // Both have looked at what there was, and counted their snapshots.
                    for (kairos, zfs) in [(one, first), (other, second)] {
                        try await kairos.event("a look") { $0.event == "snapshot" || $0.event == "unchanged" }
                        #expect(
                            await wait(for: KairosProcess.patience) {
                                zfs.verbs.last == "list" && zfs.verbs.count { $0 == "list" } >= 2
                            }, "\(zfs.verbs)")
                    }
                    // A second for what each may have heard of the other: lists come no faster.
                    try await Task.sleep(for: .milliseconds(1200))
                    // Tests that run beside this one have commands called zfs, too. So one quiet window is enough: where
                    // readers are listened to there is none.
                    let isQuiet = try await wait(for: KairosProcess.patience) {
                        let before = first.verbs.count + second.verbs.count
                        try await fixture.zfs("list", "-t", "snapshot", "-r", fixture.pool.name)
                        try await fixture.zfs("get", "used", names[0])
                        try await Task.sleep(for: .milliseconds(1100))
                        return first.verbs.count + second.verbs.count == before
                    }
                    #expect(isQuiet, "\(first.verbs)\n\(second.verbs)")
                    #expect(try await one.stop().status.isSuccess)
                    #expect(try await other.stop().status.isSuccess)
                }
            }
        }

        @Test("a tool that reads all the time makes no change doubtful, and one that snapshots others neither")
        func monitoring() async throws {
            let fixture = try Fixture.current()
            let name = try await dataset("monitored", in: fixture)
            try await fixture.zfs("create", fixture.name("elsewhere"))
            let options = ["--audit", "off", "--quiet", "300ms", "--min-interval", "50ms", "--max-delay", "20s"]
            try await KairosProcess.run(["run", "--json"] + options + [name]) { kairos in
                try await kairos.event("a look") { $0.event == "snapshot" || $0.event == "unchanged" }
                let isQuiet = try await once { round in
                    try await letSnapshotsEnd()
                    let start = kairos.events.count
                    try write("text", to: "\(fixture.path("monitored"))/file\(round)")
                    try await fixture.zfs("list", "-r", fixture.pool.name)
                    try await fixture.zfs("snapshot", "\(fixture.name("elsewhere"))@\(round)")
                    return try await kairos.event("a snapshot", from: start) { $0.event == "snapshot" }.trigger
                        == "quiet"
                }
                #expect(isQuiet, "\(kairos.transcript)")
                // A snapshot of the dataset itself is another matter: it may hold the change.
                let start = kairos.events.count
                try write("text", to: "\(fixture.path("monitored"))/last")
                try await fixture.zfs("snapshot", "\(name)@foreign")
                try await kairos.event("a look", from: start) { $0.event == "unchanged" || $0.event == "snapshot" }
                #expect(try await kairos.stop().status.isSuccess)
            }
        }

        @Test("directories that come and go in another mount namespace neither delay a snapshot nor cause a check")
        func containers() async throws {
            let fixture = try Fixture.current()
            let name = try await dataset("containers", in: fixture)
            let place = "\(fixture.pool.directory)/container"
            try makeDirectory(place)
            let options = ["--audit", "off", "--quiet", "300ms", "--min-interval", "50ms", "--max-delay", "20s"]
            // Each `mkdir` and `rmdir` is a process that ends before its path is looked at, below a directory that is gone.
            let script = """
                cd "$1" || exit
                while [ ! -e stop ]; do
                    mkdir -p a/b/c && rmdir a/b/c && rmdir "$1"/a/b && rmdir a
                    echo >>rounds
                done
                """
            let command = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh", place]
            try await KairosProcess.run(["run", "--json"] + options + [name]) { kairos in
                try await kairos.event("a look") { $0.event == "snapshot" || $0.event == "unchanged" }
                let container = Task {
                    try await Subprocess.run(
                        .name("env"), arguments: Arguments(command), output: .discarded, error: .discarded)
                }
                func rounds() -> Int { (try? contents(of: place + "/rounds").count) ?? 0 }
                do {
                    #expect(await wait(for: KairosProcess.patience) { rounds() > 20 })
                    let isQuiet = try await once { round in
                        try await letSnapshotsEnd()
                        let start = kairos.events.count
                        let before = rounds()
                        try write("text", to: "\(fixture.path("containers"))/file\(round)")
                        let snapshot = try await kairos.event("a snapshot", from: start) { $0.event == "snapshot" }
                        #expect(await wait(for: KairosProcess.patience) { rounds() > before + 20 })
                        let told = kairos.events.dropFirst(start)
                        return snapshot.trigger == "quiet" && !told.contains { $0.event == "unchanged" }
                    }
                    #expect(isQuiet, "\(kairos.transcript)")
                } catch {
                    try write("", to: place + "/stop")
                    _ = try await container.value
                    throw error
                }
                try write("", to: place + "/stop")
                _ = try await container.value
                #expect(try await kairos.stop().status.isSuccess)
            }
        }
    }
}
