import Policy
import TestSupport
import Testing

@testable import Bench

@Suite("Simulated contenders")
struct SimulationTests {
    private func kairos(_ history: DatasetHistory, _ settings: Settings = Settings()) -> [TakenAt] {
        simulation.snapshots(of: history, by: .kairos(settings))
    }

    @Test("A change is snapshotted after the quiet time")
    func quiet() {
        let taken = kairos(history([change(1), change(2)], to: 10))
        #expect(taken == [TakenAt(captured: seconds(4), finished: seconds(4.02))])
    }

    @Test("Without a pause, at max-delay")
    func maxDelay() {
        let busy = (0..<1000).map { change(Double($0) * 0.1) }
        let taken = kairos(history(busy, to: 100))
        // The first change of the second one came during the first snapshot, or right after it.
        #expect(taken.count == 4)
        #expect(taken.first?.captured == seconds(30))
        #expect(taken.last?.captured == seconds(101.9))
    }

    @Test("A commit point shortens the wait, and a close counts as one")
    func commits() {
        let settings = Settings(commitQuiet: .milliseconds(100))
        #expect(kairos(history([change(1, commit: true)], to: 9), settings).map(\.captured) == [seconds(1.1)])
        // The wait is since the change, and has passed when the file is closed.
        #expect(kairos(history([change(1)], to: 9, commits: [1.5]), settings).map(\.captured) == [seconds(1.5)])
        // Without the setting they say nothing.
        #expect(kairos(history([change(1)], to: 9, commits: [1.5])).map(\.captured) == [seconds(3)])
    }

    @Test("A commit point behind other changes of its epoch counts: create, write, rename")
    func commitBehind() {
        let settings = Settings(commitQuiet: .milliseconds(100))
        let save = (0..<10).flatMap { number in
            let at = 10 + Double(number)
            return [change(at), change(at + 0.01), change(at + 0.02, commit: true)]
        }
        let taken = kairos(history(save, to: 30), settings)
        #expect(taken.map(\.captured) == (0..<10).map { seconds(10.12 + Double($0)) })
    }

    @Test("A recorded day on a slower clock is the same day")
    func stretched() {
        let day = RecordedDay(
            histories: [history([change(5), change(6)], to: 9, from: 4, commits: [7])], wallOffset: 12)
        let slow = day.stretched(by: 10).histories[0]
        #expect(slow.start == 0 && slow.end == seconds(50) && slow.changes.map(\.time) == [seconds(10), seconds(20)])
        #expect(slow.commits == [seconds(30)] && day.hasCommits)
    }

    @Test("The mean over the phases of cron's clock decides, and the middle of what makes as many")
    func phases() throws {
        // A change each minute for an hour. The tick behind the last one counts, too: for 6 the interval is nearly a fifth of it.
        let day = RecordedDay(
            histories: [history((0..<60).map { change(Double($0) * 60 + 1) }, to: 3600)], wallOffset: 0)
        let bench = ReplayBench(day: day, snapshotTime: .milliseconds(20), checkTime: .milliseconds(20))
        for wanted in [6, 12, 30] {
            let rival = try #require(bench.cron(asManyAs: wanted, onlyWritten: false))
            #expect(abs(rival.snapshots - Double(wanted)) < 0.1, "\(rival)")
            let ideal = 3540 / Double(wanted - 1)
            #expect(abs(rival.interval / .seconds(1) - ideal) < ideal * 0.1, "\(rival)")
            #expect(rival.byteSeconds.count == 16 && rival.ends.contains(rival.interval / .seconds(1)))
        }
        // Nobody makes a thousand snapshots of sixty changes by looking first.
        #expect(bench.cron(asManyAs: 1000, onlyWritten: true) == nil)
    }

    @Test("An interval of centuries is no trap")
    func centuries() {
        let day = history([change(1), change(2)], to: 3, from: 0)
        for interval in [Duration.seconds(86_400 * 365 * 200), .seconds(Int64.max)] {
            for onlyWritten in [false, true] {
                let taken = simulation.snapshots(of: day, by: .cron(every: interval, onlyWritten: onlyWritten))
                #expect(taken.count == 1 && taken[0].captured >= seconds(2))
            }
        }
    }

