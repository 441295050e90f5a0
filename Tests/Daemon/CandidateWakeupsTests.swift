import Testing

@testable import Daemon

@Suite("Wake-ups by candidates")
struct CandidateWakeupsTests {
    /// The daemon, its ring and the flag, with a clock that a test moves. One step of a pass at a time.
    private struct World {
        var now: UInt64 = 0
        var isPending = false
        /// Candidates in the ring that nothing was woken for, and those that were taken.
        var ring = 0
        var taken = 0
        var isWoken = false
        var wakeups = CandidateWakeups()

        /// What a program does: it reads the flag, and some time later puts its candidate into the ring.
        mutating func readFlag() -> Bool {
            defer { isPending = true }
            return !isPending
        }

        mutating func submit(wake: Bool) {
            ring += 1
            isWoken = isWoken || wake
        }

        /// A pass of the daemon; `before` runs between its clearing of the flag and its look at the ring, `after` at the end.
        mutating func pass(before: (inout World) -> Void = { _ in }, after: (inout World) -> Void = { _ in }) {
            isWoken = false
            if wakeups.step(now) { isPending = false }
            before(&self)
            if ring > 0 { wakeups.tookCandidate(at: now) }
            taken += ring
            ring = 0
            after(&self)
        }

        /// Sleeps and passes until nothing would wake the daemon any more.
        mutating func settle() {
            for _ in 0..<100 {
                if !isWoken {
                    guard let deadline = wakeups.deadline else { return }
                    now = max(now, deadline)
                }
                pass()
            }
            Issue.record("it never comes to rest")
        }
    }

    /// The moments in the daemon's life at which the second program reads the flag, and at which it submits.
    enum Moment: Int, CaseIterable {
        case beforeFirstPass, afterFirstPass, beforeClearing, afterClearing, afterLook, asleep
    }

    @Test("a candidate is taken wherever its program is held up between the flag and the ring")
    func interleavings() {
        for read in Moment.allCases {
            for submitted in Moment.allCases where submitted.rawValue >= read.rawValue {
                var world = World()
                var wakes = false
                func at(_ moment: Moment, _ world: inout World) {
                    if moment == read { wakes = world.readFlag() }
                    if moment == submitted { world.submit(wake: wakes) }
                }
                let first = world.readFlag()
                world.submit(wake: first)
                #expect(world.isWoken)
                at(.beforeFirstPass, &world)
                world.pass(after: { at(.afterFirstPass, &$0) })
                at(.beforeClearing, &world)
                world.now += CandidateWakeups.interval
                world.pass(before: { at(.afterClearing, &$0) }, after: { at(.afterLook, &$0) })
                world.now += 1
                at(.asleep, &world)
                world.settle()
                #expect(world.taken == 2 && world.ring == 0, "read \(read), submitted \(submitted)")
                #expect(!world.isPending, "the next one would wake nothing: read \(read), submitted \(submitted)")
            }
        }
    }

    @Test("candidates without end wake the daemon once in each interval")
    func flood() {
        var world = World()
        var passes = 0
        let end: UInt64 = 1_000_000_000
        // One each 10 microseconds.
        while world.now < end {
            let wakes = world.readFlag()
            world.submit(wake: wakes)
            if world.isWoken || world.wakeups.deadline.map({ $0 <= world.now }) ?? false {
                world.pass()
                passes += 1
            }
            world.now += 10_000
        }
        // Each interval has one wake-up that a candidate makes and one that the clock makes.
        #expect(passes <= 2 * Int(end / CandidateWakeups.interval) + 2, "\(passes)")
    }
}
