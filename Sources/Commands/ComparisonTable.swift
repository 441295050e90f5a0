import Bench

/// What `bench replay` and `bench cron` show of each contender: docs/benchmark.md says what the columns mean.
enum ComparisonTable {
    static let headings = [
        "SNAPSHOTS", "EMPTY", "RESTED, KEPT", "DELETED, KEPT", "MEDIAN WINDOW", "95 %", "LONGEST", "AT RISK",
        "CONTENDER",
    ]

    static func row(_ name: String, _ measured: Measures) -> [String] {
        [
            "\(measured.snapshots)", "\(measured.empty)", share(measured.versionsCaptured, measured.versions),
            share(measured.deletedCaptured, measured.deleted), window(measured.window(quantile: 0.5)),
            window(measured.window(quantile: 0.95)), window(measured.windows.last),
            Human.bytes(UInt64(measured.meanAtRisk)), name,
        ]
    }

    /// How cron would do at as many snapshots as somebody took, in sentences.
    static func equalNumber(_ bench: ReplayBench, _ name: String, _ measured: Measures) -> [String] {
        guard measured.byteSeconds > 0 else { return [] }
        guard measured.snapshots >= EqualNumber.fewest else {
            return [
                "\(name) has \(Human.count(measured.snapshots, "snapshot")): too few to compare with as many of cron's."
            ]
        }
        return EqualNumber.all(bench, measured).map { rival in
            "cron\(rival.ifWritten ? " if written" : "") each \(Human.span(.seconds(rival.intervalSeconds)))\(rival.range), with "
                + "\(Human.factor(rival.snapshots)) snapshots where \(name) has \(measured.snapshots), has "
                + "\(Human.factor(rival.median)) times its bytes at risk "
                + "(\(Human.factor(rival.low)) to \(Human.factor(rival.high)), by where its ticks fall)."
        }
    }

    private static func share(_ part: Int, _ whole: Int) -> String {
        guard whole > 0 else { return "-" }
        return "\(part)/\(whole)"
    }

    private static func window(_ nanoseconds: UInt64?) -> String {
        nanoseconds.map { Human.span(.nanoseconds(Int64(clamping: $0))) } ?? "-"
    }
}

/// Cron's bytes at risk with as many snapshots as Kairos took, by Kairos's.
struct EqualNumber: Encodable {
    /// With fewer snapshots chance says more than the interval.
    static let fewest = 10

    var ifWritten: Bool
    var intervalSeconds: Double
    /// The shortest and the longest interval that make so many; what is shown is of their geometric mean.
    var shortestSeconds: Double
    var longestSeconds: Double
    /// The mean over the phases of cron's clock.
    var snapshots: Double
    var median: Double
    var low: Double
    var high: Double

    /// In words, where both ends are not the same to a hundredth.
    var range: String {
        guard longestSeconds > shortestSeconds * 1.01 else { return "" }
        return
            " (of \(Human.span(.seconds(shortestSeconds))) to \(Human.span(.seconds(longestSeconds))) that make as many)"
    }

    /// Of cron, and of cron that looks first; none where there is too little to compare.
    static func all(_ bench: ReplayBench, _ measured: Measures) -> [EqualNumber] {
        guard measured.byteSeconds > 0, measured.snapshots >= fewest else { return [] }
        return [false, true].compactMap { onlyWritten in
            guard let rival = bench.cron(asManyAs: measured.snapshots, onlyWritten: onlyWritten),
                let low = rival.byteSeconds.first, let high = rival.byteSeconds.last
            else { return nil }
            return EqualNumber(
                ifWritten: onlyWritten, intervalSeconds: rival.interval / .seconds(1),
                shortestSeconds: rival.ends.lowerBound, longestSeconds: rival.ends.upperBound,
                snapshots: rival.snapshots,
                median: rival.median / measured.byteSeconds, low: low / measured.byteSeconds,
                high: high / measured.byteSeconds)
        }
    }
}
