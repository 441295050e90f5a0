import Glibc

/// The seeds of tests with random input.
///
/// They are fixed, so that a change is judged by the change alone. A seed that ever failed joins the fixed ones of its test. New ones are
/// for `make test-random`, which sets `KAIROS_RANDOM` to how many each test takes; `KAIROS_SEED` is one alone, to see it fail again.
package enum TestSeeds {
    /// - Parameter fixed: those that `make test` runs.
    package static func of(_ fixed: some Sequence<UInt64>) -> [UInt64] {
        of(fixed, one: value("KAIROS_SEED"), fresh: value("KAIROS_RANDOM").map { Int(clamping: $0) }) {
            // Short enough to type.
            UInt64.random(in: 0..<1 << 32)
        }
    }

    package static func of(_ fixed: UInt64...) -> [UInt64] { of(fixed) }

    /// Of a test that runs once.
    package static func one(_ fixed: UInt64) -> UInt64 { of([fixed]).first ?? fixed }

    static func of(
        _ fixed: some Sequence<UInt64>, one: UInt64?, fresh: Int?, _ random: () -> UInt64
    ) -> [UInt64] {
        if let one { return [one] }
        guard let fresh else { return Array(fixed) }
        return (0..<max(fresh, 1)).map { _ in random() }
    }

    /// Decimal, or hexadecimal after `0x`.
    static func number(_ text: String) -> UInt64? {
        text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
    }

    private static func value(_ name: String) -> UInt64? { getenv(name).flatMap { number(String(cString: $0)) } }
}
