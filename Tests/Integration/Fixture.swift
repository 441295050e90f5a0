import Datasets
import Glibc
import Scratch
import Subprocess
import SystemPackage
import Testing

/// The pool that all integration tests share, with its datasets.
struct Fixture: Sendable {
    let pool: ScratchPool

    /// The pool of the test that runs.
    @TaskLocal static var shared: Fixture?

    static func current() throws -> Fixture {
        try #require(shared, "integration tests run within the suite that makes their pool")
    }

    /// Below the pool. `nested` is mounted inside `a`; what follows last in the alphabet is snapshotted last.
    static let datasets = ["a", "a/nested", "b", "c", "sp ace", "z"]
    /// Changed by the tests only to see when Kairos is done with what came before.
    static let sentinel = "z"

    func name(_ dataset: String) -> String { "\(pool.name)/\(dataset)" }
    func path(_ dataset: String) -> String { "\(pool.mountPoint)/\(dataset)" }
    var sentinel: String { name(Self.sentinel) }

    @discardableResult
    func zfs(_ arguments: String...) async throws -> [UInt8] { try await pool.command.run(arguments) }

    /// `zfs`, again while it calls the dataset busy: zfs-fuse does for a while after a file in it was closed.
    func patiently(_ arguments: String...) async throws {
        for pause in [5, 10, 20, 50, 100, 200, 500, 1000, 2000, 4000, 8000] {
            do throws(ZFSError) {
                try await pool.command.run(arguments)
                return
            } catch {
                guard error.kind == .busy else { throw error }
                try await Task.sleep(for: .milliseconds(pause))
            }
        }
        try await pool.command.run(arguments)
    }

    /// The snapshots of a dataset, oldest first: the part after `@`.
    func snapshots(of dataset: String) async throws -> [String] {
        let output = try await zfs("list", "-H", "-o", "name", "-t", "snapshot", "-s", "creation", "-r", name(dataset))
        return String(decoding: output, as: UTF8.self).split(separator: "\n").compactMap { line in
            let parts = line.split(separator: "@")
            return parts.count == 2 && parts[0] == name(dataset) ? String(parts[1]) : nil
        }
    }

    /// Changes the sentinel dataset.
    func touchSentinel() throws {
        let path = path(Self.sentinel) + "/touched"
        do {
            try call("unlinkat", .here, .text(path), 0)
        } catch let error as CallError where error.errno == .noSuchFileOrDirectory {
            _ = try OpenFile(path, O_WRONLY | O_CREAT | O_EXCL)
        }
    }
}

/// Makes the pool before a suite, and removes it after it, whatever became of its tests.
struct PoolTrait: SuiteTrait, TestScoping {
    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        guard geteuid() == 0 else {
            throw KairosError(
                description: "the integration tests load eBPF programs and make a ZFS pool: run them as root")
        }
        // Of test runs that were killed.
        _ = await ScratchPool.removeLeftovers()
        let pool = try await ScratchPool(purpose: "test", datasets: Fixture.datasets, size: 1 << 30)
        let fixture = Fixture(pool: pool)
        do {
            // A read would be a change to ZFS, though not to Kairos.
            try await fixture.zfs("set", "atime=off", pool.name)
            // Off by default; zfs-fuse has none.
            if OpenZFS.isInKernel { try await fixture.zfs("set", "acltype=posixacl", pool.name) }
            try await Fixture.$shared.withValue(fixture) { try await function() }
        } catch {
            await remove(pool)
            throw error
        }
        await remove(pool)
    }

    private func remove(_ pool: ScratchPool) async {
        for line in await pool.destroy() { Issue.record("the test pool stays behind: \(line)") }
    }
}

extension Trait where Self == PoolTrait {
    /// A scratch pool around all tests of the suite.
    static var pool: PoolTrait { PoolTrait() }
}

/// One Kairos for all tests of a suite.
struct KairosTrait: SuiteTrait, TestScoping {
    var datasets: [String]
    var options: [String]
    /// What has to be there before Kairos starts.
    var prepare: @Sendable (Fixture) async throws -> Void

    @TaskLocal static var shared: KairosProcess?

