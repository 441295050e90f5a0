import Background
import Datasets
import Glibc
import Journal
import Snapshots
import SystemPackage
import Tracing

/// How long the commands themselves take, from their start to their end, on a dataset with many snapshots: what a user waits for.
///
/// A dataset is made below a pool's, changed and snapshotted as `RecoveryBench` has it, and destroyed at the end. The journal says of each
/// snapshot what `kairos run` would have said. No snapshot is mounted until the plain loops have ZFS mount them all.
public struct RecoveryPoolBench: Sendable {
    public var pool: String
    public var past = RecoveryPast()
    public var rounds = 11
    public var seed: UInt64
    /// This program.
    public var program: String
    public var note: @Sendable (String) -> Void = { _ in }

    public init(pool: String, program: String, seed: UInt64) {
        self.pool = pool
        self.program = program
        self.seed = seed
    }

    public func run() throws -> [RecoveryBench.Row] {
        try Interruption.shared.begin()
        let place = try BenchPool(in: pool)
        defer { for failed in place.remove() { note(failed) } }
        guard place.flavour == .kernel else {
            throw RecoveryBench.Failure(description: "\(SafeText.line(pool)): zfs-fuse has no .zfs to loop over")
        }
        var template = Array("/tmp/kairos-bench-recovery-XXXXXX\0".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw RecoveryBench.Failure(description: "cannot make a directory in /tmp: \(Errno(rawValue: errno))")
        }
        let directory = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { TraceBench.remove(directory) }
        let dataset = try place.make("recovery")
        note("making \(past.snapshots) snapshots of \(dataset.name), and a journal of \(past.changes) changes")
        let names = try makeHistory(dataset, place, directory + "/journal.db")
        return try measure(dataset, names, directory + "/journal.db", place.command)
    }

    // MARK: Making

    private func makeHistory(
        _ dataset: (name: String, mountPoint: String), _ pool: BenchPool, _ path: String
    ) throws -> [String] {
        let root = dataset.mountPoint
        for name in ["/docs", "/files"] where mkdir(root + name, 0o755) != 0 {
            throw RecoveryBench.Failure(
                description: "cannot make \(SafeText.line(root + name)): \(Errno(rawValue: errno))")
        }
        for file in past.files(of: 0) { try write("\(file)\n", to: "\(root)/files/file-\(file)") }
        let engine = ChosenEngine.automatic(kernelHasZFS: true).engine(pool.command, flavour: pool.flavour)
        let journal = try Journal(
            path,
            report: { [note] report in
                // It has nowhere to write any longer.
                if !Interruption.shared.isSet { note("\(report)") }
            })
        let guid = try stamps(dataset.name, pool.command).guid
        var namer = SnapshotNamer()
        var names: [String] = []
        for index in 0..<past.snapshots {
            try Interruption.shared.check()
            if let version = past.newVersion(in: index) {
                try write("version \(version)\n", to: root + "/docs/report")
                for file in past.deleted(with: version) where unlink("\(root)/files/file-\(file)") != 0 {
                    throw RecoveryBench.Failure(description: "cannot delete file-\(file): \(Errno(rawValue: errno))")
                }
            }
            let before = SystemClock.wallOffset() + Int64(clamping: SystemClock.monotonic())
            let request = SnapshotRequest(
                items: [SnapshotRequest.Item(dataset: dataset.name)], name: namer.next(wallClock: SystemClock.wall()))
            let result: Result<TakenSnapshot, SnapshotError> = blocking {
                do throws(SnapshotError) {
                    return try await engine.snapshot(request)[0].outcome
                } catch { return .failure(error) }
            }
            let taken = try result.get()
            namer.note(taken.name)
            names.append(taken.name.text)
            journal.add(
                past.entry(
                    index, called: taken.name.text, taken: taken.name.time.milliseconds, of: dataset.name, guid,
                    time: before))
        }
        note("they are there; writing the journal")
        journal.note(try stamps(dataset.name, pool.command))
        let isWritten = journal.end(within: .seconds(1200), unless: { Interruption.shared.isSet })
        try Interruption.shared.check()
        guard isWritten else {
            throw RecoveryBench.Failure(description: "the journal was not written")
        }
        return names
    }

