import Background
import Synchronization
import Testing

@testable import Daemon

@Suite("Flushes before a snapshot")
struct FlushQueueTests {
    /// What a flush that hangs waits for.
    private let gate = Semaphore()

    private var hanging: FlushQueue.Work {
        { [gate] in
            gate.wait()
            return []
        }
    }

    /// As long as a slow machine may need to start a thread; one that hangs takes all of it.
    private let patience = Duration.seconds(5)

    @Test("One that hangs is given up after the limit, and the others count")
    func hangs() {
        let outcomes = FlushQueue().run(
            [(1, "tank/hangs", hanging), (2, "tank/fails", { ["cannot flush"] }), (3, "tank/works", { [] })],
            limit: patience)
        #expect(outcomes[1]?.isPending == true)
        #expect(outcomes[1]?.warnings.first?.hasPrefix("tank/hangs: stores to mapped files may be missing") == true)
        #expect(outcomes[2] == FlushQueue.Outcome(warnings: ["cannot flush"]))
        #expect(outcomes[3] == nil)
        gate.signal()
    }

    @Test("A dataset whose flush hangs gets no second one; the queue reports when the first returns")
    func oneAtATime() {
        let returned = Semaphore()
        let calls = Atomic(0)
        let queue = FlushQueue { guid in
            if guid == 7 { returned.signal() }
        }
        let flush: FlushQueue.Work = { [hanging] in
            calls.add(1, ordering: .relaxed)
            return hanging()
        }
        #expect(queue.run([(7, "tank/a", flush)], limit: .zero)[7]?.isPending == true)
        #expect(queue.run([(7, "tank/a", flush)], limit: .zero)[7]?.warnings.first?.contains("still hangs") == true)
        gate.signal()
        returned.wait()
        #expect(calls.load(ordering: .relaxed) == 1)
        gate.signal()
        #expect(queue.run([(7, "tank/a", flush)], limit: .seconds(60)).isEmpty)
        #expect(calls.load(ordering: .relaxed) == 2)
    }

    @Test("However many hang in one pool, those of another pool are done")
    func many() {
        let queue = FlushQueue()
        for guid in 0..<100 { _ = queue.run([(UInt64(guid), "sick/\(guid)", hanging)], limit: .zero) }
        #expect(queue.run([(1000, "fine/a", { [] })], limit: .seconds(60)).isEmpty)
        for _ in 0..<100 { gate.signal() }
    }
}
