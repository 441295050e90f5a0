import Testing

@testable import Daemon

@Suite("The wall clock against the one that nobody sets")
struct ClockWatchTests {
    @Test("a clock that goes on says nothing, one that is set says how far, once")
    func steps() {
        var watch = ClockWatch()
        let second: UInt64 = 1_000_000_000
        #expect(watch.step(wall: (1_000_000, 0), boot: 50 * second) == 0)
        #expect(watch.step(wall: (1_000_010, 5), boot: 60 * second) == 5)
        #expect(watch.step(wall: (1_000_000 + 31_536_020, 5), boot: 70 * second) == 31_536_000 * second)
        #expect(watch.step(wall: (1_000_000 + 31_536_030, 5), boot: 80 * second) == 0)
        #expect(watch.step(wall: (1_000_040, 5), boot: 90 * second) == 31_536_000 * second)
        _ = watch.step(wall: (.max, 0), boot: .max)
        _ = watch.step(wall: (.min, 0), boot: 0)
    }
}
