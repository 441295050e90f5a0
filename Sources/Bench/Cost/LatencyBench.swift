import Background
import CLinux
import Datasets
import Glibc
import Snapshots
import SystemPackage
import Tracing

/// How long a change is without a snapshot beyond the quiet time, beside the snapshot alone.
public final class LatencyBench {
    public struct Row: Sendable {
        public var name: String
        /// One a round, nanoseconds.
        public var times: [UInt64] = []
        /// To the bare snapshot of the engine that Kairos takes: of the medians, and the range of the rounds.
        public var ratio: (median: Double, low: Double, high: Double)?

        public var median: UInt64 { UInt64(CostBench.median(times.map { Double($0) })) }
    }

    public struct Result: Sendable {
        public var quiet: Duration
        public var rows: [Row]
        /// As of a table of calls.
        public var noise: Double
        public var isNoisy: Bool { noise > 0.1 }
        /// Why the figures are not to be believed.
        public var invalid: [String]
    }

    public static let quiet = Duration.milliseconds(200)
    private let kairos: String
    private let pool: BenchPool
    private let rounds: Int
    private let progress: (String) -> Void
    private var generator: SplitMix

    public init(
        kairos: String, pool: BenchPool, rounds: Int, seed: UInt64, progress: @escaping (String) -> Void
    ) throws(TraceBench.Failure) {
        try Interruption.shared.begin()
        self.kairos = kairos
        self.pool = pool
        self.rounds = rounds
        self.progress = progress
        generator = SplitMix(state: seed)
    }

    private enum Contestant { case command, core, kairos }

    public func run() throws(TraceBench.Failure) -> Result {
        let watched = try pool.make("watched")
        let bare = try pool.make("bare")
        defer { for dataset in [watched, bare] { try? pool.destroy(dataset.name) } }
        let files = [try open(watched.mountPoint), try open(bare.mountPoint)]
        defer { files.forEach { close($0) } }
        try pool.snapshot(watched.name, "start")
        let daemon = try KairosContender(
            kairos: kairos,
            arguments: [
                "--quiet", "\(Self.quiet / .milliseconds(1))ms", "--max-delay", "5s", "--min-interval", "50ms",
                watched.name,
            ])
        defer { daemon.end() }
        try daemon.waitUntilReady(unless: { Interruption.shared.isSet })
        let chosen = ChosenEngine.automatic(kernelHasZFS: pool.flavour == .kernel)
        let hasCore = chosen.missing == nil && pool.flavour == .kernel
        var contestants: [Contestant] = [.command, .kairos]
        if hasCore { contestants.append(.core) }
        var times: [Contestant: [UInt64]] = [:]
        for round in 0...rounds {
            if round > 0 { progress("change to snapshot, round \(round) of \(rounds)") }
            for contestant in contestants.shuffled(using: &generator) {
                try Interruption.shared.check()
                // Another's zfs command leaves doubt about what changed in the same moment, which is asked for first.
                usleep(50_000)
                let time: UInt64
                switch contestant {
                case .kairos: time = try lived(daemon, files[0])
                case .command:
                    // There is something to snapshot, for all of them.
                    try write(files[1])
                    let begin = kairos_monotonic_ns()
                    try pool.snapshot(bare.name, "bare-\(round)")
                    time = kairos_monotonic_ns() - begin
                case .core:
                    try write(files[1])
                    time = try core(chosen, bare.name)
                }
                // The first round warms up.
                if round > 0 { times[contestant, default: []].append(time) }
            }
        }
        var rows = [Row(name: "zfs snapshot", times: times[.command] ?? [])]
        if hasCore { rows.append(Row(name: "lzc_snapshot", times: times[.core] ?? [])) }
        var row = Row(name: "kairos run, beyond its quiet time", times: times[.kairos] ?? [])
        let base = rows[rows.count - 1]
        let ratios = zip(row.times, base.times).map { Double($0) / Double($1) }.sorted()
        if let low = ratios.first, let high = ratios.last {
            row.ratio = (Double(row.median) / Double(base.median), low, high)
        }
        return Result(
            quiet: Self.quiet, rows: rows + [row],
            noise: CostBench.noise((rows + [row]).map { $0.times.map { Double($0) } }),
            invalid: daemon.finish().problems)
    }

    /// From the write to the message that the snapshot is done, without the quiet time.
    private func lived(_ daemon: KairosContender, _ file: Int32) throws(TraceBench.Failure) -> UInt64 {
        let begin = kairos_monotonic_ns()
        try write(file)
        let quiet = UInt64(Self.quiet / .nanoseconds(1))
        // The one of this write was begun after its quiet time; the message tells that to the millisecond.
        for _ in 0..<30_000 {
            if let last = daemon.last, last.began + 2_000_000 >= begin + quiet {
                return last.finished > begin + quiet ? last.finished - begin - quiet : 1
            }
            if daemon.hasEnded { throw TraceBench.Failure(description: "kairos run ended: see what it said above") }
            try Interruption.shared.check()
            usleep(1000)
        }
        throw TraceBench.Failure(description: "kairos run took no snapshot within half a minute")
    }

    private func core(_ chosen: ChosenEngine, _ dataset: String) throws(TraceBench.Failure) -> UInt64 {
        let engine = chosen.engine(pool.command, flavour: pool.flavour)
        let now = SystemClock.wall()
        let name = SnapshotName(time: Timestamp(seconds: now.seconds, nanoseconds: now.nanoseconds))
        let request = SnapshotRequest(items: [SnapshotRequest.Item(dataset: dataset)], name: name)
        let begin = kairos_monotonic_ns()
        let failure: String? = blocking {
            do throws(SnapshotError) {
                for result in try await engine.snapshot(request) {
                    if case .failure(let error) = result.outcome { return "\(error)" }
                }
                return nil
            } catch { return "\(error)" }
        }
        let time = kairos_monotonic_ns() - begin
        if let failure { throw TraceBench.Failure(description: failure) }
        return time
    }

    private func open(_ mountPoint: String) throws(TraceBench.Failure) -> Int32 {
        let file = Glibc.open(mountPoint + "/written", O_CREAT | O_WRONLY | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw TraceBench.Failure(description: "cannot make a file in \(mountPoint)") }
        return file
    }

    private func write(_ file: Int32) throws(TraceBench.Failure) {
        guard Glibc.write(file, "x", 1) == 1 else { throw TraceBench.Failure(description: "cannot write a byte") }
    }
}
