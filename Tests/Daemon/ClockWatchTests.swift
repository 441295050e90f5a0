import Retention
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

    @Test("what it saw makes nothing older; a clock that is moved a little is not set")
    func leaps() {
        var watch = ClockWatch()
        let second: UInt64 = 1_000_000_000
        var expected = ClockLeaps()
        _ = watch.step(wall: (1_000_000, 0), boot: 50 * second)
        _ = watch.step(wall: (1_000_030, 0), boot: 60 * second)
        #expect(watch.leaps == expected)
        _ = watch.step(wall: (2_000_000, 0), boot: 70 * second)
        expected.note(from: 1_000_030_000_000_000, to: 2_000_000_000_000_000)
        #expect(watch.leaps == expected)
        _ = watch.step(wall: (1_500_000, 0), boot: 80 * second)
        expected.note(from: 2_000_000_000_000_000, to: 1_500_000_000_000_000)
        #expect(watch.leaps == expected)
    }
}
