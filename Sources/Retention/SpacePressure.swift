/// How much room is to be left: the value of `kairos:min-free`.
public enum MinFree: Sendable, Hashable {
    case bytes(UInt64)
    /// Of what the pool holds and has left together.
    case percent(Double)

    /// `20G`, `500M`, `1.5T`, `10%`; `none` is nothing. Nil for what is no such text.
    public init?(parsing text: String) {
        if text == "none" {
            self = .bytes(0)
            return
        }
        guard let unit = text.last else { return nil }
        let places = "KMGTP"
        if unit == "%" {
            guard let value = Self.number(text.dropLast()), value <= 90 else { return nil }
            self = .percent(value)
            return
        }
        let digits = places.contains(unit) ? text.dropLast() : Substring(text)
        let power = places.firstIndex(of: unit).map { places.distance(from: places.startIndex, to: $0) + 1 } ?? 0
        guard let value = Self.number(digits), value <= 8000 || power < 5 else { return nil }
        var bytes = value
        for _ in 0..<power { bytes *= 1024 }
        guard bytes < 9e18 else { return nil }
        self = .bytes(UInt64(bytes))
    }

    private static func number(_ text: Substring) -> Double? {
        guard !text.isEmpty, text.utf8.count <= 18, text.utf8.allSatisfy({ (0x30...0x39).contains($0) || $0 == 0x2e })
        else { return nil }
        return Double(text)
    }
}

extension UInt64 {
    /// The sum, or the most that there is.
    func addingClamped(_ other: UInt64) -> UInt64 {
        let (sum, over) = addingReportingOverflow(other)
        return over ? .max : sum
    }
}

/// A dataset that wants more room than it has.
public struct SpacePressure: Sendable, Hashable {
    /// Bytes.
    public var wanted: UInt64
    /// Bytes that are free, or about to be.
    public var available: UInt64
    /// What the snapshots that go give back, by ZFS's own estimate.
    public var reclaimed: UInt64
    /// All that may go is too little.
    public var isShort: Bool { available.addingClamped(reclaimed) < wanted }
}
