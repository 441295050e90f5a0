import Glibc
import Testing

/// How often a test of them may be disturbed and done again: some seconds of another test's short-lived processes must not be enough.
private let ignoreAttempts = 60

extension IntegrationTests {
    @Suite(
        "Ignored paths",
        .kairos(
            "a", "b", "c", options: .prompt + ["--ignore", "*.tmp,.cache/"],
            prepare: { fixture in
                for dataset in ["a", "b", "c"] {
                    for attempt in 0..<ignoreAttempts {
                        let directory = fixture.path(dataset) + "/ignore\(attempt)"
                        try makeDirectory(directory + "/.cache")
                        for file in ["old.tmp", ".cache/kept"] { try write("content", to: directory + "/" + file) }
                    }
                }
            })
    )
    struct IgnoreTests {
        /// When a path of some other process cannot be resolved, ZFS itself is asked, and ZFS knows of no ignored paths:
        /// the snapshot that follows is right, and proves nothing of the rules. Then the test is done again, in the next
        /// directory. A host where that happens each time is not one to test on.
        private func undisturbed(
            _ dataset: String, _ body: (KairosProcess, Fixture, String) async throws -> [KairosEvent]
        ) async throws -> [KairosEvent] {
            let fixture = try Fixture.current()
            let kairos = try KairosTrait.current()
            for attempt in 0..<ignoreAttempts {
                let directory = "\(fixture.path(dataset))/ignore\(attempt)"
                let snapshots = try await body(kairos, fixture, directory)
                if !snapshots.contains(where: { $0.trigger == "check" && $0.changes == [:] }) { return snapshots }
            }
            throw KairosError(description: "ZFS was asked in between each time\n\(kairos.transcript)")
        }

        private func isIgnoreDirectory(_ paths: [String]?, with name: String) -> Bool {
            paths?.count == 1 && paths?.allSatisfy { $0.hasPrefix("ignore") && $0.hasSuffix(name) } ?? false
        }

        @Test("changes to them alone make no snapshot, another one does and is told alone")
        func ignored() async throws {
            let snapshots = try await undisturbed("a") { kairos, fixture, directory in
                let none = try await kairos.snapshots(of: [], in: fixture) {
                    let file = try OpenFile(directory + "/new.tmp", O_WRONLY | O_CREAT | O_EXCL)
                    try call("write", .descriptor(file.raw), .bytes(Array("text".utf8)), 4)
                    try call("truncate", .text(directory + "/old.tmp"), 3)
                    try call("renameat2", .here, .text(directory + "/old.tmp"), .here, .text(directory + "/now.tmp"), 0)
                    try call("mkdirat", .here, .text(directory + "/.cache/sub"), 0o755)
                    _ = try OpenFile(directory + "/.cache/sub/file", O_WRONLY | O_CREAT | O_EXCL)
                    try call("unlinkat", .here, .text(directory + "/.cache/kept"), 0)
                }
                return try await none
                    + kairos.snapshots(of: ["a"], in: fixture) {
                        try call("mkdirat", .here, .text(directory + "/beside"), 0o755)
                    }
            }
            #expect(snapshots.map(\.changes) == [["mkdir": 1]])
            #expect(isIgnoreDirectory(snapshots.first?.paths, with: "/beside"), "\(snapshots)")
        }

        @Test("a rename out of them is a change")
        func renamedOut() async throws {
            let snapshots = try await undisturbed("b") { kairos, fixture, directory in
                try await kairos.snapshots(of: ["b"], in: fixture) {
                    let opened = try OpenFile(directory, O_RDONLY | O_DIRECTORY)
                    try call("renameat2", .descriptor(opened.raw), "old.tmp", .descriptor(opened.raw), "kept", 0)
                }
            }
            #expect(snapshots.map(\.changes) == [["rename": 1]])
            #expect(isIgnoreDirectory(snapshots.first?.paths, with: "/kept"), "\(snapshots)")
        }

        @Test("a rename out of them is a change, by paths that are resolved afterwards")
        func renamedOutByPath() async throws {
            let snapshots = try await undisturbed("c") { kairos, fixture, directory in
                try await kairos.snapshots(of: ["c"], in: fixture) {
                    try call("renameat2", .here, .text(directory + "/old.tmp"), .here, .text(directory + "/kept"), 0)
                }
            }
            #expect(snapshots.map(\.changes) == [["rename": 1]])
            #expect(isIgnoreDirectory(snapshots.first?.paths, with: "/kept"), "\(snapshots)")
        }
    }
}
