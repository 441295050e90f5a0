import TestSupport
import Testing

@testable import Retention

private let second: Int64 = 1_000_000_000
private let hour: Int64 = 3600 * second
private let day: Int64 = 24 * hour
/// 23 November 2026, a Monday.
private let monday: Int64 = 1_795_392_000 * second

@Suite("Wrong clocks")
struct WrongClockTests {
    /// - Parameter times: in ZFS's order.
    private func plan(
        _ times: [Int64], _ rule: String = "1h=all,24h=1h,30d=1d,1y=1w", now: Int64,
        moments: [PoolMoment] = [], foreign: Set<Int> = []
    ) throws -> RetentionPlan {
        let snapshots = times.enumerated().map {
            RetainedSnapshot(
                name: "\($0)", time: $1, createtxg: UInt64($0 * 10 + 10),
                protections: foreign.contains($0) ? [.foreign] : [])
        }
        let clock = RetentionClock(now: now, times: times, moments: moments)
        return RetentionPlan(snapshots, rule: try RetentionRule(parsing: rule), clock: clock)
    }

    private func doomed(_ plan: RetentionPlan) -> [String] { plan.doomed.map(\.name) }

    @Test("five snapshots of 1970 survive the right clock, until a newer one is as old as the first tier")
    func noClock() throws {
        let boot = (0..<5).map { 40 * second + Int64($0) * 60 * second }
        #expect(doomed(try plan(boot, now: monday)) == [])
        #expect(doomed(try plan(boot + [monday + second], now: monday + hour)) == [])
        // The last of them is the state before it.
        let later = try plan(boot + [monday + second], now: monday + hour + 2 * second)
        #expect(doomed(later) == ["0", "1", "2", "3"])
    }

