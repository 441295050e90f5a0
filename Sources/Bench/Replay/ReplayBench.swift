import Datasets
import Policy
import Trace
import Tracing

/// A recorded trace, as the histories of what lay in it.
public struct RecordedDay: Sendable {
    public var histories: [DatasetHistory]
    /// Wall clock minus CLOCK_MONOTONIC at its beginning, nanoseconds.
    public var wallOffset: Int64
    public var events = 0
    /// Records that the trace itself lost: what is measured is of the others.
    public var lost: UInt64 = 0
    /// Where the file is damaged; what is whole was read.
    public var damage: [RecordingReader.Damage] = []
    /// Not ZFS: there was no dataset in the trace, so each file system stands for one.
    public var isMadeUp = false
    /// Datasets, and types of other file systems, that something happened on.
    public var places: Set<[UInt8]> = []

    public init(histories: [DatasetHistory], wallOffset: Int64) {
        self.histories = histories
        self.wallOffset = wallOffset
    }

    /// Reads a recording.
    ///
    /// - Parameter names: of datasets, or types of file systems. Empty: all datasets, or where there are none all file systems.
    public init(_ path: String, only names: [String]) throws(RecordingReader.Failure) {
        var reader = try RecordingReader(path)
        var datasets = HistoryBuilder()
        var others = HistoryBuilder()
        var (hasDatasets, hasOthers) = (false, false)
        var first: (time: UInt64, offset: Int64)?
        var last: UInt64 = 0
        let wanted = Set(names.map { Array($0.utf8) })
        self.init(histories: [], wallOffset: 0)
        while let step = try reader.next() {
            switch step {
            case .damage(let damage): self.damage.append(damage)
            case .events(let events, let lost):
                self.lost += lost
                self.events += events.count
                for event in events {
                    // Centuries of uptime: no machine's clock, but a file's that was made up or damaged.
                    guard event.time < 1 << 61 else { throw RecordingReader.Failure.time(path, event.time) }
                    if event.time < first?.time ?? .max {
                        first = (event.time, event.wall &- Int64(bitPattern: event.time))
                    }
                    last = max(last, event.time)
                    // Hostile traces may have any number of names.
                    if places.count < 1000 { places.insert(event.place.name) }
                    guard wanted.isEmpty || wanted.contains(event.place.name) else { continue }
                    if event.place.isDataset || !wanted.isEmpty {
                        hasDatasets = true
                        datasets.take(TraceFacts(event))
                    } else if !hasDatasets {
                        hasOthers = true
                        others.take(TraceFacts(event))
                    }
                }
            }
        }
        isMadeUp = !hasDatasets && hasOthers
        wallOffset = first?.offset ?? 0
        // All of them from the trace's first event to its last: a dataset that slept was there all the same.
        histories = (hasDatasets ? datasets : others).histories(from: first?.time, to: last)
    }

    /// The same day on a clock that runs slower by a factor, from its beginning at 0 on; cron's ticks begin with it.
    public func stretched(by factor: Double) -> RecordedDay {
        var day = self
        day.wallOffset = 0
        let origin = histories.map(\.start).min() ?? 0
        func time(_ time: UInt64) -> UInt64 {
            let stretched = Double(time - min(time, origin)) * factor
            return stretched < 9e18 ? UInt64(stretched) : 1 << 62
        }
        day.histories = histories.map { history in
            var history = history
            (history.start, history.end) = (time(history.start), time(history.end))
            history.commits = history.commits.map(time)
            for index in history.changes.indices { history.changes[index].time = time(history.changes[index].time) }
            for index in history.versions.indices {
                history.versions[index].born = time(history.versions[index].born)
                history.versions[index].ended = time(history.versions[index].ended)
            }
            return history
        }
        return day
    }

    /// Whether a commit point that is no change (a close, a sync) is in it: `kairos trace` shows them when asked to.
    public var hasCommits: Bool { histories.contains { !$0.commits.isEmpty } }

    /// Its length in seconds.
    public var seconds: Double { histories.map { Double($0.end - $0.start) / 1e9 }.max() ?? 0 }
}

extension TraceFacts {
    init(_ event: TraceEvent) {
        time = event.time
        operation = event.operation
        // Two of one type are two.
        place =
            event.place.isDataset ? event.place.name : event.place.name + Array(" (\(event.device))".utf8)
        path = event.path
        oldPath = event.oldPath
        // No single call writes more than this; a length that was only asked for may be anything.
        bytes = event.operation == .write ? min(event.bytes ?? 0, 1 << 31) : 0
        isDirectory = event.flags.contains(.directory)
        isUnlinked = event.flags.contains(.unlinked)
        failed = event.result < 0
    }
}

/// Compares contenders on a recorded day.
public struct ReplayBench: Sendable {
    public var day: RecordedDay
    public var simulation: Simulation

    public init(day: RecordedDay, snapshotTime: Duration, checkTime: Duration) {
        self.day = day
        simulation = Simulation(snapshotTime: snapshotTime, checkTime: checkTime, wallOffset: day.wallOffset)
    }

