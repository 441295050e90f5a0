import Datasets
import Glibc
import Scratch
import Subprocess
import SystemPackage
import TestSupport
import Testing
import Tracing

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
        /// How long things may take, by how fast the machine is: OpenZFS in the kernel is tested in an emulated one.
        private static func pace(_ fixture: Fixture) -> [String] {
            fixture.pool.flavour == .kernel
                ? ["--quiet", "600", "--max-delay", "3000", "--min-interval", "300", "--patience", "60"] : []
        }

        private static func options(_ set: ProbeSet, _ fixture: Fixture) -> [String] {
            var options = ["--claims", "all", "--probes", set.rawValue, "--max-faults", "3"] + pace(fixture)
            let known = known[set, default: []] + (fixture.pool.flavour == .kernel ? ["tmpfile", "direct"] : [])
            // With transaction groups there is hardly a doubt that needs a check.
            if set != .zfs { options.append("--tolerate-checks") }
            if !known.isEmpty { options += ["--without", known.joined(separator: ",")] }
            return options
        }

        /// Found by the oracle, and still there: what changes ZFS's figures, or succeeds, without changing anything that
        /// can be seen. And on OpenZFS what it forgets itself (docs/oracle.md).
        private static let known: [ProbeSet: [String]] = [
            .syscalls: ["rename_same", "orphan_close"], .vfs: ["orphan_close"],
        ]

        /// Long runs take a new one each time, unless they are given one.
        private static let seed = ["--seed", "\(TestSeeds.one(1))"]

        /// The sets that this kernel takes, the best one first.
        private static let sets = ProbeSet.allCases.filter {
            (try? Probes($0, mode: .watch, ringBytes: 1 << 16)) != nil
        }

        @Test("nothing is missed, no snapshot is empty", arguments: sets)
        func judgement(set: ProbeSet) async throws {
            let fixture = try Fixture.current()
            let given = environment("KAIROS_ORACLE")?.split(separator: " ").map(String.init)
            // A long run is of the best set, and of the one that is the best elsewhere.
            let size = set == Self.sets.first || set == .vfs ? given : nil
            let run = OracleRun(
                fixture: fixture,
                options: Self.options(set, fixture)
                    + (size ?? ["--operations", "600", "--pauses", "12"] + Self.seed))
            let (passed, text) = try await run.result()
            if given != nil { print(text) }
            #expect(passed, "\(text)")
            Self.report(set, "the oracle", passed, text)
        }

        /// A line of docs/coverage.md.
        private static func report(_ set: ProbeSet, _ what: String, _ passed: Bool, _ text: String) {
            let figures = text.split(separator: "\n").last { $0.contains("missed ") }
            CoverageReport.add(set, what, passed ? "passed" : "wrong", figures.map(String.init) ?? "")
        }

        /// A run with something in its way, on the best set; longer where a long one is asked for.
        private func hinder(_ how: String, _ hindrance: [String], _ size: [String]) async throws -> (Bool, String) {
            let fixture = try Fixture.current()
            let set = try #require(Self.sets.first)
            let long =
                environment("KAIROS_ORACLE") != nil ? ["--operations", "2000", "--pauses", "25"] : size + Self.seed
            let options = Self.options(set, fixture) + hindrance + long
            let (passed, text) = try await OracleRun(fixture: fixture, options: options).result()
            Self.report(set, "the oracle, " + how, passed, text)
            return (passed, text)
        }

        @Test("a ring of one page, of which records drop")
        func tinyRing() async throws {
            let (passed, text) = try await hinder(
                "with a ring of one page", ["--ring-bytes", "4096", "--stall"],
                ["--operations", "500", "--pauses", "8"])
            #expect(passed, "\(text)")
            #expect(!text.contains("records lost 0"), "nothing was lost, so nothing was shown\n\(text)")
        }

        @Test("a Kairos that is killed and started again, and again")
        func killed() async throws {
            let (passed, text) = try await hinder(
                "under SIGKILL", ["--kill-restart"], ["--operations", "300", "--pauses", "8"])
            #expect(passed, "\(text)")
        }

        // A test that cannot fail proves nothing.

        @Test("it finds what a Kairos misses that does nothing")
        func idle() async throws {
            let (passed, text) = try await OracleRun.result(
                of: .idle, try .current(),
                options: [
                    "--operations", "20", "--pauses", "2", "--patience", "0", "--max-delay", "1", "--max-faults", "1",
                ] + Self.seed)
            #expect(!passed)
            #expect(text.contains("MISSED: "), "\(text)")
        }

        @Test("it finds the empty snapshots of one that always takes some")
        func restless() async throws {
            let (passed, text) = try await OracleRun.result(
                of: .restless, try .current(),
                options: ["--operations", "20", "--pauses", "2", "--patience", "5", "--max-faults", "1"] + Self.seed)
            #expect(!passed)
            #expect(text.contains("EMPTY: "), "\(text)")
            #expect(!text.contains("MISSED: "), "\(text)")
        }
    }
}
