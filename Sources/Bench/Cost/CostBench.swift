import Background
import CLinux
import Datasets
import Glibc
import SystemPackage
import Tracing

/// What tracing costs whoever changes files, side by side in one run: round by round, in an order that is drawn anew each time.
public final class CostBench {
    public typealias Failure = TraceBench.Failure

    /// What runs beside the measured calls.
    public enum Setup: Sendable, Hashable {
        case nothing
        /// Programs that do nothing, on the same hooks.
        case empty
        /// The programs of `kairos run`, and another file system is watched. Nobody reads their records: a full ring is part of it.
        case unwatched
        /// This one is.
        case watched

        public var name: String {
            switch self {
            case .nothing: "nothing"
            case .empty: "an empty program on the same hooks"
            case .unwatched: "the programs of kairos run, unwatched"
            case .watched: "the programs of kairos run, watched"
            }
        }
    }

    public struct Row: Sendable {
        public var setup: Setup
        /// One a round, nanoseconds a call.
        public var times: [Double] = []
        /// To the times of nothing in the same round, nanoseconds: the median.
        public var added = 0.0
        /// What is added, to what an empty program adds in the same round: the median, and the range.
        public var ratio: (median: Double, low: Double, high: Double)?
    }

    public struct Table: Sendable {
        public var set: ProbeSet
        public var call: CallLoop
        public var rows: [Row]
        /// By how much the slowest round of nothing was slower than the fastest.
        public var noise: Double

        /// Nothing can be said of tenths on a machine like this.
        public var isNoisy: Bool { noise > 0.15 }
    }

    public struct Workload: Sendable {
        public struct Row: Sendable {
            public var name: String
            public var times: [Duration] = []
            /// To nothing in the same round.
            public var slowdown: (median: Double, low: Double, high: Double)?
            public var problem: String?
        }

        public var set: ProbeSet
        public var files: Int
        public var rows: [Row]
    }

    private let kairos: String
    private let rounds: Int
    private let calls: Int
    private let files: Int
    private let progress: (String) -> Void
    private let interrupt: FileDescriptor
    private var generator: SplitMix

    public init(
        kairos: String, rounds: Int, calls: Int, files: Int, seed: UInt64, progress: @escaping (String) -> Void
    ) throws(Failure) {
        self.kairos = kairos
        self.rounds = rounds
        self.calls = calls
        self.files = files
        self.progress = progress
        generator = SplitMix(state: seed)
        interrupt = try TraceBench.catchSignals()
    }

    /// The sets that this kernel takes. Transaction groups cost a call for each object and group: `zfs` is `vfs` here.
    public static func sets() -> [ProbeSet] {
        [.vfs, .syscalls].filter { (try? Probes($0, mode: .watch, ringBytes: 1 << 16)) != nil }
    }

    // MARK: Calls

    public func calls(_ call: CallLoop, _ set: ProbeSet, below parent: String) throws(Failure) -> Table {
        let directory = try TraceBench.makeDirectory(below: parent)
        defer { TraceBench.remove(directory) }
        let setups: [Setup] = [.nothing, .empty, .unwatched, .watched]
        var rows = setups.map { Row(setup: $0) }
        // The first round warms up, and does not count.
        for round in 0...rounds {
            for index in rows.indices.shuffled(using: &generator) {
                if round > 0 {
                    progress(
                        "\(call.rawValue), \(set.rawValue), round \(round) of \(rounds): \(rows[index].setup.name)")
                }
                let time = try beside(rows[index].setup, set, directory) { () throws(Failure) in
                    try child(["cost-calls", call.rawValue, directory, "\(calls)"])
                }
                if round > 0 { rows[index].times.append(Double(time) / 1000) }
            }
        }
        let (base, empty) = (rows[0].times, rows[1].times)
        for index in rows.indices.dropFirst() {
            let added = zip(rows[index].times, base).map { $0 - $1 }
            rows[index].added = added.sorted()[added.count / 2]
            guard rows[index].setup != .empty else { continue }
            // Where a round's noise is larger than what an empty program adds, its ratio means nothing.
            let ratios = zip(added, zip(empty, base)).compactMap { added, pair in
                pair.0 > pair.1 ? added / (pair.0 - pair.1) : nil
            }.sorted()
            guard !ratios.isEmpty else { continue }
            rows[index].ratio = (ratios[ratios.count / 2], ratios[0], ratios[ratios.count - 1])
        }
        let noise = (base.max() ?? 0) / max(base.min() ?? 1, 1e-9) - 1
        return Table(set: set, call: call, rows: rows, noise: noise)
    }

    // MARK: Files

