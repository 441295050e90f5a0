/// A text that is no duration. Its description names the text, says what is wrong with it and shows a good one.
public struct DurationSyntaxError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What is wrong with a text.
    public enum Reason: Hashable, Sendable {
        /// There is nothing to read.
        case empty
        /// It begins with a minus sign.
        case negative
        /// A number is expected where something else stands.
        case noNumber
        /// A number has no unit: `30`, or the end of `1m30`.
        case noUnit
        /// A unit that is none of d, h, m, s, ms, us.
        case unknownUnit(String)
        /// A unit that comes after a smaller one or twice: `1s1m`.
        case unitOrder(String)
        /// A fraction in a part that is not the last one: `1.5h30m`.
        case fractionNotLast
        /// A fraction below one attosecond, or no digit after the point.
        case fraction
        /// More than 292 years (2^63 ns).
        case tooLong
    }

    /// The text as it was given.
    public let text: String
    /// What is wrong with it.
    public let reason: Reason

    /// The message for whoever typed the text.
    public var description: String {
        "\(String(reflecting: text)) is not a duration: \(problem) (examples: 500ms, 2s, 1m30s, 1d)"
    }

    private var problem: String {
        switch reason {
        case .empty: "it is empty"
        case .negative: "it is negative"
        case .noNumber: "a number is missing"
        case .noUnit: "a unit is missing after a number; write d, h, m, s, ms or us"
        case .unknownUnit(let unit): "\(String(reflecting: unit)) is not a unit; write d, h, m, s, ms or us"
        case .unitOrder(let unit): "\(String(reflecting: unit)) stands after a unit that is not larger"
        case .fractionNotLast: "only the last part may have a fraction"
        case .fraction: "its fraction has no digits, or more than can be held"
        case .tooLong: "it is longer than 292 years"
        }
    }
}

extension Duration {
    /// Reads a duration as administrators type it: `500ms`, `1.5s`, `5m`, `1m30s`, `1d`.
    ///
    /// Units are d, h, m, s, ms and us, the larger first, each at most once; only the last number may have a fraction.
    /// A number without a unit is an error, zero included: nobody should have to guess what `30` means. A day is
    /// 86,400 seconds.
    ///
    /// - Throws: `DurationSyntaxError` for anything else, negative, or above 2^63 nanoseconds (292 years).
    public init(parsing text: String) throws(DurationSyntaxError) {
        var reader = DurationReader(text: text)
        self.init(attoseconds: try reader.attoseconds())
    }

    /// The shortest text that `init(parsing:)` reads back as exactly this duration (up to its limit of 292 years):
    /// `2s`, `90s`, `1.5s`, `1h`. Among equally short ones, the one with the larger unit first. Negative durations,
    /// which cannot be typed, get a minus sign.
    public var exactText: String {
        let magnitude = attoseconds.magnitude
        guard magnitude > 0 else { return "0s" }
        return (attoseconds < 0 ? "-" : "") + shortest(magnitude, units: DurationUnit.allCases[...])
    }
}

/// The units, largest first.
private enum DurationUnit: String, CaseIterable {
    case days = "d"
    case hours = "h"
    case minutes = "m"
    case seconds = "s"
    case milliseconds = "ms"
    case microseconds = "us"

    var attoseconds: Int128 {
        switch self {
        case .days: 86_400 * DurationUnit.second
        case .hours: 3_600 * DurationUnit.second
        case .minutes: 60 * DurationUnit.second
        case .seconds: DurationUnit.second
        case .milliseconds: DurationUnit.second / 1_000
        case .microseconds: DurationUnit.second / 1_000_000
        }
    }

    private static let second: Int128 = 1_000_000_000_000_000_000
}

/// The longest duration that may be typed: whatever is done with it in 64-bit nanoseconds then fits.
private let longest = Int128(Int64.max) * 1_000_000_000

private struct DurationReader {
    let text: String
    private var rest: Substring.UTF8View

    init(text: String) {
        self.text = text
        rest = text[...].utf8
    }

