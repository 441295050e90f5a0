import Background
import Synchronization
import Testing

@Suite("Worker threads")
struct WorkerThreadsTests {
    @Test("asynchronous work is done and waited for, also where it goes through many hands")
    func tasks() {
        let sum = blocking {
            await withTaskGroup(of: Int.self) { group in
                for number in 1...100 { group.addTask { await WorkerThreads.shared.value { number } } }
                return await group.reduce(0, +)
            }
        }
        #expect(sum == 5050)
    }

    @Test("work that blocks holds up no other, as long as there are threads")
    func threads() {
        let workers = WorkerThreads(limit: 8)
        let gate = Semaphore()
        let done = Semaphore()
        for _ in 0..<7 {
            workers.perform {
                gate.wait()
                done.signal()
            }
        }
        let other = Semaphore()
        workers.perform { other.signal() }
        other.wait()
        for _ in 0..<7 { gate.signal() }
        for _ in 0..<7 { done.wait() }
    }

    @Test("work beyond the limit waits for its turn")
    func limit() {
        let workers = WorkerThreads(limit: 2)
        let atOnce = Atomic(0)
        let most = Atomic(0)
        let done = Semaphore()
        for _ in 0..<200 {
            workers.perform {
                most.max(atOnce.add(1, ordering: .relaxed).newValue, ordering: .relaxed)
                atOnce.subtract(1, ordering: .relaxed)
                done.signal()
            }
        }
        for _ in 0..<200 { done.wait() }
        #expect((1...2).contains(most.load(ordering: .relaxed)))
    }

    @Test("a queue keeps the order")
    func order() {
        let queue = SerialQueue()
        let seen = Mutex<[Int]>([])
        let done = Semaphore()
        for number in 0..<1000 { queue.async { seen.withLock { $0.append(number) } } }
        queue.async { done.signal() }
        done.wait()
        #expect(seen.withLock { $0 } == Array(0..<1000))
    }

    @Test("a wait ends with its time")
    func timeLimit() {
        let semaphore = Semaphore()
        #expect(!semaphore.wait(for: .milliseconds(1)))
        semaphore.signal()
        #expect(semaphore.wait(for: .seconds(60)))
    }
}
