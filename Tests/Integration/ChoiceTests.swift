import Glibc
import Subprocess
import SystemPackage
import TestSupport
import Testing

extension IntegrationTests.RecoveryTests {
    /// What a command came to.
    private struct Answer: CustomStringConvertible {
        var status: Int32?
        var output: String
        var messages: String
        var description: String { "status \(status.map(String.init) ?? "none")\n\(output)\n\(messages)" }
    }

    private func run(_ fixture: Fixture, _ arguments: String...) async throws -> Answer {
        let (status, output, messages) = try await kairos(fixture, arguments + ["--journal", "none"])
        var answer = Answer(output: String(decoding: output, as: UTF8.self), messages: messages)
        if case .exited(let code) = status { answer.status = code }
        return answer
    }

    private func names(in directory: String) throws -> [String] {
        let stream = try #require(opendir(directory))
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    @Test("a directory comes back as it was before the damage, though a snapshot was taken after it")
    func damagedDirectory() async throws {
        try await dataset("choice") { fixture, live in
            let name = fixture.name("choice")
            try makeDirectory(live + "/photos")
            try makeDirectory(live + "/photos/2024")
            for photo in ["p1.jpg", "p2.jpg", "p3.jpg"] { try write(photo, to: live + "/photos/2024/" + photo) }
            try await fixture.zfs("snapshot", name + "@before")
            unlink(live + "/photos/2024/p2.jpg")
            try write("spoilt", to: live + "/photos/2024/p3.jpg")
            try await fixture.zfs("snapshot", name + "@damaged")
            try write("new", to: live + "/photos/p4.jpg")
            try await fixture.zfs("snapshot", name + "@later")

            let diff = try await run(fixture, "diff", live + "/photos")
            #expect(diff.status == 1 && diff.output.contains("before"), "\(diff)")
            #expect(diff.output.hasSuffix("\n-2024/p2.jpg\n!2024/p3.jpg\n+p4.jpg\n"), "\(diff)")
            let restored = try await run(fixture, "restore", live + "/photos")
            #expect(restored.status == 0, "\(restored)")
            let copies = try names(in: live).filter { $0.hasPrefix("photos.") }
            let copy = live + "/" + (try #require(copies.first))
            #expect(try names(in: copy + "/2024") == ["p1.jpg", "p2.jpg", "p3.jpg"])
            #expect(try contents(of: copy + "/2024/p3.jpg") == Array("p3.jpg".utf8))
            let again = try await run(fixture, "restore", live + "/photos")
            #expect(again.status == 0 && again.output.contains("already there as"), "\(again)")
            #expect(try names(in: live).filter { $0.hasPrefix("photos.") } == copies)
            let replaced = try await run(fixture, "restore", "--in-place", "--yes", live + "/photos")
            #expect(replaced.status == 0, "\(replaced)")
            #expect(try names(in: live + "/photos/2024") == ["p1.jpg", "p2.jpg", "p3.jpg"])
        }
    }

    @Test("cat, diff and restore take one version: the newest with another content, owner or mode")
    func oneVersion() async throws {
        try await dataset("version") { fixture, live in
            let (name, file) = (fixture.name("version"), live + "/file")
            try write("one\n", to: file)
            try await fixture.zfs("snapshot", name + "@one")
            try write("two\n", to: file)
            try await fixture.zfs("snapshot", name + "@two")
            try await fixture.zfs("snapshot", name + "@again")
            // The same bytes in another inode are the same version.
            try write("two\n", to: live + "/other")
            try #require(Glibc.rename(live + "/other", file) == 0)
            try await fixture.zfs("snapshot", name + "@replaced")

            let cat = try await run(fixture, "cat", file)
            #expect(cat.status == 0 && cat.output == "one\n" && cat.messages.contains(", one"), "\(cat)")
            let diff = try await run(fixture, "diff", file)
            #expect(diff.status == 1 && diff.output.hasSuffix("@@ -1 +1 @@\n-one\n+two\n"), "\(diff)")
            for round in 0..<2 {
                let restored = try await run(fixture, "restore", file)
                #expect(restored.status == 0, "\(restored)")
                #expect(restored.output.contains("already there as") == (round == 1), "\(restored)")
                let copies = try names(in: live).filter { $0.hasPrefix("file.") }
                #expect(copies.count == 1)
                #expect(try contents(of: live + "/" + (copies.first ?? "")) == Array("one\n".utf8))
            }
            // Another mode is another version, and says so.
            try #require(chmod(file, 0o600) == 0)
            let mode = try await run(fixture, "diff", file)
            #expect(
                mode.status == 1 && mode.output.contains("mode 0644") && mode.output.contains("mode 0600"), "\(mode)")
            // Extended attributes count as well.
            try #require(chmod(file, 0o644) == 0)
            let isKept =
                (try? call(
                    "setxattr", .text(file), .text("user.test"), .bytes([1, 2, 3]), .number(3), .number(0))) != nil
            // zfs-fuse has none.
            guard isKept else { return }
            let attributes = try await run(fixture, "diff", file)
            #expect(attributes.status == 1 && attributes.output.contains("attributes differ"), "\(attributes)")
        }
    }

    @Test("where no snapshot has a version that differs, cat, diff and restore say so and do nothing")
    func nothingElse() async throws {
        try await dataset("same") { fixture, live in
            try makeDirectory(live + "/d")
            try write("text", to: live + "/d/file")
            for snapshot in ["a", "b"] { try await fixture.zfs("snapshot", fixture.name("same") + "@" + snapshot) }
            for path in ["/d", "/d/file"] {
                for (command, status) in [("diff", Int32(0)), ("restore", 2)] + (path == "/d" ? [] : [("cat", 1)]) {
                    let answer = try await run(fixture, command, live + path)
                    #expect(answer.status == status && answer.output.isEmpty, "\(command) \(path): \(answer)")
                    #expect(answer.messages.contains("no snapshot has a version that differs"), "\(command): \(answer)")
                }
            }
            #expect(try names(in: live) == ["d"])
            #expect(try names(in: live + "/d") == ["file"])
            // Of several paths the others are restored.
            try write("text", to: live + "/gone")
            try await fixture.zfs("snapshot", fixture.name("same") + "@c")
            unlink(live + "/gone")
            let (status, _, messages) = try await kairos(
                fixture, ["restore", "--journal", "none", live + "/d/file", live + "/gone"])
            #expect(status.isSuccess && messages.contains("already as it was"), "\(messages)")
            #expect(try contents(of: live + "/gone") == Array("text".utf8))
        }
    }
}
