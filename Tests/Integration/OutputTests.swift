import Datasets
import Glibc
import Scratch
import Subprocess
import Testing

extension IntegrationTests {
    @Suite("Output that cannot be written")
    struct OutputTests {
        /// A dataset with a file of two versions and one that was deleted.
        private func prepare(_ fixture: Fixture) async throws -> String {
            let directory = fixture.path("c")
            try await KairosProcess.run(["run", "--json"] + .prompt + [fixture.name("c")]) { kairos in
                try await kairos.ready()
                for text in ["one", "two"] {
                    let before = kairos.events.count
                    let file = try OpenFile(directory + "/output-f", O_WRONLY | O_CREAT)
                    #expect(text.withCString { write(file.raw, $0, strlen($0)) } == 3)
                    try await kairos.event("a snapshot of it", from: before) { $0.event == "snapshot" }
                }
            }
            return directory + "/output-f"
        }

        @Test("to a full disk: one message, and an exit status that is not 0; to a reader that went away: neither")
        func full() async throws {
            let fixture = try Fixture.current()
            let file = try await prepare(fixture)
            let commands = [
                ["--help"], ["--version"], ["run", "--help"], ["--generate-completion-script", "bash"], ["doctor"],
                ["log", file, "--journal", "none"], ["log", file, "--json", "--journal", "none"],
                ["list", fixture.name("c")], ["list", fixture.name("c"), "--json"],
                ["cat", file, "--version", "1", "--journal", "none"],
                ["diff", file, "1", "now", "--journal", "none"],
                ["prune", "--dry-run", fixture.name("c")], ["prune", "--dry-run", "--json", fixture.name("c")],
            ]
            for command in commands {
                let full = try await KairosProcess.output(
                    command, wrapper: ["/bin/sh", "-c", #"exec "$0" "$@" >/dev/full"#])
                let isLook = ["log", "list", "cat", "diff"].contains(command[0])
                #expect(full.status == .exited(isLook ? 2 : 1), "\(command): \(full.stderr)")
                let told = full.stderr.split(separator: "\n").filter { $0.contains("stdout: No space left on device") }
                #expect(told.count == 1, "\(command): \(full.stderr)")
                let piped = try await KairosProcess.output(
                    command, wrapper: ["/bin/bash", "-c", #""$0" "$@" | true; exit ${PIPESTATUS[0]}"#])
                #expect(piped.status == .exited(command[0] == "diff" ? 1 : 0), "\(command): \(piped.stderr)")
                #expect(!piped.stderr.contains("stdout"), "\(command): \(piped.stderr)")
            }
        }

        @Test("a run goes on, says so once, and tells it by its exit status")
        func run() async throws {
            let fixture = try Fixture.current()
            let command = ["run", "--json"] + .prompt + [fixture.name("c")]
            try await KairosProcess.run(command, wrapper: ["/bin/sh", "-c", #"exec "$0" "$@" >/dev/full"#]) { kairos in
                try await kairos.message(containing: "cannot write to stdout: No space left on device")
                let before = try await fixture.snapshots(of: "c").count
                try call("mkdirat", .here, .text(fixture.path("c") + "/output-full"), 0o755)
                let isTaken = try await wait(for: KairosProcess.patience) {
                    try await fixture.snapshots(of: "c").count > before
                }
                #expect(isTaken, "\(kairos.transcript)")
                let (status, _) = try await kairos.stop()
                #expect(status == .exited(1))
                #expect(kairos.messages.split(separator: "\n").filter { $0.contains("stdout") }.count == 1)
            }
        }

        @Test("a property that cannot be read: the list lists, and names it; blanks beside a comma mean nothing")
        func badProperty() async throws {
            let fixture = try Fixture.current()
            _ = try await prepare(fixture)
            let name = fixture.name("c")
            for (property, value, words) in [
                ("kairos:keep", "1h=some", "kairos:keep"), ("kairos:min-free", "much", "kairos:min-free=much"),
            ] {
                try await fixture.zfs("set", "\(property)=\(value)", name)
                let list = try await KairosProcess.output(["list", name])
                try await fixture.zfs("inherit", property, name)
                #expect(list.status == .exited(0) && list.stdout.contains("kairos-20"), "\(list)")
                #expect(list.stderr.contains(words) && list.stderr.contains("nothing of it is destroyed"), "\(list)")
                #expect(!list.stderr.contains("(description:"))
            }
            try await fixture.zfs("set", "kairos:keep=2h=all , 1d=1h", name)
            let list = try await KairosProcess.output(["list", name])
            try await fixture.zfs("inherit", "kairos:keep", name)
            #expect(list.status == .exited(0) && list.stderr.contains("rule 2h=all,1d=1h"), "\(list)")
        }
    }
}
