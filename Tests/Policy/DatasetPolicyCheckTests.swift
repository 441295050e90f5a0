import Policy
import Testing

/// What is not certain: suspicions, changes known by time alone, and marks made while a snapshot was taken.
@Suite("Dataset policy: checks")
struct DatasetPolicyCheckTests {
    var policy = DatasetPolicy(settings: Settings())

    // MARK: Suspicions

    @Test("A suspicion becomes a check, not a snapshot; unchanged settles it")
    mutating func suspicion() {
        #expect(policy.handle(.suspected(at: at(0)), now: at(0)).deadline == at(2))
        #expect(policy.isSuspect && !policy.isAtRisk && !policy.isClean)
        #expect(policy.handle(.tick, now: at(2)) == Decision(action: .check))
        #expect(policy.handle(.unchanged(started: at(2)), now: at(3)) == Decision())
        #expect(policy.isClean)
    }

    @Test("A check that answers changed leads to a snapshot at once")
    mutating func changed() {
        policy.handle(.suspected(at: at(0)), now: at(0))
        policy.handle(.tick, now: at(2))
        policy.handle(.changed(at: at(2.1)), now: at(2.1))
        #expect(policy.isAtRisk)
        #expect(policy.handle(.tick, now: at(2.1)).action == .snapshot(.check, first: at(0), last: at(0)))
    }

    @Test("... but no sooner than min-interval after the snapshot before")
    mutating func changedWaitsForMinInterval() {
        policy.handle(.settings(Settings(quiet: .zero, minInterval: .seconds(10))), now: at(0))
        snapshot(change: 0, start: 0, end: 1)
        policy.handle(.suspected(at: at(2)), now: at(2))
        #expect(policy.handle(.tick, now: at(10)).action == .check)
        policy.handle(.settings(Settings(minInterval: .seconds(20))), now: at(10))
        policy.handle(.changed(at: at(11)), now: at(11))
        #expect(policy.handle(.tick, now: at(11)).deadline == at(20))
        #expect(policy.handle(.tick, now: at(20)).trigger == .check)
    }

    @Test("A confirmed change stays confirmed when its snapshot fails")
    mutating func confirmedSurvivesFailure() {
        snapshot(change: 0, start: 2, end: 6)
        policy.handle(.resolved(at: at(4), commit: false), now: at(6))
        #expect(policy.handle(.tick, now: at(6)).action == .check)
        policy.handle(.changed(at: at(6.1)), now: at(6.1))
        #expect(policy.handle(.tick, now: at(6.1)).trigger == .check)
        policy.handle(.failed(at: at(6.2)), now: at(6.2))
        #expect(policy.handle(.tick, now: at(7.2)).trigger == .check)
    }

    @Test("A flood of suspicions costs one check per max-delay")
    mutating func flood() {
        var checks = 0
        for step in 0..<120_000 {
            let now = at(Double(step) / 1_000)
            policy.handle(.suspected(at: now), now: now)
            guard policy.handle(.tick, now: now).action == .check else { continue }
            checks += 1
            policy.handle(.unchanged(started: now), now: now)
        }
        #expect(checks == 3)
    }

    @Test("A certain change and a suspicion: one snapshot settles both, no later than the check would have come")
    mutating func bothSettled() {
        policy.handle(.suspected(at: at(0)), now: at(0))
        policy.handle(.marked(first: at(1), last: at(1), commit: false), now: at(1))
        #expect(policy.handle(.tick, now: at(2)).deadline == at(3))
        policy.handle(.marked(first: at(1), last: at(29), commit: false), now: at(29))
        #expect(policy.handle(.tick, now: at(30)).trigger == .maxDelay)
        policy.handle(.succeeded(started: at(30), finished: at(31)), now: at(31))
        #expect(policy.isClean)
    }

    @Test("A suspicion during a check is checked again; one well before its start is covered")
    mutating func suspicionInFlight() {
        policy.handle(.suspected(at: at(0)), now: at(0))
        policy.handle(.tick, now: at(2))
        policy.handle(.suspected(at: at(1)), now: at(2.5))
        var other = policy
        policy.handle(.unchanged(started: at(2)), now: at(3))
        #expect(policy.isClean)
        other.handle(.suspected(at: at(2.5)), now: at(2.5))
        #expect(other.handle(.unchanged(started: at(2)), now: at(3)).deadline == at(4.5))
    }

    @Test("A failed check backs off and is tried again, but does not hold back a certain change")
    mutating func checkFailed() {
        policy.handle(.settings(Settings(backoffBase: .seconds(100))), now: at(0))
        policy.handle(.suspected(at: at(0)), now: at(0))
        policy.handle(.tick, now: at(2))
        #expect(policy.handle(.checkFailed(at: at(3)), now: at(3)).deadline == at(103))
        #expect(policy.retryAt == at(103))
        policy.handle(.marked(first: at(4), last: at(4), commit: false), now: at(4))
        #expect(policy.handle(.tick, now: at(6)).trigger == .quiet)
        policy.handle(.succeeded(started: at(6), finished: at(7)), now: at(7))
        #expect(policy.isClean)
        #expect(policy.consecutiveFailures == 0)
    }

    @Test("Checks, too, keep min-interval from the attempt before")
    mutating func checkInterval() {
        policy.handle(.settings(Settings(quiet: .zero, minInterval: .seconds(10))), now: at(0))
        policy.handle(.suspected(at: at(0)), now: at(0))
        policy.handle(.tick, now: at(0))
        policy.handle(.suspected(at: at(1)), now: at(1))
        #expect(policy.handle(.unchanged(started: at(0)), now: at(2)).deadline == at(10))
    }

    // MARK: Doubtful marks

