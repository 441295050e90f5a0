import Policy
import Testing

/// One rule a test, times in seconds. Defaults: quiet 2, max-delay 30, min-interval 1.
@Suite("Dataset policy: changes")
struct DatasetPolicyTests {
    var policy = DatasetPolicy(settings: Settings())

    @Test("A clean dataset has nothing due, whatever time passes")
    mutating func clean() {
        #expect(policy.handle(.tick, now: at(0)) == Decision())
        #expect(policy.handle(.tick, now: at(100_000)) == Decision())
        #expect(policy.handle(.flush, now: at(100_000)) == Decision())
        #expect(policy.isClean)
    }

    @Test("A change is due after the quiet time, counted from the last one")
    mutating func quiet() {
        #expect(policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0)).deadline == at(2))
        #expect(policy.handle(.marked(first: at(0), last: at(1), commit: false), now: at(2)).deadline == at(3))
        #expect(policy.handle(.tick, now: at(2)) == Decision(deadline: at(3)))
        #expect(policy.handle(.tick, now: at(3)) == Decision(action: .snapshot(.quiet, first: at(0), last: at(1))))
        #expect(policy.handle(.tick, now: at(50)) == Decision())
        #expect(policy.isInFlight)
    }

    @Test("A dataset that is never quiet is due at max-delay after its first change")
    mutating func maxDelay() {
        for second in 0...29 {
            policy.handle(.marked(first: at(0), last: at(Double(second)), commit: true), now: at(Double(second)))
        }
        #expect(policy.handle(.tick, now: at(29)).deadline == at(30))
        #expect(policy.handle(.tick, now: at(30)).trigger == .maxDelay)
    }