    private func stamps(_ dataset: String, _ command: ZFSCommand) throws -> SnapshotStamps {
        let result: Result<SnapshotStamps, ZFSError> = blocking {
            do throws(ZFSError) {
                return .success(try await SnapshotStamps.read(of: dataset, .kernel, command))
            } catch { return .failure(error) }
        }
        return try result.get()
    }

    private func write(_ text: String, to path: String) throws {
        let file = try FileDescriptor.open(
            FilePath(path), .writeOnly, options: [.create, .truncate], permissions: .ownerReadWrite)
        _ = try file.closeAfter { try file.writeAll(text.utf8) }
    }

    // MARK: Measuring

    private func measure(
        _ dataset: (name: String, mountPoint: String), _ names: [String], _ journal: String, _ command: ZFSCommand
    ) throws -> [RecoveryBench.Row] {
        let (file, below) = (dataset.mountPoint + "/docs/report", dataset.mountPoint + "/files")
        typealias Command = (name: String, program: String, arguments: [String])
        let commands: [Command] = [
            ("kairos log FILE, from the journal", program, ["log", "--json", "--journal", journal, file]),
            (
                "kairos deleted DIR, from the journal", program,
                ["deleted", "--all", "--json", "--journal", journal, below]
            ),
            ("kairos log FILE, without a journal", program, ["log", "--json", "--journal", "none", file]),
            (
                "kairos deleted DIR, without a journal", program,
                ["deleted", "--all", "--json", "--journal", "none", below]
            ),
            (
                "zfs get guid,creation,createtxg of all snapshots", command.zfs,
                ["get", "-Hp", "-d", "1", "-t", "snapshot", "-o", "value", "guid,creation,createtxg", dataset.name]
            ),
            ("kairos --version", program, ["--version"]),
        ]
        var rows = commands.map { RecoveryBench.Row(name: $0.name) }
        var random = SplitMix(state: seed)
        for round in 0...rounds {
            note(round == 0 ? "a round that does not count" : "round \(round) of \(rounds)")
            for index in commands.indices.shuffled(using: &random) {
                var child = ChildProcess(
                    commands[index].program, commands[index].arguments, outputLimit: 64 << 20, errorLimit: 4096)
                child.isStopped = { Interruption.shared.isSet }
                let clock = ContinuousClock.now
                let ending = child.run(timeLimit: .seconds(3600))
                let time = ContinuousClock.now - clock
                try Interruption.shared.check()
                guard case .exited(let output, 0) = ending else {
                    throw RecoveryBench.Failure(description: "'\(commands[index].name)' failed: \(ending)")
                }
                guard round > 0 else { continue }
                rows[index].times.append(time)
                rows[index].found = output.stdout.count { $0 == UInt8(ascii: "\n") }
            }
        }
        note("the loops, for which ZFS mounts each")
        let root = dataset.mountPoint + "/.zfs/snapshot/"
        rows.append(try loop("stat of FILE in each snapshot, ZFS mounting each", names, root, 0..<1))
        rows.append(try loop("stat of FILE in each snapshot, all mounted", names, root, 0..<rounds))
        return rows
    }

    private func loop(
        _ what: String, _ names: [String], _ root: String, _ rounds: Range<Int>
    ) throws -> RecoveryBench.Row {
        var row = RecoveryBench.Row(name: what)
        for _ in rounds {
            var seen: Set<Int64> = []
            let time = ContinuousClock().measure {
                var status = stat()
                for name in names where !Interruption.shared.isSet && lstat(root + name + "/docs/report", &status) == 0
                {
                    seen.insert(Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec))
                }
            }
            try Interruption.shared.check()
            row.times.append(time)
            (row.looked, row.found) = (names.count, seen.count)
        }
        return row
    }
}
