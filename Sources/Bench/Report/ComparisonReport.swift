import Policy

/// The pictures of a comparison, recorded or live.
public struct ComparisonReport: Sendable {
    public struct Entry: Sendable {
        public var name: String
        public var contender: Contender
        public var measures: Measures
        /// What happened to each dataset, and the snapshots of it.
        public var days: [(history: DatasetHistory, snapshots: [TakenAt])]

        public init(
            name: String, contender: Contender, measures: Measures,
            days: [(history: DatasetHistory, snapshots: [TakenAt])]
        ) {
            self.name = name
            self.contender = contender
            self.measures = measures
            self.days = days
        }
    }

    public typealias Curve = (name: String, points: [ReplayBench.Point])

    private let plotter: Gnuplot
    private let name: String
    private let entries: [Entry]
    private let curves: [Curve]
    /// Seconds.
    private let length: Double

    /// - Parameters:
    ///   - name: letters; of several on a page each has another.
    ///   - length: of the day, seconds.
    ///   - curves: the trade-off between snapshots and risk; none: no picture of it.
    public init(plotter: Gnuplot, name: String, entries: [Entry], length: Double, curves: [Curve]) {
        self.plotter = plotter
        self.name = name
        self.entries = entries
        self.length = max(length, 1e-9)
        self.curves = curves
    }

    /// Adds a table and the pictures to a page.
    ///
    /// - Parameters:
    ///   - headings: of the table that the terminal shows, and its rows.
    ///   - remarks: sentences above it.
    public func add(
        to page: inout HTMLPage, headings: [String], rows: [[String]], remarks: [String]
    ) throws(Gnuplot.Failure) {
        for remark in remarks { page.paragraph(remark) }
        page.table(headings, rows)
        page.heading("At risk over time")
        page.picture(
            try risk(),
            caption:
                "Bytes that were written and in no snapshot yet. Each contender has a row; all rows have the same scale."
        )
        if !curves.isEmpty {
            page.heading("Snapshots against risk")
            page.picture(
                try tradeOff(),
                caption:
                    "Left is fewer snapshots, down is less at risk on average; both scales are logarithmic. Each point is a setting "
                    + "of Kairos (quiet time 0.1 s to 1 h) or an interval of cron (1 s to 1 d).")
        }
        page.heading("When snapshots were taken")
        page.picture(try timeLine(), caption: "Each mark is a snapshot.")
        page.heading("How long changes were in no snapshot")
        page.picture(
            try windows(), caption: "The share of all changes whose window was at most so long. Further left is better."
        )
    }

    /// What times are shown in: the divisor from seconds, and the word.
    private var unit: (seconds: Double, name: String) {
        length > 3 * 3600 ? (3600, "hours") : length > 300 ? (60, "minutes") : (1, "seconds")
    }

    private func risk() throws(Gnuplot.Failure) -> String {
        let curves = entries.map { RiskCurve(of: $0.days) }
        let highest = curves.flatMap(\.columns).map(\.highest).max() ?? 0
        var tables: [Gnuplot.Table] = []
        // Of a bin the highest and what is left of it: a sawtooth's teeth stay however narrow they are.
        for (index, curve) in curves.enumerated() {
            let rows = curve.columns.flatMap { column in
                let time = Double(column.time) / 1e9 / unit.seconds
                return [[time, Double(column.highest) / 1024], [time, Double(column.last) / 1024]]
            }
            tables.append(Gnuplot.Table(name: "risk\(index)", rows: rows))
        }
        let row = 90
        var script = """
            set multiplot layout \(entries.count),1 margins 0.1,0.98,0.06,0.98 spacing 0,0.03
            unset key
            set xrange [0:\(length / unit.seconds)]
            set yrange [0:\(max(Double(highest) / 1024 * 1.05, 1))]
            set ytics autofreq
            set format x ''
            set label 1 '' at graph 0.01,0.86 left

            """
        for (index, entry) in entries.enumerated() {
            if index == entries.count - 1 {
                script += "set format x\nset xlabel '\(unit.name)' offset 0,0.5\n"
            }
            script += "set label 1 '\(Self.quoted(entry.name))'\n"
            script += "set ylabel 'KiB' offset 1,0\n"
            script += "plot 'risk\(index)' using 1:2 with filledcurves y1=0 ls \(style(index)) fs solid 0.25, "
            script += "'risk\(index)' using 1:2 with lines ls \(style(index)) lw 0.8\n"
        }
        script += "unset multiplot"
        return try plotter.svg(script, tables, name: "\(name)_risk", height: row * entries.count + 40)
    }

