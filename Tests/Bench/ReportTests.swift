import Policy
import TestSupport
import Testing

@testable import Bench

@Suite("Pictures")
struct ReportTests {
    @Test("What is at risk rises with each change and falls with each snapshot")
    func riskCurve() {
        let day = history([change(1, 100), change(2, 50), change(6, 10)], to: 10)
        let taken = [
            TakenAt(captured: seconds(3), finished: seconds(4)), TakenAt(captured: seconds(9), finished: seconds(9)),
        ]
        let curve = RiskCurve(of: [(day, taken)], columns: 10)
        #expect(curve.columns.map(\.time) == (0..<10).map { seconds(Double($0)) })
        #expect(curve.columns.map(\.highest) == [100, 150, 150, 150, 0, 10, 10, 10, 10, 0])
        #expect(curve.columns.map(\.last) == [100, 150, 150, 0, 0, 10, 10, 10, 0, 0])
        let both = RiskCurve(of: [(day, taken), (day, [])], columns: 10)
        #expect(both.columns.last?.last == 160)
    }

    /// The area under the curve is what the table says.
    @Test("The curve is the measured risk", arguments: TestSeeds.of(0..<50))
    func area(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let day = randomHistory(&random)
        let taken = simulation.snapshots(of: day, by: .kairos(Settings()))
        let measured = Measures(of: day, taken)
        // So fine that a column's end stands for all of it.
        let columns = RiskCurve(of: [(day, taken)], columns: 400_000).columns
        let width = Double(day.end - day.start) / 1e9 / 400_000
        let area = columns.reduce(0) { $0 + Double($1.last) * width }
        #expect(abs(area - measured.byteSeconds) <= 0.01 * measured.byteSeconds + 1e6 * width)
    }

    @Test("A page is whole in itself, and names in it are only names")
    func page() throws {
        var random = SplitMix64(seed: 3)
        var day = randomHistory(&random)
        day.name = "tank/<script>alert(1)</script>"
        let bench = ReplayBench(
            day: RecordedDay(histories: [day], wallOffset: 0), snapshotTime: .milliseconds(20),
            checkTime: .milliseconds(20))
        let contenders: [(String, Contender)] = [
            ("kairos it's", .kairos(Settings())), ("cron <5m>", .cron(every: .seconds(300), onlyWritten: false)),
            ("cron never", .cron(every: .seconds(300), onlyWritten: true)),
        ]
        let entries = contenders.map {
            ComparisonReport.Entry(
                name: $0.0, contender: $0.1, measures: bench.measures($0.1), days: bench.days(of: $0.1))
        }
        let report = ComparisonReport(
            plotter: try Gnuplot(), name: "test-<1>", entries: entries, length: bench.day.seconds, curves: bench.sweep()
        )
        var page = HTMLPage(title: "Kairos <and> cron")
        try report.add(
            to: &page, headings: ["A", "B"], rows: [["1", day.name]], remarks: ["5 > 3 & \u{1b}[31m"])
        let html = page.text
        #expect(html.hasPrefix("<!DOCTYPE html>") && html.hasSuffix("</html>\n"))
        #expect(html.matches(of: /<svg/).count == 4 && html.matches(of: /<\/svg>/).count == 4)
        #expect(!html.contains("<script") && !html.contains("\u{1b}"))
        #expect(html.contains("5 &gt; 3 &amp; \u{FFFD}[31m") && html.contains("tank/&lt;script&gt;"))
        // Nothing is fetched from anywhere.
        #expect(html.matches(of: /(src|href)=["']?(https?:)?\/\//).isEmpty)
        #expect(html.matches(of: /@import|url\(["']?http/).isEmpty)
    }
}