    static func current() throws -> KairosProcess {
        try #require(shared, "these tests run within a suite that starts Kairos")
    }

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        let fixture = try Fixture.current()
        try await prepare(fixture)
        let names = (datasets + [Fixture.sentinel]).map(fixture.name)
        try await KairosProcess.run(["run", "--json"] + options + names) { kairos in
            try await kairos.ready()
            try await Self.$shared.withValue(kairos) { try await function() }
            kairos.expectNothingUnclaimed()
            let (status, summary) = try await kairos.stop()
            #expect(status.isSuccess, "kairos ended with \(status)\n\(kairos.transcript)")
            #expect(summary?.failures == 0)
            #expect(summary?.leftAtRisk == [])
            #expect(kairos.undecoded == 0, "not all lines are JSON\n\(kairos.transcript)")
            // Paths of other processes that were gone make Kairos check all datasets when it stops, and zfs-fuse's figures
            // count an fsync as a change.
            let mayCheck = !OpenZFS.isInKernel && (summary?.unresolved ?? 0) > 0
            kairos.expectNothingUnclaimed { mayCheck && $0.trigger == "stop" && $0.changes == [:] }
        }
    }
}

extension Trait where Self == KairosTrait {
    /// Kairos on these datasets, and on the sentinel, around all tests of the suite.
    static func kairos(
        _ datasets: String..., options: [String] = .prompt,
        prepare: @escaping @Sendable (Fixture) async throws -> Void = { _ in }
    ) -> KairosTrait {
        KairosTrait(datasets: datasets, options: options, prepare: prepare)
    }
}

extension [String] {
    /// Short times: a test makes one change and waits for what comes of it. Where paths of other processes can often not
    /// be resolved, the look at what was there before is put off again and again, up to max-delay.
    static var prompt: [String] { ["--quiet", "100ms", "--min-interval", "50ms", "--max-delay", "1s"] }
}

extension KairosProcess {
    /// Every snapshot has to be one that a test caused.
    func expectNothingUnclaimed(
        sourceLocation: SourceLocation = #_sourceLocation, but isExpected: (KairosEvent) -> Bool = { _ in false }
    ) {
        let stray = claim().events.filter { $0.event == "snapshot" && !isExpected($0) || $0.event == "failure" }
        #expect(
            stray.isEmpty, "nobody asked for \(stray.map(\.fullName))\n\(transcript)", sourceLocation: sourceLocation)
    }

    /// Makes a change, waits for a snapshot of each of these datasets, then for one of the sentinel, and returns all
    /// snapshots but the sentinel's.
    ///
    /// The sentinel is changed last and snapshotted last, so what is not there by then does not come any more. (And if
    /// it did, `expectNothingUnclaimed` of the next call or of the suite's end would find it.)
    func snapshots(
        of datasets: [String], in fixture: Fixture, after change: () async throws -> Void,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> [KairosEvent] {
        expectNothingUnclaimed(sourceLocation: sourceLocation)
        let (start, _) = claim()
        try await change()
        for dataset in datasets {
            let name = fixture.name(dataset)
            try await event("a snapshot of \(name)", from: start) { $0.event == "snapshot" && $0.dataset == name }
        }
        let touched = events.count
        try fixture.touchSentinel()
        try await event("a snapshot of the sentinel", from: touched) {
            $0.event == "snapshot" && $0.dataset == fixture.sentinel
        }
        let new = claim().events
        let failures = new.filter { $0.event == "failure" }
        #expect(failures.isEmpty, "\(failures)", sourceLocation: sourceLocation)
        return new.filter { $0.event == "snapshot" && $0.dataset != fixture.sentinel }
    }

    /// Waits until it is done with all that happened before, whatever came of it.
    func rest(in fixture: Fixture) async throws {
        _ = claim()
        _ = try await snapshots(of: [], in: fixture, after: {})
    }

    /// Makes a change that has to lead to exactly one snapshot, of this dataset, and returns it.
    func onlySnapshot(
        of dataset: String, in fixture: Fixture, after change: () async throws -> Void,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> KairosEvent {
        let found = try await snapshots(of: [dataset], in: fixture, after: change, sourceLocation: sourceLocation)
        #expect(
            found.map(\.dataset) == [fixture.name(dataset)], "\(found.map(\.fullName))", sourceLocation: sourceLocation)
        return try #require(found.first { $0.dataset == fixture.name(dataset) }, sourceLocation: sourceLocation)
    }

    /// Does what must not lead to a snapshot of anything.
    func expectNoSnapshot(
        in fixture: Fixture, of work: () async throws -> Void, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let found = try await snapshots(of: [], in: fixture, after: work, sourceLocation: sourceLocation)
        #expect(found.isEmpty, "\(found.map(\.fullName))\n\(transcript)", sourceLocation: sourceLocation)
    }
}