    public func measures(_ contender: Contender) -> Measures {
        Measures.sum(day.histories.map { Measures(of: $0, simulation.snapshots(of: $0, by: contender)) })
    }

    /// What happened to each dataset, and the snapshots that a contender takes of it.
    public func days(of contender: Contender) -> [(history: DatasetHistory, snapshots: [TakenAt])] {
        day.histories.map { ($0, simulation.snapshots(of: $0, by: contender)) }
    }

    /// A point of the trade-off between snapshots and risk.
    public struct Point: Sendable, Hashable {
        public var contender: Contender
        public var snapshots: Int
        public var byteSeconds: Double
    }

    public func point(_ contender: Contender) -> Point {
        let measured = measures(contender)
        return Point(contender: contender, snapshots: measured.snapshots, byteSeconds: measured.byteSeconds)
    }

    /// Cron with as many snapshots as somebody else took.
    public struct EqualCron: Sendable, Hashable {
        public var interval: Duration
        /// The shortest and the longest interval that make so many.
        public var ends: ClosedRange<Double>
        /// The mean over the phases of its clock.
        public var snapshots: Double
        /// The integral of what was at risk, bytes times seconds, by phases of the clock: the lowest first.
        public var byteSeconds: [Double]

        public var median: Double { CostBench.median(byteSeconds) }
    }

    /// How many phases of cron's clock are looked at: how a tick falls is chance.
    static let phases = 16

    /// How cron would do with as many snapshots as these, on average over the phases of its clock.
    ///
    /// Many intervals make the same number: taken is the geometric mean of the shortest and the longest one.
    ///
    /// - Returns: nil where no interval makes so many.
    public func cron(asManyAs snapshots: Int, onlyWritten: Bool) -> EqualCron? {
        guard snapshots > 0, day.seconds > 0 else { return nil }
        let wanted = Double(snapshots)
        // The longer the interval, the fewer. The longest that makes more, and the shortest that makes fewer.
        func bound(_ isLong: (Double) -> Bool) -> Double {
            var (low, high) = (0.001, day.seconds * Double(max(day.histories.count, 1)) * 4)
            for _ in 0..<36 {
                let middle = (low * high).squareRoot()
                // So short a one would take for ever to be counted.
                let isTooShort =
                    !onlyWritten && day.seconds * Double(day.histories.count) / middle > wanted * 4 + 1000
                if !isTooShort, isLong(count(middle, onlyWritten)) { high = middle } else { low = middle }
            }
            return (low * high).squareRoot()
        }
        // Half a snapshot in sixteen phases is not a difference.
        let slack = 0.5 / Double(Self.phases)
        let shortest = bound { $0 <= wanted + slack }
        let longest = max(shortest, bound { $0 < wanted - slack })
        let interval = (shortest * longest).squareRoot()
        let all = points(interval, onlyWritten)
        let mean = all.reduce(0) { $0 + Double($1.snapshots) } / Double(all.count)
        // Where even the shortest looks find too few changes, or one tick is too many.
        guard mean > 0, abs(mean - wanted) <= max(1, wanted * 0.1) else { return nil }
        return EqualCron(
            interval: .seconds(interval), ends: shortest...longest, snapshots: mean,
            byteSeconds: all.map(\.byteSeconds).sorted())
    }

    private func count(_ interval: Double, _ onlyWritten: Bool) -> Double {
        // Only counted: what they are worth takes a look at every change, and nobody asks before the interval is found.
        let all = inPhases(interval, onlyWritten) { bench, contender in
            bench.day.histories.reduce(0) { $0 + bench.simulation.snapshots(of: $1, by: contender).count }
        }
        return Double(all.reduce(0, +)) / Double(Self.phases)
    }

    /// One for each phase of cron's clock.
    private func points(_ interval: Double, _ onlyWritten: Bool) -> [Point] {
        inPhases(interval, onlyWritten) { $0.point($1) }
    }

    private func inPhases<Value>(
        _ interval: Double, _ onlyWritten: Bool, _ body: (ReplayBench, Contender) -> Value
    ) -> [Value] {
        let every = Duration.seconds(interval)
        return (0..<Self.phases).map { phase in
            var bench = self
            bench.simulation.wallOffset &+= Int64(
                clamping: every.wholeNanoseconds / UInt64(Self.phases) * UInt64(phase))
            return body(bench, .cron(every: every, onlyWritten: onlyWritten))
        }
    }

    /// The trade-off of Kairos over settings and of cron over intervals, each from many snapshots to few.
    public func sweep() -> [(name: String, points: [Point])] {
        let quiets: [Double] = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600]
        let kairos = quiets.map { quiet in
            Contender.kairos(
                Settings(
                    quiet: .seconds(quiet), maxDelay: .seconds(quiet * 15), minInterval: .seconds(min(1, quiet / 2))))
        }
        let intervals = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400]
        func cron(_ onlyWritten: Bool) -> [Contender] {
            intervals.map { .cron(every: .seconds($0), onlyWritten: onlyWritten) }
        }
        return [
            ("kairos", kairos.map(point)), ("cron", cron(false).map(point)), ("cron if written", cron(true).map(point)),
        ]
    }
}
