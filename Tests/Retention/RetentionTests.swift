import TestSupport
import Testing

@testable import Retention

private let second: Int64 = 1_000_000_000
private let day: Int64 = 86_400 * second

@Suite("Retention")
struct RetentionTests {
    // MARK: The rule's text

    @Test("A rule is read as it is written")
    func parsing() throws {
        let rule = try RetentionRule(parsing: "1h=all,24h=1h,30d=1d,1y=1w")
        #expect(rule.tiers == RetentionRule.standard.tiers)
        #expect(
            try RetentionRule(parsing: "2w=1d").tiers == [.init(span: .seconds(14 * 86_400), step: .seconds(86_400))])
        let spaced = try RetentionRule(parsing: " 1h=all, 24h=1h ,30d=1d,  1y=1w")
        #expect(spaced == rule && spaced.description == "1h=all,24h=1h,30d=1d,1y=1w")
        #expect(try RetentionRule(parsing: " all") == .everything)
        #expect(try RetentionRule(parsing: "10m=all").tiers == [.init(span: .seconds(600), step: nil)])
    }

    @Test(
        "What is no rule is refused with the reason and an example",
        arguments: [
            "", "1h", "1h=", "=all", "1h=all,", "1h=all,1h=1m", "1d=1h,2h=1m", "1d=1h,2d=1h", "1d=1h,2d=all", "1h=2h",
            "1d=0s", "0s=all",
            "1x=all", "-1h=all", "1h=all=2", "999999999y=1w", "9223372036854775807w=1w", "1.5y=1w",
            "1h=all,24h=1h;30d=1d", "1h =all", "1h= all", "1h=all, ,2h=1h", " ",
        ])
    func refused(_ text: String) {
        let fault = #expect(throws: RetentionRule.Fault.self) { try RetentionRule(parsing: text) }
        #expect(fault?.description.contains("1h=all,24h=1h,30d=1d,1y=1w") == true)
    }

    // MARK: What is kept

    private func plan(
        _ times: [Int64], _ rule: String = "1h=all,24h=1h,30d=1d,1y=1w", now: Int64
    ) throws -> RetentionPlan {
        let rule = try RetentionRule(parsing: rule)
        let snapshots = times.enumerated().map { RetainedSnapshot(name: "\($0)", time: $1, createtxg: UInt64($0)) }
        return RetentionPlan(snapshots, rule: rule, clock: RetentionClock(now: now, times: times))
    }

    @Test("The state as of last Friday is kept although nothing changed on Friday")
    func friday() throws {
        // 2026-11-23 is a Monday; Wednesday's snapshot is Friday's state.
        let monday: Int64 = 1_795_392_000 * second
        let wednesday = monday - 5 * day + 3600 * second
        let times = [wednesday - 10 * second, wednesday, monday + 3600 * second]
        let verdicts = try plan(times, "30d=1d", now: monday + 7200 * second).verdicts.map(\.verdict)
        #expect(verdicts == [.destroy, .rule(tier: 0, boundary: monday - 4 * day), .newest])
    }

    @Test("Days begin at midnight and weeks on Mondays, by UTC")
    func boundaries() throws {
        let monday: Int64 = 1_795_392_000 * second
        let verdicts = try plan([monday - second, monday, monday + second], "1y=1w", now: monday + 2 * second).verdicts
        // At the boundary is in time.
        #expect(verdicts.map(\.verdict) == [.destroy, .rule(tier: 0, boundary: monday), .newest])
    }

    @Test("The standard rule thins a year of snapshots each ten minutes to what it says")
    func year() throws {
        let now: Int64 = 1_795_400_000 * second
        let times = (0..<52_560).map { now - Int64($0) * 600 * second }.reversed()
        let plan = try plan(Array(times), now: now)
        // An hour of six and its edge; 24 hours, 30 days and 52 weeks, of which some coincide.
        #expect((100...115).contains(plan.verdicts.count - plan.doomed.count))
    }

    @Test("What is protected is never destroyed, and what others made fills no slot")
    func protected() throws {
        let rule = try RetentionRule(parsing: "1h=all")
        let now = 400 * day
        for protection in RetainedSnapshot.Protection.allCases {
            let snapshots = [
                RetainedSnapshot(name: "a", time: day, createtxg: 1, protections: [protection]),
                RetainedSnapshot(name: "b", time: 2 * day, createtxg: 2),
                RetainedSnapshot(name: "c", time: 3 * day, createtxg: 3),
            ]
            let times = (0..<400).map { Int64($0) * day }
            let plan = RetentionPlan(snapshots, rule: rule, clock: RetentionClock(now: now, times: times))
            #expect(plan.verdicts.map(\.verdict) == [.protected([protection]), .destroy, .newest])
        }
    }

    @Test("Kairos's own newest stays where somebody else's is newer: that one may go any time")
    func newestOfOurs() throws {
        let rule = try RetentionRule(parsing: "1h=all")
        let times = (0..<400).map { Int64($0) * day }
        let snapshots = [
            RetainedSnapshot(name: "a", time: day, createtxg: 1),
            RetainedSnapshot(name: "b", time: 2 * day, createtxg: 2),
            RetainedSnapshot(name: "daily", time: 3 * day, createtxg: 3, protections: [.foreign]),
            RetainedSnapshot(name: "c", time: 900 * day, createtxg: 4),
        ]
        let plan = RetentionPlan(snapshots, rule: rule, clock: RetentionClock(now: 400 * day, times: times))
        #expect(plan.verdicts.map(\.verdict) == [.destroy, .newest, .protected([.foreign]), .newest])
    }

    // MARK: Clocks

    @Test("A clock that jumps a year ahead makes nothing a year older; one that falls back destroys nothing")
    func jumps() throws {
        let start = 20_000 * day
        let times = (0..<48).map { start + Int64($0) * 1800 * second }
        let rule = "24h=all"
        let before = try plan(times, rule, now: start + day)
        #expect(before.doomed.isEmpty)
        // By a year, before and after the next snapshot was taken: it counts as two weeks, of a rule that reaches back three.
        let three = "3w=all"
        #expect(try plan(times, three, now: start + 366 * day).doomed.isEmpty)
        #expect(try plan(times + [start + 366 * day], three, now: start + 366 * day + second).doomed.isEmpty)
        // All is in the future then.
        let back = try plan(times, rule, now: start - 365 * day)
        #expect(back.doomed.isEmpty && back.verdicts.dropLast().allSatisfy { $0.verdict == .future })
    }

    @Test("A pause of over a week counts as a step of the tier, or a tenth of its span; a shorter one in full")
    func off() throws {
        let rule = try RetentionRule(parsing: "10d=all,30d=1d,2y=30d")
        let clock = RetentionClock(now: 1000 * day, times: [10 * day, 11 * day, 990 * day])
        // 10 days, then 979, then one.
        #expect(clock.cutoff(rule.tiers[0]) == .min)
        #expect(RetentionClock(now: 1000 * day, times: [10 * day, 999 * day]).cutoff(rule.tiers[0]) == .min)
        let near = RetentionClock(now: 1000 * day, times: [10 * day, 990 * day, 994 * day, 997 * day])
        #expect(near.cutoff(rule.tiers[0]) == 990 * day)
        // Of 730 days: 10, then 30 for the pause, and no more witnesses.
        #expect(clock.cutoff(rule.tiers[2]) == .min)
        // What comes once in 50 days is no pause for a tier of a slot in 30.
        let rare = RetentionClock(now: 2000 * day, times: (0..<40).map { Int64($0) * 50 * day })
        #expect(rare.cutoff(rule.tiers[2]) == 1270 * day)
    }

    @Test("What is made once in a month grows old all the same")
    func rare() throws {
        let times = (0..<240).map { Int64($0) * 30 * day }
        let kept = try plan(times, now: 240 * 30 * day).verdicts.count { $0.verdict.isKept }
        #expect((50...100).contains(kept), "\(kept)")
    }

    @Test("Times at the ends of what can be told trap nowhere", arguments: [Int64.min, 0, Int64.max])
    func ends(time: Int64) throws {
        for now in [Int64.min, 0, 1_795_400_000 * second, Int64.max] {
            _ = try plan([time, time, 0, Int64.max], now: now).doomed
            _ = try plan([time], "292y=100y", now: now).doomed
        }
    }

    // MARK: Properties

    private struct Life {
        var snapshots: [RetainedSnapshot]
        var now: Int64
        var rule: RetentionRule
        var others: [Int64]

        init(_ random: inout SplitMix64) throws {
            let rules = ["1h=all,24h=1h,30d=1d,1y=1w", "10m=all", "2h=7m", "1h=all,2d=5h,9d=1d", "1d=1h,1w=1d,2y=30d"]
            rule = try RetentionRule(parsing: rules[Int.random(in: 0..<rules.count, using: &random)])
            var time = Int64.random(in: 0...30_000, using: &random) * day
            snapshots = []
            for number in 0..<Int.random(in: 0...120, using: &random) {
                let pauses: [Int64] = [1, 60, 3600, 86_400, 40 * 86_400, 366 * 86_400, -3600, -366 * 86_400]
                let weight = Int.random(in: 0..<40, using: &random)
                let pause = weight < 34 ? pauses[weight % 4] : pauses[4 + weight % 4]
                // Not before 1970: there was no ZFS then, and no boundary is looked for.
                time = max(0, time + pause * Int64.random(in: 0...1_000_000_000, using: &random))
                let isProtected = Int.random(in: 0..<8, using: &random) == 0
                let protection = isProtected ? RetainedSnapshot.Protection.allCases.randomElement(using: &random) : nil
                snapshots.append(
                    RetainedSnapshot(
                        name: "\(number)", time: time, createtxg: UInt64(number),
                        protections: Set(protection.map { [$0] } ?? [])))
            }
            now = time + Int64.random(in: -400 * 86_400...400 * 86_400, using: &random) * second
            others = (0..<Int.random(in: 0...20, using: &random)).map { _ in
                Int64.random(in: 0...31_000, using: &random) * day
            }
        }

        var clock: RetentionClock { RetentionClock(now: now, times: snapshots.map(\.time) + others) }
        var plan: RetentionPlan { RetentionPlan(snapshots, rule: rule, clock: clock) }
    }

    /// What the rule says, read literally: of each boundary the newest at or before it. Those that the clock was behind for count as well as not.
    private func keptByTheRule(_ life: Life) -> Set<String> {
        let early = life.plan.tooEarly
        let ours = life.snapshots.filter { !$0.protections.contains(.foreign) && $0.time <= life.now }
        return kept(ours, life).union(kept(ours.filter { !early.contains(Int($0.createtxg)) }, life))
    }

    private func kept(_ ours: [RetainedSnapshot], _ life: Life) -> Set<String> {
        let ours = ours.sorted { ($0.time, $0.createtxg) < ($1.time, $1.createtxg) }
        var kept: Set<String> = []
        for tier in life.rule.tiers {
            let cutoff = life.clock.cutoff(tier)
            guard let step = tier.step?.clampedNanoseconds else {
                kept.formUnion(ours.filter { $0.time >= cutoff }.map(\.name))
                continue
            }
            guard let first = ours.first?.time else { continue }
            let begin = max(cutoff, first)
            var boundary = RetentionPlan.origin + ((begin - RetentionPlan.origin) / step - 1) * step
            // Boundaries by the million say nothing that the last of a year of them does not.
            while boundary <= life.now {
                defer { boundary += step }
                guard boundary >= begin, let newest = ours.last(where: { $0.time <= boundary }) else { continue }
                kept.insert(newest.name)
                // On to where another one may be the newest.
                guard let next = ours.first(where: { $0.time > boundary })?.time else { break }
                boundary += max(0, (next - boundary) / step - 1) * step
            }
        }
        return kept
    }

    @Test("Random lives: exactly what the rule says, never what is protected, and a second time nothing more")
    func random() throws {
        var random = SplitMix64(seed: 2026)
        var destroyed = 0
        for number in 0..<3_000 {
            var life = try Life(&random)
            let plan = life.plan
            destroyed += plan.doomed.count
            #expect(plan.doomed.allSatisfy { $0.protections.isEmpty && $0.time <= life.now }, "life \(number)")
            #expect(plan.verdicts.last?.verdict.isKept ?? true, "life \(number)")
            // Somebody else may destroy his own: what is left then is the newest of Kairos's.
            let own = life.snapshots.filter { !$0.protections.contains(.foreign) && $0.time <= life.now }
            if let newest = own.max(by: { ($0.createtxg, $0.time) < ($1.createtxg, $1.time) }) {
                #expect(!plan.doomed.contains(newest), "life \(number)")
            }
            let byRule = keptByTheRule(life)
            for (snapshot, verdict) in plan.verdicts {
                switch verdict {
                case .rule: #expect(byRule.contains(snapshot.name), "life \(number): \(snapshot) is kept by no rule")
                case .destroy: #expect(!byRule.contains(snapshot.name), "life \(number): \(snapshot) is the rule's")
                default: break
                }
            }
            let gone = Set(plan.doomed.map(\.name))
            life.snapshots.removeAll { gone.contains($0.name) }
            #expect(life.plan.doomed.isEmpty, "life \(number)")
        }
        #expect(destroyed > 10_000)
    }
}
