import TestSupport
import Testing

@testable import Retention

private let second: Int64 = 1_000_000_000
private let hour: Int64 = 3600 * second
private let day: Int64 = 24 * hour

@Suite("Until when a rule keeps a snapshot")
struct KeptUntilTests {
    private func plan(_ times: [Int64], _ rule: RetentionRule, now: Int64) -> RetentionPlan {
        let snapshots = times.enumerated().map { RetainedSnapshot(name: "\($0)", time: $1, createtxg: UInt64($0)) }
        return RetentionPlan(snapshots, rule: rule, clock: RetentionClock(now: now, times: times))
    }

    @Test("an hour's, when all of an hour are kept; a day's state for as long as days are")
    func known() throws {
        let midnight: Int64 = 1_795_392_000 * second
        let rule = try RetentionRule(parsing: "1h=all,3d=1d")
        let times = [midnight - 2 * hour, midnight - hour, midnight + hour, midnight + hour + 60 * second]
        let kept = plan(times, rule, now: midnight + hour + 120 * second).kept(by: rule)
        // The second is midnight's state; the newest is kept whatever the rule says.
        #expect(kept == ["1": midnight + 3 * day, "2": midnight + 2 * hour])
    }

    @Test("is true: up to then it is kept, and afterwards no more", arguments: TestSeeds.of(0..<200))
    func property(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let rule = try RetentionRule(
            parsing: ["1h=all,12h=1h,2d=1d", "30m=all,2d=2h", "1h=all"].randomElement(using: &random)!)
        var time = 1_795_392_000 * second + Int64.random(in: 0..<day, using: &random)
        var times: [Int64] = []
        for _ in 0..<40 {
            time += Int64.random(in: second...2 * hour, using: &random)
            times.append(time)
        }
        let now = time + Int64.random(in: 0...hour, using: &random)
        let there = plan(times, rule, now: now)
        let kept = there.kept(by: rule)
        for (snapshot, verdict) in there.verdicts {
            guard case .rule = verdict else {
                #expect(kept[snapshot.name] == nil)
                continue
            }
            let end = try #require(kept[snapshot.name])
            #expect(end > now - second)
            func isByRule(at time: Int64) -> Bool {
                let later = plan(times, rule, now: time).verdicts.first { $0.snapshot == snapshot }
                guard case .rule? = later?.verdict else { return false }
                return true
            }
            if end - second > now { #expect(isByRule(at: end - second), "\(snapshot.name)") }
            #expect(!isByRule(at: end + second), "\(snapshot.name)")
        }
    }
}
