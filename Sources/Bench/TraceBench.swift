import Background
import CLinux
import Datasets
import Glibc
import SystemPackage

/// How much each tracer slows a workload down, side by side in one run: round by round, in an order that is drawn anew each
/// time, so that what else the machine does meets all of them alike.
public final class TraceBench {
    public struct Failure: Error, Sendable, CustomStringConvertible {
        public var description: String

        public init(description: String) { self.description = description }
    }

    /// What came of one tracer on one file system.
    public struct Row: Sendable {
        public var name: String
        public var shows: String
        /// One a round.
        public var times: [Duration]
        /// The median of the rounds' ratios to the workload alone in the same round, and their range. Nil for the workload alone.
        public var slowdown: (median: Double, low: Double, high: Double)?
        /// Lines that name files of the workload, in the last round; of Kairos the events that it says it showed.
        public var lines: Int
        /// Records that Kairos says it lost, over all rounds; nil for the others, which do not tell.
        public var lost: Int?
        /// Why it was not measured.
        public var problem: String?
    }

    public struct Table: Sendable {
        public var directory: String
        public var fileSystem: String
        /// Done to files by the workload, in each round.
        public var operations: Int
        public var rows: [Row]
    }

    private let rounds: Int
    private let files: Int
    private let kairos: String
    private let progress: (String) -> Void
    private var generator: SplitMix

    /// - Parameter kairos: this program's own file.
    public init(
        kairos: String, rounds: Int, files: Int, seed: UInt64, progress: @escaping (String) -> Void
    ) throws(Failure) {
        self.kairos = kairos
        self.rounds = rounds
        self.files = files
        self.progress = progress
        generator = SplitMix(state: seed)
        try Interruption.shared.begin()
    }

    /// Measures in a directory of its own below each of these.
    public func run(below directories: [String]) throws(Failure) -> [Table] {
        let mounted = Self.mountTracefs()
        defer { if mounted { Self.unmountTracefs() } }
        var tables: [Table] = []
        for directory in directories { tables.append(try measure(below: directory)) }
        return tables
    }

    /// opensnoop looks its tracepoints up there. True if it was not mounted, and is now.
    static func mountTracefs() -> Bool {
        access("/sys/kernel/tracing/events", F_OK) != 0 && kairos_mount("tracefs", "/sys/kernel/tracing") == 0
    }

    static func unmountTracefs() { umount2("/sys/kernel/tracing", Int32(MNT_DETACH)) }

    private func measure(below parent: String) throws(Failure) -> Table {
        let directory = try Self.makeDirectory(below: parent)
        defer { Self.remove(directory) }
        // What the tracers print goes to memory, for all of them alike, so that no disk is measured.
        let outputs = try Self.makeDirectory(below: access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp")
        defer { Self.remove(outputs) }
        let contestants = Contestant.all(kairos: kairos, directory: directory)
        var rows = contestants.map {
            Row(name: $0.name, shows: $0.shows, times: [], lines: 0, lost: $0.isKairos ? 0 : nil)
        }
        for round in 1...rounds {
            for index in contestants.indices.shuffled(using: &generator) where rows[index].problem == nil {
                progress("\(parent), round \(round) of \(rounds): \(contestants[index].name)")
                guard let contestant = contestants[index].found() else {
                    rows[index].problem = "not installed"
                    continue
                }
                try self.round(contestant, &rows[index], directory, outputs)
            }
        }
        let base = rows[0].times
        for index in rows.indices.dropFirst() where rows[index].problem == nil {
            let ratios = zip(rows[index].times, base).map { $0 / $1 }.sorted()
            rows[index].slowdown = (ratios[ratios.count / 2], ratios[0], ratios[ratios.count - 1])
        }
        return Table(
            directory: parent, fileSystem: Self.mount(of: directory)?.fsType ?? "?",
            operations: files * TraceWorkload.operations,
            rows: rows)
    }

    private func round(
        _ contestant: Contestant, _ row: inout Row, _ directory: String, _ outputs: String
    ) throws(Failure) {
        guard let command = contestant.command else {
            row.times.append(try workload(directory))
            return
        }
        let tracer = try TracerProcess(command, in: directory, outputs: outputs)
        defer { tracer.end() }
        let sentinel = directory + "/sentinel"
        guard try tracer.isReady(probing: { Self.touch(sentinel) }) else {
            row.problem = tracer.lastWords
            return
        }
        row.times.append(try workload(directory))
        try tracer.settle()
        guard !tracer.hasEnded else {
            row.problem = tracer.lastWords
            return
        }
        tracer.end()
        row.lines = tracer.lines { $0.contains("file") || $0.contains("renamed") }
        guard contestant.isKairos else { return }
        guard let counts = tracer.kairosCounts() else {
            throw Failure(description: "kairos trace did not say what it showed: \(tracer.lastWords)")
        }
        row.lines = counts.shown
        row.lost? += counts.lost
    }

    /// In a process of its own, so that this one's memory and threads are not measured.
    private func workload(_ directory: String) throws(Failure) -> Duration {
        var child = ChildProcess(
            kairos, ["bench", "trace-workload", directory, "\(files)"], outputLimit: 4096, errorLimit: 4096)
        child.isStopped = { Interruption.shared.isSet }
        let ending = child.run(timeLimit: .seconds(600))
        try Interruption.shared.check()
        guard case .exited(let output, 0) = ending,
            let nanoseconds = Int64(String(decoding: output.stdout, as: UTF8.self).split(separator: "\n").first ?? "")
        else { throw Failure(description: "the workload in \(SafeText.line(directory)) failed or took ten minutes") }
        return .nanoseconds(nanoseconds)
    }

    static func touch(_ path: String) {
        let file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0o600)
        if file >= 0 {
            _ = Glibc.write(file, "x", 1)
            close(file)
        }
        unlink(path)
    }

    static func makeDirectory(below parent: String) throws(Failure) -> String {
        var template = Array((parent + "/kairos-bench-XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else {
            throw Failure(
                description:
                    "cannot make a directory below \(SafeText.line(parent)): \(Errno(rawValue: kairos_errno_value()))")
        }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Removes a private directory and its contents. Retries for half a second: a thread of this process may still write there.
    static func remove(_ path: String) {
        for _ in 0..<50 where !isRemoved(path) { usleep(10_000) }
    }

    private static func isRemoved(_ path: String) -> Bool {
        if let stream = opendir(path) {
            var names: [String] = []
            while let entry = readdir(stream) {
                let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                    String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                }
                if name != ".", name != ".." { names.append(name) }
            }
            closedir(stream)
            for name in names where unlink(path + "/" + name) != 0 && errno == EISDIR {
                _ = isRemoved(path + "/" + name)
            }
        }
        return rmdir(path) == 0 || errno == ENOENT
    }

    /// What it lies on.
    static func mount(of path: String) -> MountEntry? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return (try? MountTable.read())?.entries.last { $0.device.stDevice == UInt64(status.st_dev) }
    }
}

/// SplitMix64 of Sebastiano Vigna: the order of a run can be had again by its seed.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
