import Testing

@testable import Datasets

@Suite("Times as people write them")
struct TimeTextTests {
    /// 2026-11-23T21:36:00Z, in a zone of its own: an hour ahead.
    private let now: Int64 = 1_795_469_760

    private func read(_ text: String) throws(TimeText.Fault) -> Int64 {
        try TimeText.seconds(
            text, now: now,
            zone: { civil in
                let days = Timestamp(
                    rfc3339: "\(civil.year)-\(Self.two(civil.month))-\(Self.two(max(civil.day, 1)))T00:00:00.000Z")
                let back = civil.day < 1 ? Int64(1 - civil.day) * 86_400 : 0
                return days.map {
                    $0.milliseconds / 1000 - back + Int64(civil.hour * 3600 + civil.minute * 60 + civil.second) - 3600
                }
            },
            today: { time in
                let text = Timestamp(milliseconds: (time + 3600) * 1000).rfc3339
                let parts = text.prefix(10).split(separator: "-").compactMap { Int($0) }
                return TimeText.Civil(year: parts[0], month: parts[1], day: parts[2])
            })
    }

    private static func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }

    @Test("all forms")
    func forms() throws {
        let midnight = now - now % 86_400 - 3600
        for (text, time) in [
            ("now", now), ("10m ago", now - 600), ("1h30m ago", now - 5400), ("2w ago", now - 1_209_600),
            ("2 hours ago", now - 7200), ("1 Day 30 min ago", now - 88_200), ("1 second ago", now - 1),
            ("@1700000000", 1_700_000_000), ("14:00", midnight + 50_400), ("9:05", midnight + 32_700),
            ("today", midnight), ("today 14:00", midnight + 50_400), ("yesterday", midnight - 86_400),
            ("Yesterday 14:00:01", midnight - 86_400 + 50_401), ("2026-11-23", midnight),
            ("2026-11-23 09:05", midnight + 32_700), ("2026-11-23T09:05:07", midnight + 32_707),
            ("2026-11-23T09:05:00Z", midnight + 3600 + 32_700), ("2026-11-23T09:05:00.123Z", midnight + 3600 + 32_700),
            ("2026-11-23T10:05:00+01:00", midnight + 3600 + 32_700),
            ("2026-11-23 08:05:00-01:00", midnight + 3600 + 32_700),
            ("2026-11-23T10:05:00+0100", midnight + 3600 + 32_700),
            ("2026-11-23 08:05:00.5-0100", midnight + 3600 + 32_700),
            ("2026-11-23 10:05:00 +0100", midnight + 3600 + 32_700),
        ] { #expect(try read(text) == time, "\(text)") }
    }

    @Test(
        "what is none is refused, and what is one is said",
        arguments: [
            "", "yesterdya", "10 ago", "m ago", "10x ago", "ago", "½ hour ago", "2 hours", "10 m s ago",
            "99999999999999999999d ago", "9999w ago", "25:00", "12:60",
            "12",
            "2026-02-31", "2026-13-01", "1969-12-31", "2026-11-23 25:00", "2026-11-23T09:05:00+25:00",
            "2026-11-23T09:05:00+2500", "2026-11-23T09:05:00+01", "2026-11-23T09:05:00+01:0",
            "2026-11-23T09:05:00+0:100",
            "2026-11-23T09:05:00+", "2026-11-23T09:05:00+ 100", "@-1", "@x",
            "today yesterday", "today 14:00 Z", "2026-11-23T09:05:00.Z", "T", "TT", "::",
        ])
    func refused(text: String) {
        let fault = #expect(throws: TimeText.Fault.self) { try read(text) }
        #expect(fault?.description.contains("'10m ago'") == true)
    }
}
