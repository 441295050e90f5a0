import Glibc
import Scratch
import Subprocess
import Testing

extension IntegrationTests {
    @Suite("Paths that are gone before they are looked at")
    struct SuspicionTests {
        @Test(
            "one is not forgotten because a snapshot was taken after an earlier one, nor because Kairos stops",
            arguments: [true, false])
        func later(waits: Bool) async throws {
            let fixture = try Fixture.current()
            let elsewhere = "/tmp/kairos-test-gone-\(getpid())"
            try makeDirectory(elsewhere)
            defer { rmdir(elsewhere) }
            try makeDirectory(fixture.path("a") + "/reached")
            let command = ["run", "--verbose", "--audit", "off"] + .prompt + [fixture.name("a")]
            try await KairosProcess.run(command) { kairos in
                try await kairos.message(containing: "watching")
                _ = try await gone(elsewhere, to: "/tmp", kairos, waits: true)
                let before = try await fixture.snapshots(of: "a").count
                try write("content", to: fixture.path("a") + "/seen")
                let isTaken = try await wait(for: KairosProcess.patience) {
                    try await fixture.snapshots(of: "a").count > before
                }
                try #require(isTaken, "\(kairos.transcript)")
                let name = try await gone(elsewhere, to: fixture.path("a") + "/reached", kairos, waits: waits)
                #expect(try await kairos.stop().status.isSuccess, "\(kairos.transcript)")
                let newest = try #require(try await fixture.snapshots(of: "a").last)
                let tree = try await SnapshotReader(fixture: fixture).tree(of: "\(fixture.name("a"))@\(newest)")
                #expect(tree["reached/" + name] == .directory, "\(kairos.transcript)")
                try call("unlinkat", .here, .text(fixture.path("a") + "/seen"), 0)
            }
        }

        /// Makes a directory by way of a link that is gone a moment later. Returns its name.
        ///
        /// - Parameter waits: until Kairos has found no way to it.
        private func gone(
            _ elsewhere: String, to target: String, _ kairos: KairosProcess, waits: Bool
        ) async throws -> String {
            for _ in 0..<1000 {
                let number = UInt32.random(in: 0 ... .max)
                let name = "kairos-test-made-\(getpid())-\(number)"
                let (directory, link) = (elsewhere + "/\(number)", elsewhere + "/\(number)/link")
                try makeDirectory(directory)
                try call("symlinkat", .text(target), .here, .text(link))
                // Nothing may come between these three.
                let made = mkdir(link + "/" + name, 0o755)
                unlink(link)
                rmdir(directory)
                try #require(made == 0)
                if target == "/tmp" { rmdir("/tmp/" + name) }
                if await wait(
                    for: .seconds(1), until: { kairos.messages.contains("unresolved: mkdir \(link)/\(name) ") })
                {
                    return name
                }
            }
            throw KairosError(description: "each path was found in time\n\(kairos.transcript)")
        }
    }
}
