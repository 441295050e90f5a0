import Policy
import TestSupport
import Testing

/// The policy in simulated worlds. To look at one that failed: `World.run(seed: 0x...)`.
@Suite("Dataset policy: promises")
struct DatasetPolicyPropertyTests {
    @Test("Every promise holds in 1,000 random lives", arguments: seeds)
    func promises(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var counts = Counts()
        for _ in 0..<1_000 {
            let life = random.next()
            let world = World.run(seed: life)
            #expect(
                world.violations.isEmpty,
                "life \(hex(life)) of seed \(hex(seed)), \(world.profile): \(world.violations)")
            counts += world.counts
        }
        // The runs meet what they are meant to test.
        #expect(counts.snapshots > 2_000, "seed \(hex(seed)): \(counts)")
        #expect(counts.checks > 500, "seed \(hex(seed)): \(counts)")
        #expect(counts.failures > 200, "seed \(hex(seed)): \(counts)")
        #expect(counts.caughtInFlight > 100, "seed \(hex(seed)): \(counts)")
        #expect(counts.missedInFlight > 100, "seed \(hex(seed)): \(counts)")
        #expect(counts.unanswered > 50, "seed \(hex(seed)): \(counts)")
        #expect(counts.settledByOthers > 100, "seed \(hex(seed)): \(counts)")
    }

    /// This one was taken to settle at the end of time.
    @Test("A life without a change keeps every promise")
    func empty() {
        let world = World.run(seed: 0x136e_6f9e_fa89_7136)
        #expect(world.changes.isEmpty, "this seed makes another life by now: choose one without a change")
        #expect(world.violations.isEmpty, "\(world.violations)")
        #expect(world.counts.snapshots == 0)
    }

    /// A store in doubt after a snapshot that gave no answer; then a write that groups tell of, and somebody else's snapshot
    /// of both: the write's time was taken for the store's.
    @Test("What groups tell of leaves a store in doubt that was in doubt")
    func doubtBesideGroups() {
        let world = World.run(seed: 0x80ac_31a4_9519_3816)
        #expect(world.counts.unanswered > 0 && world.counts.settledByOthers > 0, "this seed makes another life by now")
        #expect(world.violations.isEmpty, "\(world.violations)")
    }

    @Test("A broken policy is caught", arguments: Mutation.allCases)
    func mutations(mutation: Mutation) {
        var random = SplitMix64(seed: 7)
        let lives = (0..<300).map { _ in random.next() }
        let broken = Set(lives.lazy.flatMap { World.run(seed: $0, mutation: mutation).violations.map(\.rule) })
        #expect(broken.contains(mutation.brokenPromise), "\(mutation) broke \(broken) in \(lives.count) lives")
    }
}
