import Policy
import TestSupport

extension SplitMix64 {
    mutating func chance(_ percent: Int) -> Bool {
        Int.random(in: 0..<100, using: &self) < percent
    }

    mutating func duration(_ range: ClosedRange<Duration>) -> Duration {
        let nanoseconds = Int128(1_000_000_000)
        let low = Int64(range.lowerBound.attoseconds / nanoseconds)
        return .nanoseconds(Int64.random(in: low...Int64(range.upperBound.attoseconds / nanoseconds), using: &self))
    }

    mutating func pick<Element>(_ choices: [Element]) -> Element {
        choices[Int.random(in: 0..<choices.count, using: &self)]
    }
}

/// The seeds of every property test.
let seeds = TestSeeds.of(1, 0xdead_beef, 20_260_101)

func hex(_ seed: UInt64) -> String {
    "0x" + String(seed, radix: 16)
}

/// `seconds` after an arbitrary moment well after boot.
func at(_ seconds: Double) -> Instant {
    Instant(nanoseconds: 1_000_000_000_000).advanced(by: .milliseconds(Int64((seconds * 1_000).rounded())))
}

/// The times of a decision's window, so that tests need not repeat them.
extension Decision {
    var trigger: Trigger? {
        guard case .snapshot(let trigger, _, _) = action else { return nil }
        return trigger
    }
}