    @Test("Only ticks act; other events tell when to tick")
    mutating func onlyTicksAct() {
        let decision = policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(10))
        #expect(decision == Decision(deadline: at(2)))
        #expect(policy.handle(.tick, now: at(10)).trigger == .quiet)
    }

    @Test("After a commit point the commit-quiet counts; a later change that is none undoes that")
    mutating func commitQuiet() {
        policy.handle(.settings(Settings(commitQuiet: .milliseconds(100))), now: at(0))
        #expect(policy.handle(.marked(first: at(0), last: at(1), commit: true), now: at(1)).deadline == at(1.1))
        #expect(policy.handle(.marked(first: at(0), last: at(1.05), commit: false), now: at(1.05)).deadline == at(3.05))
        policy.handle(.marked(first: at(0), last: at(2), commit: true), now: at(2))
        #expect(policy.handle(.tick, now: at(2.1)).trigger == .commit)
    }

    @Test("Without a commit-quiet a commit point makes no difference")
    mutating func commitWithoutSetting() {
        #expect(policy.handle(.marked(first: at(0), last: at(0), commit: true), now: at(0)).deadline == at(2))
        #expect(policy.handle(.tick, now: at(2)).trigger == .quiet)
    }

    @Test("The same mark fed again changes nothing")
    mutating func idempotent() {
        policy.handle(.marked(first: at(0), last: at(1), commit: true), now: at(1))
        let before = policy
        policy.handle(.marked(first: at(0), last: at(1), commit: true), now: at(1.5))
        #expect(policy == before)
    }

    @Test("Two snapshots start at least min-interval apart")
    mutating func minInterval() {
        policy.handle(.settings(Settings(quiet: .zero, minInterval: .seconds(10))), now: at(0))
        snapshot(change: 0, start: 0, end: 0.1)
        policy.handle(.marked(first: at(1), last: at(1), commit: false), now: at(1))
        #expect(policy.handle(.tick, now: at(1)).deadline == at(10))
        #expect(policy.handle(.tick, now: at(9.999)).action == nil)
        #expect(policy.handle(.tick, now: at(10)).trigger == .quiet)
    }

    @Test("The distance counts from where the engine says that it began, if that was later")
    mutating func minIntervalFromEngine() {
        policy.handle(.settings(Settings(quiet: .zero)), now: at(0))
        policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0))
        policy.handle(.tick, now: at(0))
        policy.handle(.succeeded(started: at(0.8), finished: at(0.9)), now: at(0.9))
        #expect(policy.handle(.marked(first: at(1), last: at(1), commit: false), now: at(1)).deadline == at(1.8))
    }

    @Test("Changes during a snapshot wait for the next one")
    mutating func marksInFlight() {
        policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0))
        policy.handle(.tick, now: at(2))
        #expect(policy.handle(.marked(first: at(3), last: at(6), commit: false), now: at(6)) == Decision())
        #expect(policy.handle(.tick, now: at(40)) == Decision())
        #expect(policy.handle(.succeeded(started: at(2), finished: at(5)), now: at(40)).deadline == at(8))
        #expect(policy.atRiskSince == at(3))
        #expect(policy.handle(.tick, now: at(40)).action == .snapshot(.quiet, first: at(3), last: at(6)))
    }

    @Test("After a success everything it covered is settled")
    mutating func success() {
        snapshot(change: 0, start: 2, end: 3)
        #expect(policy.isClean)
        #expect(policy.handle(.tick, now: at(1_000)) == Decision())
    }

    @Test("New settings are in force at once")
    mutating func settings() {
        policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0))
        #expect(policy.handle(.settings(Settings(quiet: .seconds(20))), now: at(1)).deadline == at(20))
        #expect(policy.handle(.settings(Settings(quiet: .milliseconds(500))), now: at(1)).deadline == at(0.5))
        #expect(policy.handle(.tick, now: at(1)).trigger == .quiet)
    }

    @Test("Time that stands still or runs backwards does no harm")
    mutating func backwards() {
        let end = Instant(nanoseconds: .max)
        policy.handle(.marked(first: at(5), last: at(1), commit: false), now: at(0))
        policy.handle(.tick, now: end)
        policy.handle(.succeeded(started: end, finished: .boot), now: .boot)
        policy.handle(.marked(first: end, last: end, commit: false), now: .boot)
        policy.handle(.suspected(at: .boot), now: end)
        policy.handle(.resolved(at: end, commit: true), now: .boot)
        policy.handle(.tick, now: .boot)
        policy.handle(.tick, now: end)
        policy.handle(.failed(at: .boot), now: .boot)
        policy.handle(.flush, now: .boot)
        #expect(policy.isInFlight)
    }

    @Test("A mark from a clock that is ahead does not put max-delay off")
    mutating func futureMark() {
        let decision = policy.handle(.marked(first: at(1_000), last: at(1_000), commit: false), now: at(0))
        #expect(decision.deadline == at(30))
    }

    @Test("A result that fits nothing in flight is ignored")
    mutating func strayResults() {
        policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0))
        let before = policy
        for event in [
            PolicyEvent.succeeded(started: at(0), finished: at(1)), .failed(at: at(1)), .unchanged(started: at(0)),
            .changed(at: at(1)), .checkFailed(at: at(1)),
        ] {
            policy.handle(event, now: at(1))
            #expect(policy == before)
        }
    }

    // MARK: Failures

    @Test("After a failure the changes are at risk again, since their first time, and none is forgotten")
    mutating func failure() {
        policy.handle(.marked(first: at(0), last: at(1), commit: false), now: at(1))
        policy.handle(.tick, now: at(3))
        policy.handle(.marked(first: at(4), last: at(4), commit: false), now: at(4))
        #expect(policy.handle(.failed(at: at(5)), now: at(5)).deadline == at(6))
        #expect(policy.atRiskSince == at(0))
        #expect(policy.consecutiveFailures == 1)
        #expect(policy.retryAt == at(6))
        #expect(policy.handle(.tick, now: at(6)).action == .snapshot(.quiet, first: at(0), last: at(4)))
    }

    @Test("Back-off doubles from its base to its limit, and a success resets it")
    mutating func backoff() {
        policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0))
        var now = at(100)
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300] {
            #expect(policy.handle(.tick, now: now).trigger == .quiet)
            #expect(policy.handle(.failed(at: now), now: now).deadline == now + .seconds(seconds))
            #expect(policy.handle(.tick, now: now + .seconds(seconds) - .nanoseconds(1)).action == nil)
            now = now + .seconds(seconds)
        }
        #expect(policy.consecutiveFailures == 12)
        policy.handle(.tick, now: now)
        policy.handle(.succeeded(started: now, finished: now), now: now)
        #expect(policy.consecutiveFailures == 0)
        #expect(policy.retryAt == nil)
        #expect(policy.isClean)
    }

    @Test("New back-off settings hold for a wait that has begun")
    mutating func backoffSettings() {
        policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0))
        policy.handle(.tick, now: at(100))
        policy.handle(.failed(at: at(100)), now: at(100))
        let decision = policy.handle(.settings(Settings(backoffBase: .seconds(50))), now: at(101))
        #expect(decision.deadline == at(150))
    }

    // MARK: Stopping

    @Test("Flush takes what is dirty at once, whatever it would wait for")
    mutating func flush() {
        snapshot(change: 0, start: 2, end: 2.1)
        policy.handle(.marked(first: at(2.2), last: at(2.2), commit: false), now: at(2.2))
        #expect(policy.handle(.flush, now: at(2.2)).action == .snapshot(.flush, first: at(2.2), last: at(2.2)))
        policy.handle(.failed(at: at(2.3)), now: at(2.3))
        #expect(policy.handle(.tick, now: at(2.3)).deadline == at(4.2), "one try, then the usual pace")
        #expect(policy.handle(.flush, now: at(2.4)).trigger == .flush)
    }

    @Test("Flush during a snapshot is remembered for what came in meanwhile")
    mutating func flushInFlight() {
        policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0))
        policy.handle(.tick, now: at(2))
        policy.handle(.marked(first: at(3), last: at(3.5), commit: false), now: at(3.5))
        #expect(policy.handle(.flush, now: at(3.5)) == Decision())
        policy.handle(.succeeded(started: at(2), finished: at(3.2)), now: at(3.6))
        #expect(policy.handle(.tick, now: at(3.6)).trigger == .flush)
        policy.handle(.succeeded(started: at(3.6), finished: at(3.7)), now: at(3.7))
        policy.handle(.marked(first: at(3.8), last: at(3.8), commit: false), now: at(3.8))
        #expect(policy.handle(.tick, now: at(3.8)).deadline == at(5.8), "one snapshot, and the usual pace again")
    }

    @Test("Flush of a suspicion checks, and snapshots at once if the answer is changed")
    mutating func flushSuspicion() {
        snapshot(change: 0, start: 2, end: 2.1)
        policy.handle(.suspected(at: at(2.2)), now: at(2.2))
        #expect(policy.handle(.flush, now: at(2.2)).action == .check)
        policy.handle(.changed(at: at(2.3)), now: at(2.3))
        #expect(policy.handle(.tick, now: at(2.3)).trigger == .flush)
    }

    private mutating func snapshot(change: Double, start: Double, end: Double) {
        policy.handle(.marked(first: at(change), last: at(change), commit: false), now: at(change))
        #expect(policy.handle(.tick, now: at(start)).trigger != nil)
        policy.handle(.succeeded(started: at(start), finished: at(end)), now: at(end))
    }
}
