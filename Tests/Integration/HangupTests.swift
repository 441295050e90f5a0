import Background
import Glibc
import Scratch
import Testing

extension IntegrationTests {
    @Suite("A terminal that goes away")
    struct HangupTests {
        @Test("what changes afterwards is captured, and a signal ends it in order")
        func hangup() async throws {
            let fixture = try Fixture.current()
            let terminal = try Terminal()
            let directory = fixture.pool.directory + "/hangup"
            let pid = try ChildProcess.spawn(
                try KairosProcess.executable,
                ["run", "--journal", directory + "/journal.db"] + .prompt + [fixture.name("a")], newSession: true
            ) { actions in
                posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, terminal.path, O_RDWR, 0)
                posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDOUT_FILENO)
                posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDERR_FILENO)
            }
            var status: CInt?
            func hasEnded() -> Bool {
                var now: CInt = 0
                if status == nil, waitpid(pid, &now, WNOHANG) == pid { status = now }
                return status != nil
            }
            defer {
                if !hasEnded() {
                    kill(pid, SIGKILL)
                    waitpid(pid, nil, 0)
                }
            }
            let isWatching = await wait(for: KairosProcess.patience) {
                terminal.read()
                return hasEnded() || terminal.text.contains("all captured")
            }
            try #require(isWatching && status == nil, "\(terminal.text)")
            terminal.close()
            try call("mkdirat", .here, .text(fixture.path("a") + "/after-hangup"), 0o755)
            let reader = SnapshotReader(fixture: fixture)
            var seen: String?
            let isCaptured = try await wait(for: KairosProcess.patience) {
                if hasEnded() { return true }
                guard let newest = try await fixture.snapshots(of: "a").last, newest != seen else { return false }
                seen = newest
                return try await reader.tree(of: fixture.name("a") + "@" + newest)["after-hangup"] == .directory
            }
            #expect(isCaptured && status == nil, "wait status \(status.map { "\($0)" } ?? "none")")
            kill(pid, SIGTERM)
            #expect(await wait(for: KairosProcess.patience, until: hasEnded))
            #expect(status == 0)
        }
    }
}