    private func tradeOff() throws(Gnuplot.Failure) -> String {
        let days = length / 86400
        func row(_ snapshots: Int, _ byteSeconds: Double) -> [Double] {
            [Double(snapshots) / days, max(byteSeconds / length / 1024, 1e-6)]
        }
        var tables = curves.enumerated().map { index, curve in
            Gnuplot.Table(name: "curve\(index)", rows: curve.points.map { row($0.snapshots, $0.byteSeconds) })
        }
        let marks = entries.filter { if case .kairos = $0.contender { true } else { false } }
        tables.append(
            Gnuplot.Table(name: "marks", rows: marks.map { row($0.measures.snapshots, $0.measures.byteSeconds) }))
        var plots = curves.enumerated().map { index, curve in
            "'curve\(index)' using 1:2 with linespoints ls \(index + 1) title '\(Self.quoted(curve.name))'"
        }
        if !marks.isEmpty {
            plots.append(
                "'marks' using 1:2 with points pt 6 ps 1.6 lw 2 lc rgb '#3b82f6' title 'kairos, as in the table'")
        }
        let script = """
            set logscale xy
            set xlabel 'snapshots a day'
            set ylabel 'KiB at risk on average'
            set format xy '%g'
            plot \(plots.joined(separator: ", "))
            """
        return try plotter.svg(script, tables, name: "\(name)_trade", height: 420)
    }

    private func timeLine() throws(Gnuplot.Failure) -> String {
        let all = entries.map(\.days)
        let start = all.joined().map(\.history.start).min() ?? 0
        let tables = all.enumerated().map { index, day in
            let times = day.flatMap(\.snapshots).map(\.captured).sorted()
            return Gnuplot.Table(
                name: "taken\(index)",
                rows: times.map { [Double($0 - start) / 1e9 / unit.seconds, Double(all.count - index)] })
        }
        let labels = entries.enumerated().map { "'\(Self.quoted($1.name))' \(all.count - $0)" }
        let plots = tables.enumerated().filter { !$1.rows.isEmpty }.map {
            "'\($1.name)' using 1:($2-0.3):(0):(0.6) with vectors nohead ls \(style($0)) lw 1"
        }
        let script = """
            unset key
            set border 1
            set ytics (\(labels.joined(separator: ", "))) scale 0
            set yrange [0.5:\(Double(all.count) + 0.5)]
            set xrange [0:\(max(length / unit.seconds, tables.compactMap { $0.rows.last?[0] }.max() ?? 0) * 1.005)]
            set xlabel '\(unit.name)'
            plot \(plots.isEmpty ? "-1" : plots.joined(separator: ", "))
            """
        return try plotter.svg(script, tables, name: "\(name)_taken", height: 26 * all.count + 80)
    }

    private func windows() throws(Gnuplot.Failure) -> String {
        let tables = entries.enumerated().map { index, entry in
            var rows: [[Double]] = []
            if !entry.measures.windows.isEmpty {
                for step in 0...400 {
                    let share = Double(step) / 400
                    rows.append([Double(entry.measures.window(quantile: share) ?? 0) / 1e9, share * 100])
                }
            }
            return Gnuplot.Table(name: "windows\(index)", rows: rows)
        }
        let plots = entries.enumerated().filter { !$1.measures.windows.isEmpty }.map {
            "'windows\($0)' using 1:2 with lines ls \(style($0)) \(isLookedFirst($1) ? "dt 2" : "") title '\(Self.quoted($1.name))'"
        }
        let script = """
            set logscale x
            set format x '%g s'
            set yrange [0:100]
            set ylabel 'per cent of all changes'
            set xlabel 'window'
            plot \(plots.isEmpty ? "-1" : plots.joined(separator: ", "))
            """
        return try plotter.svg(script, tables, name: "\(name)_windows", height: 420)
    }

    private func isLookedFirst(_ entry: Entry) -> Bool {
        if case .cron(_, true) = entry.contender { true } else { false }
    }

    /// By whom, and of cron by its interval: one that looks first has its brother's colour, and is drawn with dashes.
    private func style(_ index: Int) -> Int {
        var seen: [String] = []
        for entry in entries.prefix(index + 1) {
            let key = if case .cron(let interval, _) = entry.contender { "\(interval)" } else { entry.name }
            if !seen.contains(key) { seen.append(key) }
            if entry.name == entries[index].name { return (seen.firstIndex(of: key) ?? 0) % Gnuplot.colours.count + 1 }
        }
        return index % Gnuplot.colours.count + 1
    }

    /// Inside single quotes.
    private static func quoted(_ text: String) -> String { text.filter { $0 != "'" && !$0.isNewline } }
}
