import Background
import Synchronization
import Testing

@testable import Daemon

@Suite("Flushes before a snapshot")
struct FlushQueueTests {
    @Test("One that hangs is given up after the limit, and the others count")
    func hangs() {
        let gate = Semaphore()
        let queue = FlushQueue(limit: .milliseconds(50))
        let warnings = queue.run([
            (
                1, "tank/hangs",
                {
                    gate.wait(); return []
                }
            ),
            (2, "tank/fails", { ["cannot flush"] }),
            (3, "tank/works", { [] }),
        ])
        #expect(warnings[1]?.count == 1)
        #expect(warnings[1]?.first?.hasPrefix("tank/hangs: stores to mapped files may be missing") == true)
        #expect(warnings[2] == ["cannot flush"])
        #expect(warnings[3] == nil)
        gate.signal()
    }

    @Test("A dataset whose flush hangs has no second one, until it has come back")
    func oneAtATime() {
        let (gate, back) = (Semaphore(), Semaphore())
        let calls = Atomic(0)
        let queue = FlushQueue(limit: .milliseconds(20))
        let flush = { (hangs: Bool) in
            queue.run([
                (
                    7, "tank/a",
                    {
                        calls.add(1, ordering: .relaxed)
                        if hangs { gate.wait() }
                        back.signal()
                        return []
                    }
                )
            ])
        }
        #expect(flush(true)[7]?.first?.contains("timed out after") == true)
        #expect(flush(true)[7]?.first?.contains("an earlier flush still hangs") == true)
        #expect(calls.load(ordering: .relaxed) == 1)
        gate.signal()
        back.wait()
        // It is noted as back just after it has returned.
        while flush(false)[7] != nil {}
        #expect(calls.load(ordering: .relaxed) >= 2)
    }

    @Test("Flushes that hang for ever hold up no flush of another dataset")
    func many() {
        let gate = Semaphore()
        let queue = FlushQueue(limit: .milliseconds(20))
        for guid in 0..<20 {
            _ = queue.run([
                (
                    UInt64(guid), "tank/\(guid)",
                    {
                        gate.wait(); return []
                    }
                )
            ])
        }
        #expect(queue.run([(99, "tank/fine", { [] })]).isEmpty)
        for _ in 0..<20 { gate.signal() }
    }
}
