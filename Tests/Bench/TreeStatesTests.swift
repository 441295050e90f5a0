import Testing

@testable import Bench

@Suite("What a snapshot's digest tells")
struct TreeStatesTests {
    /// Trees by letters. Each step takes a tenth of a second, and is done at the whole one.
    private func states(start: String, _ trees: String) -> TreeStates {
        TreeStates(
            start: digest(start), digests: trees.map { digest(String($0)) },
            moments: (0..<trees.count).map {
                ScriptRunner.Moment(began: seconds(Double($0) + 0.9), done: seconds(Double($0) + 1))
            })
    }

    private func digest(_ tree: String) -> TreeDigest {
        var digest = TreeDigest()
        digest.add(directory: tree)
        return digest
    }

    private func taken(_ began: Double, _ finished: Double) -> LiveSnapshot {
        LiveSnapshot(name: "a", began: seconds(began), finished: seconds(finished))
    }

    @Test("of a tree that was the same several times it is the time at which the snapshot was taken")
    func repeated() {
        // A temporary file comes and goes: the tree is "a" from the start, after step 1 and after step 3.
        let states = states(start: "a", "babac")
        for (began, step) in [(0.2, -1), (2.3, 1), (2.7, 1), (4.2, 3)] {
            let (held, isBetween) = states.held(digest("a"), by: taken(began, began + 0.1), after: -1)
            #expect(held == step && !isBetween, "at \(began)")
        }
        // Late in a long rest it is still that rest, however soon the next one like it comes.
        #expect(states.held(digest("a"), by: taken(2.85, 2.88), after: -1).step == 1)
        // Never before what its predecessor held.
        #expect(states.held(digest("a"), by: taken(2.3, 2.4), after: 2).step == 3)
    }

    @Test("a state that was not reached yet is none that it holds, and clocks that tell little decide nothing")
    func nearest() {
        let states = states(start: "a", "bcd")
        #expect(states.held(digest("c"), by: taken(9, 9.1), after: -1).step == 1)
        #expect(states.held(digest("d"), by: taken(0, 0.1), after: -1).step == 2)
    }

    @Test("one within a change is told of, and counts as what was there before it")
    func between() {
        let states = states(start: "a", "bcd")
        let (held, isBetween) = states.held(digest("x"), by: taken(1.95, 2.2), after: -1)
        #expect(held == 0 && isBetween)
        #expect(states.held(digest("x"), by: taken(0.95, 1.1), after: -1) == (-1, true))
        #expect(states.held(digest("x"), by: taken(1.95, 2.2), after: 1) == (1, true))
        #expect(states.held(digest("x"), by: taken(7, 7.1), after: -1) == (2, true))
    }

    @Test("a script that was stopped has only the states that it reached")
    func stopped() {
        let states = TreeStates(
            start: digest("a"), digests: ["b", "c"].map(digest),
            moments: [ScriptRunner.Moment(began: seconds(0.9), done: seconds(1))])
        #expect(states.held(digest("c"), by: taken(3, 3.1), after: -1) == (0, true))
    }
}
