import BPF
import Background
import CLinux
import Datasets
import Glibc
import Synchronization
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
        /// The programs of `kairos run`, their records read as they come, and another file system is watched.
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
        /// What is added to what an empty program adds: of the medians, and the range of the rounds.
        public var ratio: (median: Double, low: Double, high: Double)?
        /// Records that found the ring full, over all rounds.
        public var lost: UInt64 = 0
    }

    public struct Table: Sendable {
        public var set: ProbeSet
        public var call: CallLoop
        public var rows: [Row]
        /// By how much the upper quarter of a row's rounds was slower than the lower one: of the worst row.
        public var noise: Double

        /// Nothing can be said of tenths on a machine like this.
        public var isNoisy: Bool { noise > 0.1 }
    }

    public struct Workload: Sendable {
        public struct Row: Sendable {
            public var name: String
            public var times: [Duration] = []
            /// To nothing in the same round.
            public var slowdown: (median: Double, low: Double, high: Double)?
            public var problem: String?
            /// Records that found the ring full, over all rounds; nil for the others, which do not tell.
            public var lost: UInt64?
            /// Why its figures are not to be believed.
            public var invalid: [String] = []
        }

        public var set: ProbeSet
        public var place: String
        public var files: Int
        public var rows: [Row]
        /// As of a table of calls.
        public var noise: Double
        public var isNoisy: Bool { noise > 0.1 }
    }

    /// By how much the upper quarter of somebody's rounds was slower than the lower one: of the worst.
    static func noise(_ rounds: [[Double]]) -> Double {
        rounds.filter { $0.count > 1 }.map { times in
            let times = times.sorted()
            return times[times.count * 3 / 4] / max(times[times.count / 4], 1e-9) - 1
        }.max() ?? 0
    }

    /// The middle one, or the mean of the two in the middle; 0 of none.
    static func median(_ values: [Double]) -> Double {
        guard !values.isEmpty else { return 0 }
        let sorted = values.sorted()
        return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
    }

    private let kairos: String
    private let rounds: Int
    private let calls: Int
    private let files: Int
    private let progress: (String) -> Void
    private var generator: SplitMix
    private let began = kairos_monotonic_ns()
    /// Of all that is to be measured, parts that take about as long; set by whoever knows.
    public var parts = 1
    private var partsDone = 0

    public init(
        kairos: String, rounds: Int, calls: Int, files: Int, seed: UInt64, progress: @escaping (String) -> Void
    ) throws(Failure) {
        self.kairos = kairos
        self.rounds = rounds
        self.calls = calls
        self.files = files
        self.progress = progress
        generator = SplitMix(state: seed)
        try Interruption.shared.begin()
    }

    /// Says what is done, and how long the rest takes if it takes what was done took.
    private func tell(_ text: String, _ share: Double) {
        let done = (Double(partsDone) + share) / Double(max(parts, 1))
        let spent = Double(kairos_monotonic_ns() - began) / 1e9
        let left = done > 0.02 && parts > 1 ? ", about \(Int(spent / done * (1 - done)) + 1) s left" : ""
        progress(text + left)
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
                    tell(
                        "\(call.rawValue), \(set.rawValue), round \(round) of \(rounds): \(rows[index].setup.name)",
                        Double(round) / Double(rounds + 1))
                }
                let arguments = ["cost-calls", call.rawValue, directory, "\(calls)"]
                let (time, lost) = try beside(
                    rows[index].setup, set, directory, arguments)
                if round > 0 { rows[index].times.append(Double(time) / 1000) }
                rows[index].lost += lost
            }
        }
        partsDone += 1
        let (base, empty) = (rows[0].times, rows[1].times)
        for index in rows.indices.dropFirst() {
            let added = zip(rows[index].times, base).map { $0 - $1 }
            rows[index].added = Self.median(added)
        }
        let added = rows[1].added
        // Where the noise is larger than what an empty program adds, a ratio means nothing.
        for index in rows.indices.dropFirst(2) where added > 0 {
            var ratios: [Double] = []
            for round in base.indices where empty[round] > base[round] {
                ratios.append((rows[index].times[round] - base[round]) / (empty[round] - base[round]))
            }
            ratios.sort()
            guard ratios.count * 2 > base.count else { continue }
            rows[index].ratio = (rows[index].added / added, ratios[0], ratios[ratios.count - 1])
        }
        return Table(set: set, call: call, rows: rows, noise: Self.noise(rows.map(\.times)))
    }

    // MARK: Files

    private enum Beside {
        case setup(Setup)
        /// `kairos run` itself, on this dataset.
        case daemon(String)
        case rival(Contestant)

        var name: String {
            switch self {
            case .setup(let setup): setup.name
            case .daemon: "kairos run"
            case .rival(let contestant): contestant.name
            }
        }
    }

    /// The workload of `kairos bench trace`, under what watches and under what shows.
    ///
    /// - Parameters:
    ///   - dataset: where `kairos run` itself is beside it, for a directory that lies on one; else its programs are.
    ///   - others: whether other tracers are measured, too.
    public func workload(
        _ set: ProbeSet, below parent: String, dataset: String? = nil, others: Bool
    ) throws(Failure) -> Workload {
        let directory = try TraceBench.makeDirectory(below: parent)
        defer { TraceBench.remove(directory) }
        let outputs = try TraceBench.makeDirectory(below: access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp")
        defer { TraceBench.remove(outputs) }
        let mounted = TraceBench.mountTracefs()
        defer { if mounted { TraceBench.unmountTracefs() } }
        var all: [Beside] = [.setup(.nothing)]
        all += dataset.map { [.daemon($0)] } ?? [.setup(.unwatched), .setup(.watched)]
        let rivals = Contestant.all(kairos: kairos, directory: directory).filter { $0.command != nil && !$0.isKairos }
        if others { all += rivals.map { .rival($0) } }
        // A call takes a hundred times as long there.
        let files = dataset == nil ? files : max(files / 10, 1)
        let arguments = ["trace-workload", directory, "\(files)"]
        var rows = all.map { Workload.Row(name: $0.name) }
        for round in 0...rounds {
            for index in rows.indices.shuffled(using: &generator) where rows[index].problem == nil {
                if round > 0 {
                    tell(
                        "files, \(set.rawValue), round \(round) of \(rounds): \(rows[index].name)",
                        Double(round) / Double(rounds + 1))
                }
                var time: Int64?
                switch all[index] {
                case .setup(let setup):
                    let measured = try beside(setup, set, directory, arguments)
                    time = measured.time
                    if setup != .nothing { rows[index].lost = (rows[index].lost ?? 0) + measured.lost }
                case .daemon(let dataset):
                    let daemon = try KairosContender(kairos: kairos, arguments: ["--probes", set.rawValue, dataset])
                    defer { daemon.end() }
                    try daemon.waitUntilReady(unless: { Interruption.shared.isSet })
                    time = try child(arguments)
                    for problem in daemon.finish().problems where !rows[index].invalid.contains(problem) {
                        rows[index].invalid.append(problem)
                    }
                case .rival(let contestant):
                    time = try beside(contestant, &rows[index].problem, directory, outputs, arguments)
                }
                if round > 0, let time { rows[index].times.append(.nanoseconds(time)) }
            }
        }
        partsDone += 1
        for index in rows.indices.dropFirst() where rows[index].problem == nil {
            let ratios = zip(rows[index].times, rows[0].times).map { $0 / $1 }.sorted()
            guard let low = ratios.first, let high = ratios.last else { continue }
            rows[index].slowdown = (Self.median(ratios), low, high)
        }
        return Workload(
            set: set, place: dataset == nil ? parent : "a dataset of a scratch pool", files: files, rows: rows,
            noise: Self.noise(rows.map { $0.times.map { $0 / .nanoseconds(1) } }))
    }

    /// Nil, with the problem, where it does not run here.
    private func beside(
        _ rival: Contestant, _ problem: inout String?, _ directory: String, _ outputs: String, _ arguments: [String]
    ) throws(Failure) -> Int64? {
        guard let command = rival.found()?.command else {
            problem = "not installed"
            return nil
        }
        let tracer = try TracerProcess(command, in: directory, outputs: outputs)
        defer { tracer.end() }
        guard try tracer.isReady(probing: { TraceBench.touch(directory + "/sentinel") }) else {
            problem = tracer.lastWords
            return nil
        }
        let time = try child(arguments)
        try tracer.settle()
        guard !tracer.hasEnded else {
            problem = tracer.lastWords
            return nil
        }
        return time
    }

    // MARK: What runs beside

    /// The programs are loaded by this process, and the file system is put into their table by hand: they do not ask whether it
    /// is ZFS. So the hooks can be measured where the file system itself is fast.
    private func beside(
        _ setup: Setup, _ set: ProbeSet, _ directory: String, _ arguments: [String]
    ) throws(Failure) -> (time: Int64, lost: UInt64) {
        switch setup {
        case .nothing: return (try child(arguments), 0)
        case .empty:
            let empty = try loaded { () throws(ProbeError) in try EmptyProbes(like: set) }
            defer { withExtendedLifetime(empty) {} }
            return (try child(arguments), 0)
        case .unwatched, .watched:
            let probes = try loaded { () throws(ProbeError) in try Probes(set, mode: .watch) }
            probes.slots.reset(0, wakesAtCommit: false, wakesAtRecords: false)
            guard let here = TraceBench.mount(of: directory)?.device else {
                throw Failure(description: "\(SafeText.line(directory)) is on no mounted file system")
            }
            // No file system has this number.
            let elsewhere = DeviceNumber(kernel: 0xfff << 20 | 0xffffe)
            guard probes.slots.add(setup == .watched ? here : elsewhere, slot: 0) else {
                throw Failure(description: "the table of devices is full")
            }
            let time = try child(arguments, reading: probes)
            let seen = probes.slots.read(0).changes
            // Each makes a file at least. The figure of programs that saw nothing, or everything, would be another one's.
            guard (seen > 0) == (setup == .watched) else {
                throw Failure(description: "\(setup.name): the programs saw \(seen) changes")
            }
            return (time, probes.counters.lost)
        }
    }

    /// Runs it while the records are read when the programs say that there are some, as the daemon does, and thrown away.
    private func child(_ arguments: [String], reading probes: Probes) throws(Failure) -> Int64 {
        let ending = Mutex<ChildProcess.Ending?>(nil)
        let child = process(arguments)
        WorkerThreads.shared.perform {
            let result = child.run(timeLimit: .seconds(600))
            ending.withLock { $0 = result }
        }
        while true {
            var waiting = pollfd(fd: probes.ring.descriptor.rawValue, events: Int16(POLLIN), revents: 0)
            poll(&waiting, 1, 50)
            probes.ring.drain { _ in }
            if let ending = ending.withLock({ $0 }) { return try number(ending, arguments) }
        }
    }

    private func loaded<Loaded>(_ load: () throws(ProbeError) -> Loaded) throws(Failure) -> Loaded {
        do throws(ProbeError) { return try load() } catch { throw Failure(description: "\(error)") }
    }

    private func child(_ arguments: [String]) throws(Failure) -> Int64 {
        try number(process(arguments).run(timeLimit: .seconds(600)), arguments)
    }

    private func process(_ arguments: [String]) -> ChildProcess {
        var child = ChildProcess(kairos, ["bench"] + arguments, outputLimit: 4096, errorLimit: 4096)
        child.isStopped = { Interruption.shared.isSet }
        return child
    }

    private func number(_ ending: ChildProcess.Ending, _ arguments: [String]) throws(Failure) -> Int64 {
        try Interruption.shared.check()
        guard case .exited(let output, 0) = ending,
            let number = Int64(String(decoding: output.stdout, as: UTF8.self).split(separator: "\n").first ?? "")
        else { throw Failure(description: "kairos bench \(arguments.joined(separator: " ")) failed: \(ending)") }
        return number
    }
}
