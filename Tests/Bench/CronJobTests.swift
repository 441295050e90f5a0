import Background
import CLinux
import Synchronization
import TestSupport
import Testing

@testable import Bench

@Suite("A cron job of the benchmark")
struct CronJobTests {
    private func live(
        _ zfs: FakeZFS, ticks: Int, wasWritten: (@Sendable () -> (Bool, cpu: Duration))? = nil,
        tookSnapshot: @escaping @Sendable () -> Void = {}
    ) throws -> LiveRecord {
        let interval: UInt64 = 200_000_000
        let job = CronJob(
            dataset: "tank/a", zfs: zfs.directory + "/zfs", interval: interval, wasWritten: wasWritten,
            tookSnapshot: tookSnapshot)
        let start = kairos_monotonic_ns()
        job.finish(after: start + interval * UInt64(ticks))
        job.begin(at: start)
        return try #require(job.outcome(unless: { false }))
    }

    @Test("one at each interval, the last at the very end, and none behind it")
    func ticks() throws {
        let zfs = try FakeZFS()
        let record = try live(zfs, ticks: 3)
        // One that the machine was too slow for is left out, and counted.
        #expect(record.snapshots.count + record.skipped == 3 && record.problems.isEmpty, "\(record)")
        #expect(try zfs.calls().allSatisfy { $0[1] == "snapshot" && $0[2].hasPrefix("tank/a@cron-") })
        #expect(record.snapshots.allSatisfy { $0.began < $0.finished })
    }

    @Test("the end's own tick is the last, though it lies some nanoseconds before the end by rounding")
    func rounding() throws {
        let zfs = try FakeZFS()
        // A day of seven intervals, at a scale that divides neither.
        let interval: UInt64 = 100_000_000 / 7
        let looked = Mutex(0)
        let job = CronJob(
            dataset: "tank/a", zfs: zfs.directory + "/zfs", interval: interval,
            wasWritten: {
                looked.withLock { $0 += 1 }
                return (false, .zero)
            }, tookSnapshot: {})
        let start = kairos_monotonic_ns()
        job.finish(after: start + 100_000_000)
        job.begin(at: start)
        let record = try #require(job.outcome(unless: { false }))
        #expect(looked.withLock { $0 } + record.skipped == 7)
    }

    @Test("one that looks first takes none of what was not written")
    func written() throws {
        let zfs = try FakeZFS()
        let record = try live(zfs, ticks: 3, wasWritten: { (false, .milliseconds(1)) })
        #expect(record.snapshots.isEmpty && record.cpu > .zero)
        #expect(try zfs.calls().isEmpty)
    }

    @Test("one that fails is told of, and does not count as taken")
    func failed() throws {
        let zfs = try FakeZFS()
        try zfs.answer("echo \"cannot create snapshot: out of space\" >&2; exit 1")
        let taken = Mutex(0)
        let record = try live(zfs, ticks: 2, tookSnapshot: { taken.withLock { $0 += 1 } })
        #expect(record.snapshots.isEmpty && taken.withLock { $0 } == 0)
        #expect(!record.problems.isEmpty && record.problems.allSatisfy { $0.contains("out of space") })
    }

    @Test("who waits for it can be told to stop")
    func interrupted() throws {
        let zfs = try FakeZFS()
        let job = CronJob(
            dataset: "tank/a", zfs: zfs.directory + "/zfs", interval: 1_000_000_000_000, wasWritten: nil,
            tookSnapshot: {})
        job.begin(at: kairos_monotonic_ns())
        #expect(job.outcome(unless: { true }) == nil)
        job.stop()
        #expect(job.outcome(unless: { false }) != nil)
    }
}

@Suite("kairos run in the benchmark")
struct KairosContenderTests {
    /// A program that says what it is told to.
    private func contender(_ lines: String) throws -> (KairosContender, FakeZFS) {
        let fake = try FakeZFS()
        try fake.answer(lines)
        return (try KairosContender(kairos: fake.directory + "/zfs", arguments: ["tank/a"]), fake)
    }

    @Test("one that ends before its time is a problem, and its status is told")
    func died() throws {
        let (daemon, fake) = try contender("echo '{\"event\":\"unchanged\",\"dataset\":\"tank/a\"}'; exit 3")
        try? daemon.waitUntilReady(unless: { false })
        while !daemon.hasEnded {}
        let record = daemon.finish()
        #expect(record.problems.contains { $0.contains("before its time") }, "\(record)")
        #expect(record.problems.contains { $0.contains("ended with status 3") }, "\(record)")
        #expect(record.cpu >= .zero)
        // A second time there is nobody to end.
        daemon.end()
        #expect(try fake.calls().count == 1)
    }

    @Test("who ends it wants to know nothing of a Ctrl-C that came meanwhile, but that it came")
    func interrupted() throws {
        let (daemon, fake) = try contender("exec sleep 60")
        #expect { try daemon.waitUntilReady(unless: { true }) } throws: { "\($0)" == "interrupted" }
        let record = daemon.finish()
        #expect(record.problems == ["kairos run was ended by signal 15"] && record.cpu >= .zero, "\(record)")
        withExtendedLifetime(fake) {}
    }

    @Test("what it lost or missed is a problem; snapshots are counted with their times")
    func problems() throws {
        let (daemon, fake) = try contender(
            """
            echo '{"event":"unchanged","dataset":"tank/a"}'
            echo '{"event":"snapshot","dataset":"tank/a","snapshot":"kairos-1","engine_ms":5}'
            trap 'echo "{\\"event\\":\\"stopped\\",\\"summary\\":{\\"records_lost\\":7,\\"missed\\":2,\\"failures\\":0}}"; exit 0' TERM
            echo '{"event":"snapshot","dataset":"tank/a","snapshot":"kairos-2","engine_ms":5}'
            while :; do sleep 0.01; done
            """)
        try daemon.waitUntilReady(unless: { false })
        while daemon.last?.name != "kairos-2", !daemon.hasEnded {}
        let record = daemon.finish()
        #expect(record.snapshots.map(\.name) == ["kairos-1", "kairos-2"])
        #expect(record.snapshots.allSatisfy { $0.finished - $0.began == 5_000_000 })
        #expect(record.problems == ["kairos run lost 7 records of detail", "kairos run missed 2 changes"])
        #expect(try fake.calls()[0].dropFirst().prefix(3) == ["run", "--json", "--no-prune"])
    }
}
