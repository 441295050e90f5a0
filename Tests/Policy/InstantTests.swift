import Policy
import Testing

@Suite("Instant")
struct InstantTests {
    @Test("Arithmetic saturates at both ends of the clock")
    func saturates() {
        let end = Instant(nanoseconds: .max)
        #expect(end + .nanoseconds(1) == end)
        #expect(end + .seconds(Int64.max) == end)
        #expect(Instant.boot + .seconds(Int64.min) == .boot)
        #expect(Instant.boot + .nanoseconds(-1) == .boot)
        #expect(end - .seconds(Int64.min) == end)
        #expect(Instant.boot - Duration(attoseconds: .min) == end)
        #expect(Instant.boot - .nanoseconds(1) == .boot)
        #expect(end - .nanoseconds(1) < end)
        #expect(end + Duration(attoseconds: .max) == end)
        #expect(end + Duration(attoseconds: .min) == .boot)
    }

    @Test("Differences are exact over the whole range")
    func differences() {
        let end = Instant(nanoseconds: .max)
        #expect(end - .boot == Duration.nanoseconds(UInt64.max))
        #expect(.boot - end == Duration.zero - Duration.nanoseconds(UInt64.max))
        #expect(Instant.boot + (end - .boot) == end)
        #expect(end.duration(to: end) == .zero)
    }

    @Test("Moments order, and print as seconds")
    func orderAndText() {
        #expect(Instant.boot < Instant(nanoseconds: 1))
        #expect(Instant(nanoseconds: 12_000_000_345).description == "12.000000345")
        #expect(Instant.boot.description == "0.000000000")
    }
}