    mutating func attoseconds() throws(DurationSyntaxError) -> Int128 {
        guard let start = rest.first else { throw failure(.empty) }
        guard start != UInt8(ascii: "-") else { throw failure(.negative) }
        var sum: Int128 = 0
        var smallest = DurationUnit.days.attoseconds + 1
        var hadFraction = false
        while !rest.isEmpty {
            guard !hadFraction else { throw failure(.fractionNotLast) }
            let whole = digits()
            guard !whole.isEmpty else { throw failure(.noNumber) }
            var fraction: Substring.UTF8View?
            if rest.first == UInt8(ascii: ".") {
                rest.removeFirst()
                fraction = digits()
                hadFraction = true
            }
            let unit = try unit()
            guard unit.attoseconds < smallest else { throw failure(.unitOrder(unit.rawValue)) }
            smallest = unit.attoseconds
            sum += try value(whole, of: unit)
            if let fraction {
                sum += try value(fraction: fraction, of: unit)
            }
            guard sum <= longest else { throw failure(.tooLong) }
        }
        return sum
    }

    private mutating func digits() -> Substring.UTF8View {
        take { UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }
    }

    private mutating func unit() throws(DurationSyntaxError) -> DurationUnit {
        let name = take { !(UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0) && $0 != UInt8(ascii: ".") }
        guard !name.isEmpty else { throw failure(.noUnit) }
        guard let unit = DurationUnit(rawValue: String(Substring(name))) else {
            throw failure(.unknownUnit(String(Substring(name))))
        }
        return unit
    }

    private mutating func take(while matches: (UInt8) -> Bool) -> Substring.UTF8View {
        let taken = rest.prefix(while: matches)
        rest = rest[taken.endIndex...]
        return taken
    }

    private func value(_ digits: Substring.UTF8View, of unit: DurationUnit) throws(DurationSyntaxError) -> Int128 {
        var number: Int128 = 0
        for digit in digits {
            number = number * 10 + Int128(digit - UInt8(ascii: "0"))
            // Checked at every digit, so that no number of them overflows.
            guard number <= longest / unit.attoseconds else { throw failure(.tooLong) }
        }
        return number * unit.attoseconds
    }

    private func value(
        fraction: Substring.UTF8View, of unit: DurationUnit
    ) throws(DurationSyntaxError) -> Int128 {
        guard !fraction.isEmpty else { throw failure(.fraction) }
        var significant = fraction
        while significant.last == UInt8(ascii: "0") {
            significant.removeLast()
        }
        // A day has fewer than 10^23 attoseconds, and finer digits than these cannot be exact.
        guard significant.count <= 22 else { throw failure(.fraction) }
        var numerator: Int128 = 0
        var denominator: Int128 = 1
        for digit in significant {
            numerator = numerator * 10 + Int128(digit - UInt8(ascii: "0"))
            denominator *= 10
        }
        let common = divisor(unit.attoseconds, denominator)
        guard numerator % (denominator / common) == 0 else { throw failure(.fraction) }
        return numerator / (denominator / common) * (unit.attoseconds / common)
    }

    private func failure(_ reason: DurationSyntaxError.Reason) -> DurationSyntaxError {
        DurationSyntaxError(text: text, reason: reason)
    }
}

private func divisor(_ first: Int128, _ second: Int128) -> Int128 {
    var (larger, smaller) = (first, second)
    while smaller != 0 {
        (larger, smaller) = (smaller, larger % smaller)
    }
    return larger
}

/// The shortest writing of `value` > 0 with the given units: either a single decimal number of the first unit that
/// serves, or as many whole ones of it as fit and then the rest. Six units: at most 64 ways to look at.
private func shortest(_ value: UInt128, units: ArraySlice<DurationUnit>) -> String {
    var best: String?
    for (position, unit) in zip(units.indices, units) {
        let (whole, rest) = value.quotientAndRemainder(dividingBy: UInt128(unit.attoseconds))
        var candidates: [String] = []
        if let decimals = decimals(rest, of: UInt128(unit.attoseconds)) {
            candidates.append("\(whole)\(decimals)\(unit.rawValue)")
        }
        if whole > 0, rest > 0, position + 1 < units.endIndex {
            candidates.append("\(whole)\(unit.rawValue)" + shortest(rest, units: units[(position + 1)...]))
        }
        for candidate in candidates where candidate.utf8.count < (best?.utf8.count ?? .max) {
            best = candidate
        }
    }
    // Microseconds divide every attosecond count in 12 decimal places, so there always was a candidate.
    return best ?? ""
}

/// `rest / unit` as decimals with their point (empty for zero); nil if it never ends.
private func decimals(_ rest: UInt128, of unit: UInt128) -> String? {
    guard rest > 0 else { return "" }
    var remainder = rest
    var text = "."
    while remainder > 0 {
        guard text.utf8.count <= 22 else { return nil }
        let (digit, next) = (remainder * 10).quotientAndRemainder(dividingBy: unit)
        text += String(digit)
        remainder = next
    }
    return text
}