    @Test("The median of an even number is between the two in the middle")
    func median() {
        #expect(CostBench.median([4, 1, 3, 2]) == 2.5 && CostBench.median([3, 1, 2]) == 2)
        // Numbers, and not their bits.
        #expect(LatencyBench.Row(name: "a", times: [9, 5, 8]).median == 8)
        #expect(CostBench.median([7]) == 7 && CostBench.median([]) == 0)
        #expect(CostBench.noise([[1, 1, 1, 1], [1, 1, 2, 2]]) == 1 && CostBench.noise([[5]]) == 0)
    }

    /// What the policy promises holds here too, and nothing is left out.
    @Test("On random days: no change is missed, none is empty, the pace is kept", arguments: TestSeeds.of(0..<300))
    func promises(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let day = randomHistory(&random)
        let quiet = Duration.milliseconds(Int.random(in: 50...5000, using: &random))
        let settings = Settings(
            quiet: quiet, maxDelay: quiet * 10, minInterval: quiet / 4,
            commitQuiet: .random(using: &random) ? quiet / 5 : nil)
        let taken = kairos(day, settings)
        let measured = Measures(of: day, taken)
        #expect(measured.uncaptured == 0)
        #expect(measured.empty == 0)
        for (earlier, later) in zip(taken, taken.dropFirst()) {
            #expect(later.captured >= earlier.captured + (quiet / 4).wholeNanoseconds)
        }
        // Max-delay, or what is left of min-interval, behind a snapshot and a check in flight.
        let limit = (quiet * 10 + quiet / 4 + .milliseconds(20 + 20 + 10 + 10)).wholeNanoseconds
        #expect(measured.windows.last ?? 0 <= limit)
    }

    @Test("cron goes by the wall clock, and on until all is captured")
    func cron() {
        var clock = simulation
        clock.wallOffset = -3_000_000_000
        let day = history([change(11), change(21)], to: 22)
        let every = clock.snapshots(of: day, by: .cron(every: .seconds(5), onlyWritten: false))
        #expect(every.map(\.captured) == [3, 8, 13, 18, 23].map(seconds))
        #expect(every.allSatisfy { $0.finished == $0.captured + 20_000_000 })
        let written = clock.snapshots(of: day, by: .cron(every: .seconds(5), onlyWritten: true))
        #expect(written.map(\.captured) == [13, 23].map(seconds))
    }

    @Test("cron that looks first takes those of cron that are not empty", arguments: TestSeeds.of(0..<200))
    func written(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let day = randomHistory(&random)
        let interval = Duration.milliseconds(Int.random(in: 20...600_000, using: &random))
        let every = simulation.snapshots(of: day, by: .cron(every: interval, onlyWritten: false))
        let written = simulation.snapshots(of: day, by: .cron(every: interval, onlyWritten: true))
        let (all, some) = (Measures(of: day, every), Measures(of: day, written))
        #expect(some.empty == 0 && all.snapshots - all.empty == some.snapshots)
        #expect(some.windows == all.windows && some.uncaptured == 0)
        #expect(Set(written).isSubset(of: Set(every)))
    }

    @Test("cron with as many snapshots is found")
    func equalCount() throws {
        var random = SplitMix64(seed: 7)
        let day = RecordedDay(histories: [randomHistory(&random), randomHistory(&random)], wallOffset: 0)
        let bench = ReplayBench(day: day, snapshotTime: .milliseconds(20), checkTime: .milliseconds(20))
        let kairos = bench.point(.kairos(Settings()))
        for onlyWritten in [false, true] {
            let rival = try #require(bench.cron(asManyAs: kairos.snapshots, onlyWritten: onlyWritten))
            #expect(
                abs(rival.snapshots - Double(kairos.snapshots)) <= 1 + Double(kairos.snapshots) / 20,
                "\(kairos) \(rival)")
        }
    }

    @Test(
        "a policy is read from text",
        arguments: ["quiet=1s", "quiet=1s,max-delay=10s,min-interval=500ms,commit-quiet=20ms"])
    func policies(text: String) throws {
        let read = try PolicyText(parsing: text)
        #expect(read.settings.quiet == .seconds(1))
        #expect(read.settings.commitQuiet == (text.contains("commit") ? .milliseconds(20) : nil))
    }

    @Test(
        "and what is none is refused",
        arguments: [
            "", "quiet", "quiet=", "quiet=1", "pace=1s", "quiet=1s,quiet=2s", "quiet=1s,", "quiet=1m,max-delay=1s",
        ])
    func noPolicy(text: String) {
        #expect(throws: PolicyText.Fault.self) { try PolicyText(parsing: text) }
    }
}