    @Test("A mark made while the snapshot was taken is checked first, on the usual terms")
    mutating func doubtfulMark() {
        markInFlight(last: 3.5)
        #expect(policy.isAtRisk)
        #expect(policy.handle(.tick, now: at(4)).deadline == at(5.5))
        #expect(policy.handle(.tick, now: at(5.5)).action == .check)
        policy.handle(.unchanged(started: at(5.5)), now: at(6))
        #expect(policy.isClean)
    }

    @Test("A newer mark makes it certain")
    mutating func doubtfulThenCertain() {
        markInFlight(last: 3.5)
        policy.handle(.marked(first: at(3), last: at(4.5), commit: false), now: at(4.5))
        #expect(policy.handle(.tick, now: at(6.5)).action == .snapshot(.quiet, first: at(3), last: at(4.5)))
    }

    @Test("A mark at the very end of the snapshot is doubtful, one just after it is not")
    mutating func doubtEnds() {
        markInFlight(last: 4)
        var other = policy
        #expect(policy.handle(.tick, now: at(6)).action == .check)
        other.handle(.marked(first: at(3), last: at(4) + .nanoseconds(1), commit: false), now: at(5))
        #expect(other.handle(.tick, now: at(7)).trigger == .quiet)
    }

    @Test("A doubtful mark whose check fails stays doubtful")
    mutating func doubtfulCheckFailed() {
        markInFlight(last: 3.5)
        policy.handle(.tick, now: at(6))
        policy.handle(.checkFailed(at: at(7)), now: at(7))
        #expect(policy.atRiskSince == at(3))
        #expect(policy.handle(.tick, now: at(8)).action == .check)
    }

    @Test("A mark made during a check is certain")
    mutating func markDuringCheck() {
        policy.handle(.suspected(at: at(0)), now: at(0))
        policy.handle(.tick, now: at(2))
        policy.handle(.marked(first: at(3), last: at(3), commit: false), now: at(3))
        policy.handle(.unchanged(started: at(2)), now: at(4))
        #expect(policy.handle(.tick, now: at(5)).trigger == .quiet)
    }

    // MARK: Changes known by their time alone

    @Test("A resolved change is a change")
    mutating func resolved() {
        #expect(policy.handle(.resolved(at: at(0), commit: false), now: at(1)).deadline == at(2))
        #expect(policy.handle(.tick, now: at(2)).action == .snapshot(.quiet, first: at(0), last: at(0)))
    }

    @Test("More than 1 ms before the start of the last success, it is captured; within, it is checked")
    mutating func resolvedBeforeSuccess() {
        snapshot(change: 0, start: 2, end: 3)
        policy.handle(.resolved(at: at(1.998), commit: false), now: at(3))
        #expect(policy.isClean)
        for time in [1.999, 2, 2.5, 3] {
            var other = policy
            other.handle(.resolved(at: at(time), commit: false), now: at(3))
            #expect(other.handle(.tick, now: at(10)).action == .check, "\(time)")
        }
        policy.handle(.resolved(at: at(3.001), commit: false), now: at(4))
        #expect(policy.handle(.tick, now: at(10)).trigger == .quiet)
    }

    @Test("An unchanged answer, too, settles what came before its start")
    mutating func resolvedBeforeCheck() {
        policy.handle(.suspected(at: at(0)), now: at(0))
        policy.handle(.tick, now: at(2))
        policy.handle(.unchanged(started: at(2)), now: at(3))
        policy.handle(.resolved(at: at(1), commit: false), now: at(3))
        #expect(policy.isClean)
        policy.handle(.resolved(at: at(2), commit: false), now: at(3))
        #expect(policy.handle(.tick, now: at(10)).action == .check)
    }

    @Test("In flight, one from before the start shares the attempt's fate")
    mutating func resolvedInFlight() {
        policy.handle(.marked(first: at(1), last: at(1), commit: false), now: at(1))
        policy.handle(.tick, now: at(3))
        policy.handle(.resolved(at: at(0.5), commit: false), now: at(3.1))
        #expect(policy.atRiskSince == at(0.5))
        var other = policy
        policy.handle(.succeeded(started: at(3), finished: at(4)), now: at(4))
        #expect(policy.isClean)
        other.handle(.failed(at: at(4)), now: at(4))
        #expect(other.atRiskSince == at(0.5))
        #expect(other.handle(.tick, now: at(5)).action == .snapshot(.quiet, first: at(0.5), last: at(1)))
    }

    @Test("In flight, a later one is doubtful or certain by the snapshot's end")
    mutating func resolvedWhileFlying() {
        policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0))
        policy.handle(.tick, now: at(2))
        policy.handle(.resolved(at: at(3), commit: false), now: at(5))
        var other = policy
        policy.handle(.succeeded(started: at(2), finished: at(4)), now: at(5))
        #expect(policy.handle(.tick, now: at(5)).action == .check)
        other.handle(.succeeded(started: at(2), finished: at(2.9)), now: at(5))
        #expect(other.handle(.tick, now: at(5)).trigger == .quiet)
    }

    /// A snapshot from 2 to 4, and a mark of the new epoch from 3 to `last`.
    private mutating func markInFlight(last: Double) {
        policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0))
        policy.handle(.tick, now: at(2))
        policy.handle(.marked(first: at(3), last: at(last), commit: false), now: at(last))
        policy.handle(.succeeded(started: at(2), finished: at(4)), now: at(4))
    }

    private mutating func snapshot(change: Double, start: Double, end: Double) {
        policy.handle(.marked(first: at(change), last: at(change), commit: false), now: at(change))
        #expect(policy.handle(.tick, now: at(start)).trigger != nil)
        policy.handle(.succeeded(started: at(start), finished: at(end)), now: at(end))
    }
}
