import Policy
import Testing

/// Where ZFS was used by somebody else, or did not answer, a check comes first. Defaults: quiet 2, max-delay 30,
/// min-interval 1, back-off from 1.
@Suite("Dataset policy: doubt")
struct DoubtTests {
    var policy = DatasetPolicy(settings: Settings())

    @Test("What changed before somebody used ZFS is checked, in its time")
    mutating func others() {
        policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0))
        policy.handle(.doubted(at: at(1)), now: at(1))
        #expect(policy.isAtRisk)
        #expect(policy.handle(.tick, now: at(1)).deadline == at(2))
        #expect(policy.handle(.tick, now: at(2)).action == .check)
        policy.handle(.unchanged(started: at(2)), now: at(2.1))
        #expect(policy.isClean)
    }

    @Test("What changed since is not")
    mutating func since() {
        policy.handle(.doubted(at: at(1)), now: at(1))
        policy.handle(.marked(first: at(0), last: at(1.5), commit: false), now: at(1.5))
        #expect(policy.handle(.tick, now: at(3.5)).trigger == .quiet)
    }

    @Test("What a check found before is checked again")
    mutating func confirmed() {
        policy.handle(.settings(Settings(minInterval: .seconds(10))), now: at(0))
        policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0))
        #expect(policy.handle(.tick, now: at(2)).trigger == .quiet)
        policy.handle(.succeeded(started: at(2), finished: at(3)), now: at(3))
        policy.handle(.suspected(at: at(3)), now: at(3))
        #expect(policy.handle(.tick, now: at(12)).action == .check)
        policy.handle(.settings(Settings(minInterval: .seconds(20))), now: at(12))
        policy.handle(.changed(at: at(12.1)), now: at(12.1))
        policy.handle(.doubted(at: at(13)), now: at(13))
        #expect(policy.handle(.tick, now: at(22)).action == nil)
        #expect(policy.handle(.tick, now: at(32)).action == .check)
    }

    @Test("... and so is what it found while ZFS was used, however late its answer is heard")
    mutating func answeredBefore() {
        policy.handle(.suspected(at: at(0)), now: at(0))
        #expect(policy.handle(.tick, now: at(2)).action == .check)
        policy.handle(.doubted(at: at(3)), now: at(3.1))
        policy.handle(.changed(at: at(2.5)), now: at(3.1))
        #expect(!policy.isClean)
        #expect(policy.handle(.tick, now: at(3.1)).action == .check)
        policy.handle(.unchanged(started: at(3.1)), now: at(3.2))
        #expect(policy.isClean)
    }

    @Test("A snapshot without an answer is followed by a check, not by another snapshot")
    mutating func unanswered() {
        policy.handle(.dirty(first: at(0), last: at(0), commit: false), now: at(0))
        #expect(policy.handle(.tick, now: at(2)).trigger == .quiet)
        policy.handle(.unanswered(at: at(62)), now: at(62))
        #expect(policy.consecutiveFailures == 1)
        #expect(policy.handle(.tick, now: at(62)).deadline == at(63))
        #expect(policy.handle(.tick, now: at(63)).action == .check)
        policy.handle(.unchanged(started: at(63)), now: at(63.1))
        #expect(policy.isClean)
        #expect(policy.consecutiveFailures == 0)
    }

    @Test("... and by a snapshot, when it was not made")
    mutating func notMade() {
        policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0))
        #expect(policy.handle(.tick, now: at(2)).trigger == .quiet)
        policy.handle(.unanswered(at: at(62)), now: at(62))
        #expect(policy.handle(.tick, now: at(63)).action == .check)
        policy.handle(.changed(at: at(63.1)), now: at(63.1))
        #expect(policy.handle(.tick, now: at(63.1)).action == .snapshot(.check, first: at(0), last: at(0)))
    }

    @Test("Suspicions that keep coming do not put off the check of a change that has come to rest")
    mutating func besideSuspicions() {
        policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0))
        policy.handle(.doubted(at: at(0.5)), now: at(0.5))
        for step in 1..<4 {
            let now = at(Double(step) / 2)
            policy.handle(.suspected(at: now), now: now)
            #expect(policy.handle(.tick, now: now).deadline == at(2))
        }
        #expect(policy.checkDue(now: at(2)) == at(2))
        #expect(policy.handle(.tick, now: at(2)).action == .check)
    }

    @Test("The window begins at the change that was seen, not at an older suspicion")
    mutating func windowOfWhatWasSeen() {
        policy.handle(.suspected(at: at(0)), now: at(0))
        policy.handle(.settings(Settings(quiet: .seconds(20))), now: at(0))
        policy.handle(.marked(first: at(18), last: at(18), commit: false), now: at(18))
        policy.handle(.doubted(at: at(18.5)), now: at(18.5))
        #expect(policy.handle(.tick, now: at(20)).action == .check)
        policy.handle(.changed(at: at(20.1)), now: at(20.1))
        #expect(policy.handle(.tick, now: at(20.1)).action == .snapshot(.check, first: at(18), last: at(18)))
    }
}