    @Test(
        "six fresh ones survive by a clock that was in 1970, three days behind, or a year ahead",
        arguments: [
            -56 * 365 * day, -3 * day, -2 * hour, 365 * day,
        ])
    func fresh(error: Int64) throws {
        for rule in ["1h=all,24h=1h,30d=1d,1y=1w", "1h=all", "1d=1h,30d=1d"] {
            var times = [monday - day, monday - day + second, monday - 2 * hour, monday - 2 * hour + second]
            times += (0..<6).map { monday - 600 * second + Int64($0) * 60 * second + error }
            let before = try plan(times, rule, now: monday)
            #expect(before.doomed.allSatisfy { Int($0.name)! < 4 }, "\(rule)")
            // What shows that the clock was behind is not destroyed either: the next plan says the same.
            let gone = Set(doomed(before).compactMap { Int($0) })
            let left = before.verdicts.map(\.snapshot).filter { !gone.contains(Int($0.name)!) }
            let clock = RetentionClock(now: monday + 60 * second, times: left.map(\.time))
            #expect(try RetentionPlan(left, rule: RetentionRule(parsing: rule), clock: clock).doomed.isEmpty, "\(rule)")
            // With the next snapshots, by the right clock and an hour or a day later, they are as old as others.
            let later = try plan(times + [monday, monday + 2 * day], rule, now: monday + 2 * day)
            if error < 0 { #expect(!later.verdicts.contains { $0.verdict == .uncertain }, "\(rule)") }
        }
    }

    @Test("what goes for want of room is old for certain")
    func room() throws {
        let times = [monday - 2 * hour] + (0..<6).map { monday - 3 * day - 600 * second + Int64($0) * 60 * second }
        let plan = try plan(times, "1h=all,30d=10s", now: monday)
        #expect(plan.doomed.isEmpty && plan.spare.map(\.name) == ["0"])
    }

    @Test("a dataset that was made before by a right clock shows it too; one that was promoted from a clone does not")
    func datasets() throws {
        let times = (0..<5).map { monday - 3 * day + Int64($0) * 60 * second }
        #expect(doomed(try plan(times, "1h=all", now: monday)) == ["0", "1", "2", "3"])
        let made = PoolMoment(createtxg: 5, time: monday - hour)
        #expect(doomed(try plan(times, "1h=all", now: monday, moments: [made])) == [])
        let clone = PoolMoment(createtxg: 70, time: monday - hour)
        #expect(doomed(try plan(times, "1h=all", now: monday, moments: [clone])) == ["0", "1", "2", "3"])
        // A name is made a little before ZFS gets to it.
        let other = PoolMoment(createtxg: 5, time: times[0] + 2 * second)
        #expect(doomed(try plan(times, "1h=all", now: monday, moments: [other])) == ["0", "1", "2", "3"])
    }

    @Test("a received snapshot has its sender's time, which says nothing of when the ones before it were taken")
    func received() throws {
        let behind = monday - 3 * day
        let times = [monday - 2 * hour, behind, behind + second, monday - 90 * 60 * second, behind + 2 * second]
        #expect(doomed(try plan(times, "1h=all", now: monday, foreign: [3])) == [])
    }

    @Test("a leap that is known makes nothing older; what the clock goes back to is lived again")
    func leaps() {
        var leaps = ClockLeaps()
        leaps.note(from: 100, to: 400)
        #expect(leaps.length(from: 0, to: 1000) == 300 && leaps.length(from: 200, to: 300) == 100)
        #expect(leaps.length(from: 400, to: 500) == 0 && leaps.length(from: .min, to: .max) == 300)
        leaps.note(from: 450, to: 150)
        #expect(leaps.length(from: 0, to: 1000) == 50)
        leaps.note(from: 160, to: 1000)
        #expect(leaps.length(from: 0, to: 1000) == 50 + 840)
        leaps.note(from: 1000, to: 0)
        #expect(leaps == ClockLeaps())
        leaps.note(from: .min, to: .max)
        leaps.note(from: .max, to: .min)
        for start in 0..<1000 as Range<Int64> { leaps.note(from: start * 2, to: start * 2 + 1) }
        #expect(leaps.length(from: 0, to: 2000) == 100)
    }

    // MARK: Properties

    /// A life of a dataset by a clock that is set now and then.
    private struct Life {
        var snapshots: [RetainedSnapshot] = []
        /// When they were really taken.
        var truth: [Int64] = []
        var leaps = ClockLeaps()
        var now: Int64
        var clock: Int64 { now + error }
        var error: Int64 = 0

        init(_ random: inout SplitMix64) {
            now = monday + Int64.random(in: 0..<7 * day, using: &random)
            live(&random, Int.random(in: 1...20, using: &random))
        }

        mutating func set(to error: Int64) {
            leaps.note(from: clock, to: now + error)
            self.error = error
        }

        mutating func live(_ random: inout SplitMix64, _ count: Int, longest: Int64 = 3 * hour) {
            for _ in 0..<count {
                let scale = [second, 60 * second, 600 * second, longest][Int.random(in: 0..<4, using: &random)]
                now += Int64.random(in: 1...min(scale, longest), using: &random)
                snapshot()
            }
            now += Int64.random(in: 0...min(600 * second, longest), using: &random)
        }

        mutating func snapshot() {
            truth.append(now)
            snapshots.append(
                RetainedSnapshot(name: "\(truth.count - 1)", time: clock, createtxg: UInt64(truth.count * 5)))
        }

        func plan(_ rule: RetentionRule, known: Bool) -> RetentionPlan {
            RetentionPlan(
                snapshots, rule: rule,
                clock: RetentionClock(
                    now: clock, times: snapshots.map(\.time), leaps: known ? leaps : ClockLeaps()))
        }

        /// Those that a clock that was never wrong keeps within the first tier.
        func keptByTruth(_ rule: RetentionRule) -> Set<String> {
            let right = zip(snapshots, truth).map {
                RetainedSnapshot(name: $0.name, time: $1, createtxg: $0.createtxg)
            }
            // Without the discount for long pauses: what is in the first tier by its age.
            let cutoff = now - rule.tiers[0].span.clampedNanoseconds
            let plan = RetentionPlan(right, rule: rule, clock: RetentionClock(now: now, times: truth))
            return Set(
                plan.verdicts.filter { snapshot, verdict in
                    guard case .rule(tier: 0, _) = verdict else { return false }
                    return snapshot.time > cutoff
                }.map(\.snapshot.name))
        }
    }

    private static let errors: [Int64] = [60 * second, hour, 3 * day, 40 * day, 365 * day, 56 * 365 * day]

    private func expectNoFreshIsDoomed(_ life: Life, _ rule: RetentionRule, known: Bool, _ seed: UInt64) {
        let plan = life.plan(rule, known: known)
        let doomed = Set(plan.doomed.map(\.name))
        let lost = life.keptByTruth(rule).intersection(doomed)
        #expect(lost.isEmpty, "seed \(seed), rule \(rule): \(lost.sorted()) of \(life.snapshots.count)")
        if rule.tiers[0].step == nil {
            let cutoff = life.now - rule.tiers[0].span.clampedNanoseconds
            for (snapshot, taken) in zip(life.snapshots, life.truth) where taken > cutoff {
                #expect(!doomed.contains(snapshot.name), "seed \(seed), rule \(rule)")
            }
        }
    }

    @Test(
        "a process that saw the clock being set destroys nothing fresh, whatever the clock shows then",
        arguments: 0..<400 as Range<UInt64>)
    func known(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var life = Life(&random)
        for _ in 0..<Int.random(in: 0...5, using: &random) {
            let error = Self.errors.randomElement(using: &random)! + Int64.random(in: 0..<second, using: &random)
            life.set(to: [error, -error, 0].randomElement(using: &random)!)
            life.live(&random, Int.random(in: 0...20, using: &random))
            for rule in ["1h=all,24h=1h,30d=1d,1y=1w", "10m=all", "1d=all,30d=1d"] {
                expectNoFreshIsDoomed(life, try RetentionRule(parsing: rule), known: true, seed)
            }
        }
    }

    @Test(
        "once the clock is right, nothing fresh is destroyed by what it showed before",
        arguments: 0..<400 as Range<UInt64>)
    func byHand(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var life = Life(&random)
        let isAhead = Bool.random(using: &random)
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let error = Self.errors.randomElement(using: &random)!
            // What was taken before shows that the clock is behind, as long as the clock does not get as far again.
            life.snapshot()
            life.set(to: isAhead ? error : -error)
            life.live(&random, Int.random(in: 0...10, using: &random), longest: error / 20)
            life.set(to: 0)
            life.live(&random, Int.random(in: 0...10, using: &random))
            // A rule with slots in its first tier may lose one to a clock that was ahead.
            for rule in ["1h=all,24h=1h,30d=1d,1y=1w", "10m=all", "1d=all,30d=1d"] + (isAhead ? [] : ["1d=1h,30d=1d"]) {
                expectNoFreshIsDoomed(life, try RetentionRule(parsing: rule), known: false, seed)
            }
        }
    }
}
