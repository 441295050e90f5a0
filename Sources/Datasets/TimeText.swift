/// A moment as people write it: `10m ago`, `2 hours ago`, `yesterday 14:00`, `2026-11-22 09:05`, RFC 3339.
public enum TimeText {
    public struct Fault: Error, Sendable, Hashable, CustomStringConvertible {
        /// Printable: what was wrong, and what is understood.
        public var description: String
    }

    /// A day and a time of day, in some zone.
    public struct Civil: Sendable, Hashable {
        public var year: Int
        public var month: Int
        public var day: Int
        public var hour = 0
        public var minute = 0
        public var second = 0

        public init(year: Int, month: Int, day: Int, hour: Int = 0, minute: Int = 0, second: Int = 0) {
            (self.year, self.month, self.day) = (year, month, day)
            (self.hour, self.minute, self.second) = (hour, minute, second)
        }
    }

    private static let units: [(names: [String], seconds: Int64)] = [
        (["s", "sec", "secs", "second", "seconds"], 1), (["m", "min", "mins", "minute", "minutes"], 60),
        (["h", "hr", "hrs", "hour", "hours"], 3600), (["d", "day", "days"], 86_400),
        (["w", "week", "weeks"], 604_800),
    ]

    /// - Parameters:
    ///   - now: seconds since 1970.
    ///   - zone: what is said without a zone, as seconds since 1970. A time that the clock skips is some time in the gap, one that it shows twice
    ///     the one or the other, as `mktime` has it; fields beyond their ends are days before or after.
    ///   - today: the day of a time, in that zone.
    /// - Returns: seconds since 1970.
    public static func seconds(
        _ text: String, now: Int64, zone: (Civil) -> Int64?, today: (Int64) -> Civil
    ) throws(Fault) -> Int64 {
        let words = text.split(whereSeparator: { $0 == " " }).map { String($0).lowercased() }
        if words == ["now"] { return now }
        if words.last == "ago", let ago = span(words.dropLast().joined()) {
            let (time, over) = now.subtractingReportingOverflow(ago)
            guard !over, time >= 0 else { throw fault(text, "that is before 1970") }
            return time
        }
        if words.count == 1, words[0].first == "@", let time = Int64(words[0].dropFirst()), time >= 0 { return time }
        // A zone may stand by itself, as git writes it: "2026-11-22 09:05:00 +0100".
        let hasZone = words.count == 3 && ["+", "-"].contains(words[2].first)
        let joined =
            text.split(separator: " ").prefix(hasZone ? 2 : .max).joined(separator: "T") + (hasZone ? words[2] : "")
        if joined.count >= 20, let zoned = try zoned(joined, text) { return zoned }
        var (date, clock): (Substring?, Substring?)
        let parts = joined.split(separator: "T", omittingEmptySubsequences: false)
        switch parts.count {
        case 1: if parts[0].contains(":") { clock = parts[0] } else { date = parts[0] }
        case 2: (date, clock) = (parts[0], parts[1])
        // "Today", "Tomorrow": their T is no separator.
        default: if words.count == 2 { (date, clock) = (Substring(words[0]), Substring(words[1])) }
        }
        if words.first == "today" || words.first == "yesterday" {
            guard words.count <= 2 else { throw fault(text, nil) }
            (date, clock) = (Substring(words[0]), words.count == 2 ? Substring(words[1]) : nil)
        }
        var civil = today(now)
        (civil.hour, civil.minute, civil.second) = (0, 0, 0)
        switch date {
        case nil, "today"?: break
        // The zone makes the last of the month before of day 0.
        case "yesterday"?: civil.day -= 1
        case let day?: civil = try self.day(day, text)
        }
        if let clock { try set(clock, &civil, text) } else if date == nil { throw fault(text, nil) }
        guard let time = zone(civil), time >= 0 else { throw fault(text, "there is no such time") }
        return time
    }

