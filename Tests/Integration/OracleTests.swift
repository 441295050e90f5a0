import Datasets
import Glibc
import Scratch
import Subprocess
import SystemPackage
import Testing

/// Where the oracle finds a Kairos: what it runs instead of the one that was built.
private enum Impostor {
    /// Says that it watches, and does nothing ever.
    case idle
    /// Takes one snapshot after the other, changed or not.
    case restless

    /// Scripts that are called as `kairos run --json … DATASET...`; the last argument is a dataset.
    func script(zfs: String) -> String {
        let ready = "#!/bin/sh\ntrap 'exit 0' TERM\necho '{\"event\":\"ready\"}'\nfor last; do :; done\n"
        switch self {
        case .idle: return ready + "while :; do sleep 0.1; done\n"
        case .restless:
            return ready + "n=0\nwhile :; do n=$((n + 1)); \(zfs) snapshot \"$last@restless-$n\"; sleep 0.1; done\n"
        }
    }
}

/// One run of the oracle on datasets of its own.
private struct OracleRun {
    /// Not those that the other tests use: what they leave behind is compared, too.
    static let datasets = ["oracle", "oracle/nested", "or acle"]

    var fixture: Fixture
    var options: [String]
    var datasets = OracleRun.datasets
    var kairos: String?

    /// How it ended and what it printed.
    func result() async throws -> (passed: Bool, text: String) {
        let built = FilePath(try KairosProcess.executable)
        let oracle = built.removingLastComponent().appending("kairos-oracle").string
        try #require(access(oracle, X_OK) == 0, "there is no kairos-oracle beside kairos")
        for dataset in datasets where !exists(fixture.path(dataset)) {
            try await fixture.zfs("create", fixture.name(dataset))
        }
        var arguments = ["--kairos", kairos ?? built.string, "--zfs", fixture.pool.command.zfs]
        for dataset in datasets { arguments += ["--dataset", fixture.name(dataset) + "=" + fixture.path(dataset)] }
        arguments += options
        let output = try await Subprocess.run(
            .path(FilePath(oracle)), arguments: Arguments(arguments), output: .string(limit: 1 << 22),
            error: .string(limit: 1 << 20))
        let text = output.standardOutput + output.standardError
        return (output.terminationStatus.isSuccess, text)
    }

    /// Runs the oracle against a script instead of Kairos.
    static func result(
        of impostor: Impostor, _ fixture: Fixture, options: [String]
    ) async throws -> (passed: Bool, text: String) {
        let script = fixture.pool.directory + "/impostor"
        try write(impostor.script(zfs: fixture.pool.command.zfs), to: script, mode: 0o755)
        defer { unlink(script) }
        return try await OracleRun(fixture: fixture, options: options, datasets: ["impostor"], kairos: script).result()
    }
}

private func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

extension IntegrationTests {
    /// `make test-oracle` runs these; there `KAIROS_ORACLE` holds options for the first, such as a seed.
    @Suite("The oracle")
    struct OracleTests {
        /// What the probe set claims to see, in short times.
        private static let options = [
            "--claims", "syscalls", "--probes", "syscalls", "--limit", "240", "--max-faults", "3", "--without", known,
            "--tolerate-checks",
        ]
        /// Found by the oracle, and still there: what succeeds without changing anything that can be seen (docs/oracle.md).
        private static let known = "rename_same,omit_times,orphan_write,orphan_close"
        private static let size = ["--operations", "600", "--pauses", "12"]

        @Test("nothing is missed, no snapshot is empty")
        func judgement() async throws {
            let more = environment("KAIROS_ORACLE")?.split(separator: " ").map(String.init)
            let run = OracleRun(fixture: try .current(), options: Self.options + (more ?? Self.size))
            let (passed, text) = try await run.result()
            if more != nil { print(text) }
            #expect(passed, "\(text)")
        }

        @Test("a ring of one page, of which records drop")
        func tinyRing() async throws {
            let options =
                Self.options + [
                    "--ring-bytes", "4096", "--stall", "--operations", "500", "--pauses", "8",
                ]
            let (passed, text) = try await OracleRun(fixture: try .current(), options: options).result()
            #expect(passed, "\(text)")
            #expect(!text.contains("records lost 0"), "nothing was lost, so nothing was shown\n\(text)")
        }

        @Test("a Kairos that is killed and started again, and again")
        func killed() async throws {
            let options = Self.options + ["--kill-restart", "--operations", "300", "--pauses", "8"]
            let (passed, text) = try await OracleRun(fixture: try .current(), options: options).result()
            #expect(passed, "\(text)")
        }

        // A test that cannot fail proves nothing.

        @Test("it finds what a Kairos misses that does nothing")
        func idle() async throws {
            let (passed, text) = try await OracleRun.result(
                of: .idle, try .current(),
                options: [
                    "--operations", "20", "--pauses", "2", "--patience", "0", "--max-delay", "1", "--max-faults", "1",
                ])
            #expect(!passed)
            #expect(text.contains("MISSED: "), "\(text)")
        }

        @Test("it finds the empty snapshots of one that always takes some")
        func restless() async throws {
            let (passed, text) = try await OracleRun.result(
                of: .restless, try .current(),
                options: ["--operations", "20", "--pauses", "2", "--patience", "5", "--max-faults", "1"])
            #expect(!passed)
            #expect(text.contains("EMPTY: "), "\(text)")
            #expect(!text.contains("MISSED: "), "\(text)")
        }

        @Test("it finds what system calls do not show", .timeLimit(.minutes(4)))
        func unclaimed() async throws {
            let kinds = "uring_write,uring_sqpoll,uring_names,aio"
            let (passed, text) = try await OracleRun(
                fixture: try .current(),
                options: [
                    "--claims", "all", "--only", kinds + ",create_write", "--probes", "syscalls", "--operations",
                    "100000", "--pauses", "40", "--patience", "1", "--max-faults", "1", "--limit", "200",
                ]
            ).result()
            #expect(!passed)
            #expect(text.contains("MISSED: "), "\(text)")
        }
    }
}
