import Glibc
import Subprocess
import Testing

extension IntegrationTests.RecoveryTests {
    @Test("a link that has a former directory's name: what that had is found, or the way to it is printed")
    func formerName() async throws {
        try await dataset("former") { fixture, live in
            let name = fixture.name("former")
            try makeDirectory(live + "/current")
            try write("old", to: live + "/current/gone")
            try write("old page", to: live + "/current/page")
            try await fixture.zfs("snapshot", name + "@directory")
            try #require(Glibc.rename(live + "/current", live + "/old") == 0)
            for file in ["gone", "page"] { unlink(live + "/old/" + file) }
            rmdir(live + "/old")
            try makeDirectory(live + "/release")
            try write("new page", to: live + "/release/page")
            try #require(symlink("release", live + "/current") == 0)
            try await fixture.zfs("snapshot", name + "@link")

            func run(_ arguments: String...) async throws -> (status: Int32?, output: String, messages: String) {
                let (status, output, messages) = try await kairos(fixture, arguments)
                guard case .exited(let code) = status else { return (nil, "", messages) }
                return (code, String(decoding: output, as: UTF8.self), messages)
            }
            // Nothing is there now: the name as it was.
            for command in ["log", "cat"] {
                let (status, output, messages) = try await run(command, live + "/current/gone")
                #expect(status == 0 && messages.contains("is a symbolic link now"), "\(command): \(messages)")
                #expect(command == "log" ? output.contains("directory") : output == "old", "\(output)")
            }
            // Both: what is there now, and how to ask for the other.
            let (status, output, messages) = try await run("log", live + "/current/page")
            #expect(status == 0 && output.contains(" link "), "\(output)\(messages)")
            let former = live + "/.zfs/snapshot/link/current/page"
            #expect(messages.contains("'kairos log \(former)'"), "\(messages)")
            let other = try await run("log", former)
            #expect(other.status == 0 && other.output.contains("8 B   1  directory"), "\(other)")
            let followed = try await run("cat", "--snapshot", "link", live + "/current/page")
            #expect(followed.output == "new page", "\(followed)")
            // Restoring follows no link: the name as it was, to another place.
            let place = "/run/kairos-former-\(getpid())"
            defer { unlink(place) }
            let restored = try await run("restore", live + "/current/gone", "--to", place)
            #expect(restored.status == 0, "\(restored)")
            #expect(try contents(of: place) == Array("old".utf8))
            for path in [live + "/current/gone", live + "/current/never"] {
                let refused = try await run("restore", path)
                #expect(refused.status == 2 && refused.messages.contains("symbolic link"), "\(path): \(refused)")
            }
            let deleted = try await run("deleted", "--all", live)
            #expect(deleted.output.contains("/current/gone"), "\(deleted)")
        }
    }
}