    /// `1h30m`, `2hours`: numbers, each with its unit.
    private static func span(_ word: String) -> Int64? {
        var total: Int64 = 0
        var rest = word[...]
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && $0.isNumber }
            rest = rest[digits.endIndex...]
            let name = rest.prefix { !$0.isNumber }
            rest = rest[name.endIndex...]
            guard let unit = units.first(where: { $0.names.contains(String(name)) }), let count = Int64(digits) else {
                return nil
            }
            let (product, over) = count.multipliedReportingOverflow(by: unit.seconds)
            let (sum, overSum) = total.addingReportingOverflow(product)
            guard !over, !overSum else { return nil }
            total = sum
        }
        return word.isEmpty ? nil : total
    }

    /// `2026-11-22T09:05:00Z`, `…+01:00`, `…+0100`, with a fraction, which is cut off. Nil: no zone is at its end.
    private static func zoned(_ joined: String, _ text: String) throws(Fault) -> Int64? {
        let bytes = Array(joined.utf8)
        var end = bytes.count
        var offset: Int64 = 0
        if bytes[end - 1] == UInt8(ascii: "Z") || bytes[end - 1] == UInt8(ascii: "z") {
            end -= 1
        } else if let sign = bytes.lastIndex(where: { $0 == UInt8(ascii: "+") || $0 == UInt8(ascii: "-") }), sign >= 19
        {
            // A dash before is one of the date's.
            let digits = bytes[(sign + 1)...].filter { $0 != UInt8(ascii: ":") }
            let hasColon = bytes.count == sign + 6 && bytes[sign + 3] == UInt8(ascii: ":")
            guard hasColon || bytes.count == sign + 5, digits.count == 4, let hours = number(digits[..<2]),
                let minutes = number(digits[2...]), hours < 24, minutes < 60
            else { throw fault(text, "the time zone is invalid: write '+01:00', '+0100' or 'Z'") }
            offset = Int64(hours * 3600 + minutes * 60) * (bytes[sign] == UInt8(ascii: "-") ? -1 : 1)
            end = sign
        } else {
            return nil
        }
        guard end >= 19 else { throw fault(text, nil) }
        let fraction = bytes[19..<end]
        guard fraction.isEmpty || fraction.first == UInt8(ascii: ".") && number(fraction.dropFirst()) != nil,
            let time = Timestamp(rfc3339: String(decoding: bytes[..<19], as: UTF8.self) + ".000Z")
        else { throw fault(text, "there is no such time") }
        return time.milliseconds / 1000 - offset
    }

    private static func day(_ word: Substring, _ text: String) throws(Fault) -> Civil {
        let parts = word.split(separator: "-", omittingEmptySubsequences: false).map { number(Array($0.utf8)[...]) }
        guard parts.count == 3, let year = parts[0], let month = parts[1], let day = parts[2], year >= 1970,
            year < 10_000
        else { throw fault(text, nil) }
        let written = "\(pad(year, 4))-\(pad(month, 2))-\(pad(day, 2))T00:00:00.000Z"
        // The 31st of February is nobody's.
        guard Timestamp(rfc3339: written) != nil else { throw fault(text, "there is no such day") }
        return Civil(year: year, month: month, day: day)
    }

    private static func set(_ word: Substring, _ civil: inout Civil, _ text: String) throws(Fault) {
        let parts = word.split(separator: ":", omittingEmptySubsequences: false).map { number(Array($0.utf8)[...]) }
        guard (2...3).contains(parts.count), let hour = parts[0], let minute = parts[1] else { throw fault(text, nil) }
        guard let second = parts.count == 3 ? parts[2] : 0, hour < 24, minute < 60, second < 60 else {
            throw fault(text, "there is no such time of day")
        }
        (civil.hour, civil.minute, civil.second) = (hour, minute, second)
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> Int? {
        guard (1...9).contains(bytes.count), bytes.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return bytes.reduce(0) { $0 * 10 + Int($1 - 0x30) }
    }

    private static func pad(_ number: Int, _ width: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
    }

    private static func fault(_ text: String, _ why: String?) -> Fault {
        Fault(
            description:
                "'\(SafeText.line(text, limit: 60))' is no time\(why.map { ": " + $0 } ?? ""); write '10m ago' (s, m, h, d, w), "
                + "'14:00', 'yesterday 14:00', '2026-11-22', '2026-11-22 09:05', '2026-11-22T09:05:00Z' or '@1795338300'"
        )
    }
}
