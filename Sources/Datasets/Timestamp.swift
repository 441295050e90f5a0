/// A moment in UTC to the millisecond, between 1970-01-01 and 9999-12-31: what fits a name that sorts as text.
///
/// The calendar is worked out here and not by `gmtime_r`: this is pure and total, needs no C time zone code, and the
/// way back (`timegm`) accepts what it should refuse, such as the 31st of February.
public struct Timestamp: Hashable, Sendable, Comparable {
    /// Milliseconds since 1970-01-01T00:00:00Z, not counting leap seconds.
    public let milliseconds: Int64

    /// 1970-01-01T00:00:00.000Z.
    public static let earliest = Timestamp(milliseconds: 0)
    /// 9999-12-31T23:59:59.999Z.
    public static let latest = Timestamp(milliseconds: 253_402_300_799_999)

    /// A moment; one out of the range becomes the nearest that is in it.
    public init(milliseconds: Int64) {
        self.milliseconds = min(max(milliseconds, 0), 253_402_300_799_999)
    }

    /// From `clock_gettime(CLOCK_REALTIME)`; what is finer than a millisecond is cut off.
    public init(seconds: Int64, nanoseconds: Int64) {
        let whole = min(max(seconds, 0), 253_402_300_799)
        self.init(milliseconds: seconds < 0 ? 0 : whole * 1000 + min(max(nanoseconds / 1_000_000, 0), 999))
    }

    /// Nanoseconds since 1970; of a moment after April 2262, more than which 64 bits do not hold, the most that they hold.
    public var nanoseconds: Int64 {
        let (product, over) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
        return over ? .max : product
    }

    /// The earlier one first.
    public static func < (left: Self, right: Self) -> Bool { left.milliseconds < right.milliseconds }

    /// The next millisecond; of the latest moment itself.
    public var next: Timestamp { Timestamp(milliseconds: milliseconds + 1) }

    /// RFC 3339: `2026-11-22T09:05:00.123Z`.
    public var rfc3339: String { text(timeSeparator: ":") }

    /// For a snapshot's name: `2026-11-22T09.05.00.123Z`. ZFS allows colons there, but SMB and `scp` do not.
    public var nameText: String { text(timeSeparator: ".") }

    /// From `rfc3339`, in exactly that form.
    public init?(rfc3339 text: some StringProtocol) {
        self.init(text, timeSeparator: ":")
    }

    /// From `nameText`, in exactly that form.
    public init?(nameText text: some StringProtocol) {
        self.init(text, timeSeparator: ".")
    }
}

extension Timestamp {
    private func text(timeSeparator: String) -> String {
        let (year, month, day) = Self.civil(fromDays: milliseconds / 86_400_000)
        let ofDay = milliseconds % 86_400_000
        let time = [ofDay / 3_600_000, ofDay / 60_000 % 60, ofDay / 1000 % 60].map { Self.digits($0, 2) }
        return "\(Self.digits(year, 4))-\(Self.digits(month, 2))-\(Self.digits(day, 2))T"
            + time.joined(separator: timeSeparator) + ".\(Self.digits(ofDay % 1000, 3))Z"
    }

    private init?(_ text: some StringProtocol, timeSeparator: String) {
        let bytes = Array(text.utf8)
        guard bytes.count == 24 else { return nil }
        let number = { (range: Range<Int>) -> Int64? in
            guard bytes[range].allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
            return bytes[range].reduce(0) { $0 * 10 + Int64($1 - 0x30) }
        }
        guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10),
            let hour = number(11..<13), let minute = number(14..<16), let second = number(17..<19),
            let milli = number(20..<23)
        else { return nil }
        let days = Self.days(fromCivil: year, month, day)
        let total = days * 86_400_000 + hour * 3_600_000 + minute * 60_000 + second * 1000 + milli
        self.init(milliseconds: total)
        // Separators, ranges and the lengths of months all at once: only a real moment is written back the same.
        guard self.text(timeSeparator: timeSeparator).utf8.elementsEqual(bytes) else { return nil }
    }

    private static func digits(_ value: Int64, _ width: Int) -> String {
        let text = String(value)
        return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
    }

    /// Year, month and day of a day since 1970-01-01.
    ///
    /// H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`: years begin in March, so that the
    /// leap day is the last of its year; 146,097 days are an era of 400 years; 719,468 days lie before 1970.
    private static func civil(fromDays days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719_468
        let era = shifted / 146_097
        let ofEra = shifted % 146_097
        let yearOfEra = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
        let ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * ofYear + 2) / 153
        let day = ofYear - (153 * marchMonth + 2) / 5 + 1
        let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }

    /// The way back, `days_from_civil`. Defined for any month and day, sensible ones or not.
    private static func days(fromCivil year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let marchYear = month <= 2 ? year - 1 : year
        let era = (marchYear >= 0 ? marchYear : marchYear - 399) / 400
        let yearOfEra = marchYear - era * 400
        let ofYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let ofEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + ofYear
        return era * 146_097 + ofEra - 719_468
    }
}
