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
        return [false, true].compactMap { onlyWritten in
            guard let rival = bench.cron(asManyAs: measured.snapshots, onlyWritten: onlyWritten) else { return nil }
            let factors = rival.byteSeconds.map { Human.factor($0 / measured.byteSeconds) }
            return "cron\(onlyWritten ? " if written" : "") each \(Human.seconds(rival.interval)), with "
                + "\(rival.snapshots) snapshots where \(name) has \(measured.snapshots), has "
                + "\(Human.factor(rival.median / measured.byteSeconds)) times its bytes at risk "
                + "(\(factors.first ?? "-") to \(factors.last ?? "-"), by where its ticks fall)."
        }
    }

    private static func share(_ part: Int, _ whole: Int) -> String {
        guard whole > 0 else { return "-" }
        return "\(part)/\(whole)"
    }

    private static func window(_ nanoseconds: UInt64?) -> String {
        nanoseconds.map { Human.seconds(.nanoseconds(Int64(clamping: $0))) } ?? "-"
    }
}
