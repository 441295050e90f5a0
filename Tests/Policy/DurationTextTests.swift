@testable import Policy
import TestSupport
import Testing

@Suite("Durations as text")
struct DurationTextTests {
    @Test(
        "Good texts",
        arguments: [
            ("500ms", .milliseconds(500)), ("2s", .seconds(2)), ("1.5s", .milliseconds(1_500)), ("5m", .seconds(300)),
            ("1h", .seconds(3_600)), ("1d", .seconds(86_400)), ("1m30s", .seconds(90)), ("0s", .zero),
            ("1d2h3m4s5ms6us", .seconds(93_784) + .microseconds(5_006)), ("0.5m", .seconds(30)), ("007s", .seconds(7)),
            ("1h1.5m", .seconds(3_690)), ("0.001us", .nanoseconds(1)),
            ("1.50000000000000000000000000s", .milliseconds(1_500)),
            ("9223372036854.775807ms", .nanoseconds(Int64.max)),
            ("9223372036.854775807s", .nanoseconds(Int64.max)),
        ] as [(String, Duration)])
    func parses(text: String, expected: Duration) throws {
        #expect(try Duration(parsing: text) == expected)
    }

    @Test(
        "Bad texts, and why",
        arguments: [
            ("", .empty), ("-2s", .negative), ("30", .noUnit), ("0", .noUnit), ("1m30", .noUnit), ("s", .noNumber),
            (".5s", .noNumber), ("2 s", .unknownUnit(" s")), (" 2s", .noNumber), ("2s ", .unknownUnit("s ")),
            ("2sec", .unknownUnit("sec")), ("2S", .unknownUnit("S")), ("1w", .unknownUnit("w")),
            ("2µs", .unknownUnit("µs")),
            ("1s1m", .unitOrder("m")), ("1s1s", .unitOrder("s")), ("1.5h30m", .fractionNotLast), ("1.s", .fraction),
            ("1..5s", .noUnit), ("+1s", .noNumber), ("0.0000000000000000001s", .fraction),
            ("0.00000000000000000000001d", .fraction), ("106752d", .tooLong), ("9223372036.854775808s", .tooLong),
            ("99999999999999999999999999999999999999999999999999s", .tooLong), ("106751d24h", .tooLong),
        ] as [(String, DurationSyntaxError.Reason)])
    func refuses(text: String, reason: DurationSyntaxError.Reason) {
        #expect(throws: DurationSyntaxError(text: text, reason: reason)) { try Duration(parsing: text) }
    }

    @Test("The message names the text, the problem and an example")
    func message() {
        let message = DurationSyntaxError(text: "30", reason: .noUnit).description
        #expect(message.contains("\"30\""))
        #expect(message.contains("unit is missing"))
        #expect(message.contains("500ms"))
        #expect(!DurationSyntaxError(text: "1\u{1b}[2J", reason: .noUnit).description.contains("\u{1b}"))
    }

    @Test(
        "The shortest text",
        arguments: [
            (.zero, "0s"), (.seconds(2), "2s"), (.milliseconds(1_500), "1.5s"), (.milliseconds(500), "0.5s"),
            (.milliseconds(20), "20ms"), (.seconds(90), "90s"), (.seconds(60), "1m"), (.seconds(300), "5m"),
            (.seconds(86_400), "1d"), (.seconds(86_401), "1d1s"), (.seconds(5_400), "90m"),
            (.nanoseconds(1), "0.001us"),
            (.seconds(86_400) + .milliseconds(1), "1d1ms"), (.seconds(-2), "-2s"),
        ] as [(Duration, String)])
    func prints(duration: Duration, expected: String) {
        #expect(duration.exactText == expected)
    }

    @Test("What is printed reads back as the same duration", arguments: seeds)
    func roundTrip(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let scales: [Int64] = [
            1, 1_000, 1_000_000, 1_000_000_000, 60_000_000_000, 3_600_000_000_000, 86_400_000_000_000,
        ]
        for _ in 0..<2_000 {
            let scale = random.pick(scales)
            let duration = Duration.nanoseconds(Int64.random(in: 0...100_000, using: &random) * scale)
            let any = Duration(attoseconds: Int128(Int64.random(in: 0...Int64.max, using: &random)) << 20)
            for value in [duration, any] {
                #expect(try Duration(parsing: value.exactText) == value, "seed \(hex(seed)): \(value.exactText)")
            }
        }
        let longest = Duration.nanoseconds(Int64.max)
        #expect(try Duration(parsing: longest.exactText) == longest)
    }

    @Test("Random texts never trap", arguments: seeds)
    func fuzz(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let alphabet = Array("0123456789.-smhdu µ")
        for _ in 0..<5_000 {
            let text = String((0..<Int.random(in: 0...30, using: &random)).map { _ in random.pick(alphabet) })
            if let duration = try? Duration(parsing: text) {
                #expect((try? Duration(parsing: duration.exactText)) == duration, "seed \(hex(seed)): \(text)")
                #expect(duration.exactText.utf8.count <= text.utf8.count, "seed \(hex(seed)): \(text)")
            }
        }
    }
}