    /// The workload of `kairos bench trace`, under what watches and under what shows.
    ///
    /// - Parameter others: whether other tracers are measured, too.
    public func workload(_ set: ProbeSet, below parent: String, others: Bool) throws(Failure) -> Workload {
        let directory = try TraceBench.makeDirectory(below: parent)
        defer { TraceBench.remove(directory) }
        let outputs = try TraceBench.makeDirectory(below: access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp")
        defer { TraceBench.remove(outputs) }
        let mounted = TraceBench.mountTracefs()
        defer { if mounted { TraceBench.unmountTracefs() } }
        let setups: [Setup] = [.nothing, .unwatched, .watched]
        let rivals = Contestant.all(kairos: kairos, directory: directory).filter {
            others && $0.command != nil && !$0.isKairos
        }
        var rows = setups.map { Workload.Row(name: $0.name) } + rivals.map { Workload.Row(name: $0.name) }
        for round in 0...rounds {
            for index in rows.indices.shuffled(using: &generator) where rows[index].problem == nil {
                if round > 0 { progress("files, \(set.rawValue), round \(round) of \(rounds): \(rows[index].name)") }
                let time: Int64
                let body = { () throws(Failure) -> Int64 in
                    try self.child(["trace-workload", directory, "\(self.files)"])
                }
                if index < setups.count {
                    time = try beside(setups[index], set, directory, body)
                } else {
                    guard let rival = rivals[index - setups.count].found(), let command = rival.command else {
                        rows[index].problem = "not installed"
                        continue
                    }
                    let tracer = try TracerProcess(command, in: directory, outputs: outputs)
                    defer { tracer.end() }
                    guard try tracer.isReady(interrupt, probing: { TraceBench.touch(directory + "/sentinel") }) else {
                        rows[index].problem = tracer.lastWords
                        continue
                    }
                    time = try body()
                    try tracer.settle(interrupt)
                    guard !tracer.hasEnded else {
                        rows[index].problem = tracer.lastWords
                        continue
                    }
                }
                if round > 0 { rows[index].times.append(.nanoseconds(time)) }
            }
        }
        for index in rows.indices.dropFirst() where rows[index].problem == nil {
            let ratios = zip(rows[index].times, rows[0].times).map { $0 / $1 }.sorted()
            rows[index].slowdown = (ratios[ratios.count / 2], ratios[0], ratios[ratios.count - 1])
        }
        return Workload(set: set, files: files, rows: rows)
    }

    // MARK: What runs beside

    /// The programs are loaded by this process, and the file system is put into their table by hand: they do not ask whether it
    /// is ZFS. So the hooks can be measured where the file system itself is fast.
    private func beside(
        _ setup: Setup, _ set: ProbeSet, _ directory: String, _ body: () throws(Failure) -> Int64
    ) throws(Failure) -> Int64 {
        switch setup {
        case .nothing: return try body()
        case .empty:
            let empty = try loaded { () throws(ProbeError) in try EmptyProbes(like: set) }
            defer { withExtendedLifetime(empty) {} }
            return try body()
        case .unwatched, .watched:
            let probes = try loaded { () throws(ProbeError) in try Probes(set, mode: .watch) }
            defer { withExtendedLifetime(probes) {} }
            probes.slots.reset(0, wakesAtCommit: false, wakesAtRecords: false)
            guard let here = TraceBench.mount(of: directory)?.device else {
                throw Failure(description: "\(SafeText.line(directory)) is on no mounted file system")
            }
            // No file system has this number.
            let elsewhere = DeviceNumber(kernel: 0xfff << 20 | 0xffffe)
            guard probes.slots.add(setup == .watched ? here : elsewhere, slot: 0) else {
                throw Failure(description: "the table of devices is full")
            }
            let result = try body()
            // The figure of programs that saw nothing, or everything, would be another one's.
            let seen = probes.slots.read(0).changes
            guard (seen > 0) == (setup == .watched) else {
                throw Failure(description: "\(setup.name): the programs saw \(seen) changes")
            }
            return result
        }
    }

    private func loaded<Loaded>(_ load: () throws(ProbeError) -> Loaded) throws(Failure) -> Loaded {
        do throws(ProbeError) { return try load() } catch { throw Failure(description: "\(error)") }
    }

    private func child(_ arguments: [String]) throws(Failure) -> Int64 {
        let child = ChildProcess(kairos, ["bench"] + arguments, outputLimit: 4096, errorLimit: 4096)
        let ending = child.run(timeLimit: .seconds(600))
        if kairos_signals_next(interrupt.rawValue) != 0 { throw Failure(description: "interrupted") }
        guard case .exited(let output, 0) = ending,
            let number = Int64(String(decoding: output.stdout, as: UTF8.self).split(separator: "\n").first ?? "")
        else { throw Failure(description: "kairos bench \(arguments.joined(separator: " ")) failed: \(ending)") }
        return number
    }
}
