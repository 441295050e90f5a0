import Policy
import Testing

/// What ZFS's transaction groups say is past doubt. Times in seconds; defaults: quiet 2, max-delay 30, min-interval 1.
@Suite("Dataset policy: transaction groups")
struct TransactionGroupTests {
    var policy = DatasetPolicy(settings: Settings())

    private mutating func snapshot(from start: Double, to end: Double) {
        #expect(policy.handle(.tick, now: at(start)).trigger != nil)
        policy.handle(.succeeded(started: at(start), finished: at(end)), now: at(end))
    }

    @Test("A change made during a snapshot is doubtful by its time, and certain by its group")
    mutating func certain() {
        policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0))
        snapshot(from: 2, to: 3)
        policy.handle(.marked(first: at(2.5), last: at(2.5), commit: false), now: at(3))
        #expect(policy.handle(.tick, now: at(4.5)).action == .check)
        policy.handle(.unchanged(started: at(4.5)), now: at(4.6))
        policy.handle(.dirty(first: at(2.5), last: at(2.5), commit: false), now: at(4.6))
        #expect(policy.handle(.tick, now: at(4.6)).trigger == .quiet)
    }

    @Test("It waits for the quiet time like any other, and for max-delay at most")
    mutating func pace() {
        policy.handle(.dirty(first: at(0), last: at(1), commit: false), now: at(1))
        #expect(policy.handle(.tick, now: at(1)).deadline == at(3))
        policy.handle(.dirty(first: at(0), last: at(29), commit: false), now: at(29))
        #expect(policy.handle(.tick, now: at(29)).deadline == at(30))
    }

    @Test("What somebody else's snapshot has is due no more")
    mutating func captured() {
        policy.handle(.dirty(first: at(0), last: at(0), commit: false), now: at(0))
        policy.handle(.captured, now: at(1))
        #expect(policy.isClean)
        #expect(policy.handle(.tick, now: at(100)) == Decision())
    }

    @Test("Marks, and what a check has found, are not taken back by it")
    mutating func onlyGroups() {
        policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0))
        policy.handle(.captured, now: at(1))
        #expect(policy.handle(.tick, now: at(2)).trigger == .quiet)
        policy.handle(.succeeded(started: at(2), finished: at(2.1)), now: at(2.1))
        policy.handle(.suspected(at: at(3)), now: at(3))
        #expect(policy.handle(.tick, now: at(5)).action == .check)
        policy.handle(.changed(at: at(5.1)), now: at(5.1))
        policy.handle(.dirty(first: at(3), last: at(3), commit: false), now: at(5.1))
        policy.handle(.captured, now: at(5.2))
        #expect(policy.handle(.tick, now: at(5.2)).trigger == .check)
    }

    @Test("Nor is what could not be told of: a store, of which a snapshot failed, after somebody else's snapshot")
    mutating func storesStay() {
        policy.handle(.marked(first: at(0), last: at(0), commit: false), now: at(0))
        policy.handle(.dirty(first: at(0), last: at(0), commit: false), now: at(0))
        #expect(policy.handle(.tick, now: at(2)).trigger == .quiet)
        policy.handle(.failed(at: at(2.1)), now: at(2.1))
        policy.handle(.captured, now: at(2.2))
        #expect(policy.isAtRisk)
        #expect(policy.handle(.tick, now: at(4)).trigger == .quiet)
    }
}
