import Background
import Daemon
import Datasets
import Scratch
import Tracing

extension DemoRun {
    /// Everything between the making of the pool and its end.
    func play(_ pool: ScratchPool) throws(DemoError) -> DemoResult {
        tell(.pool(describe(pool)))
        let reader = SnapshotReader(pool: pool)
        // To ZFS an atime is a change like any other: a check, as anything on this host may cause one, would take a
        // snapshot of files that were only read.
        try collect { () throws(DemoError) in
            do throws(ZFSError) { try await pool.command.run(["set", "atime=off", pool.name]) } catch {
                throw .pool(error.description)
            }
        }
        try work(.prepareDocs, pool)
        try work(.preparePhotos, pool)

        begin("Kairos starts, and captures what no snapshot holds yet")
        try startDaemon(pool)
        for name in Self.datasets {
            guard let snapshot = newest(name, pool) else { throw .unexpected("there is no first snapshot of \(name)") }
            log.captured(dataset: name, by: snapshot)
        }
        for next in WorkloadStep.changing { try show(next, pool) }
        guard let before = newest("docs", pool) else { throw .unexpected("there is no snapshot of docs") }
        try show(.delete, pool)
        try readBack(WorkloadStep.deletedFile, from: before, reader)
        try show(.deleteDirectory, pool)
        try restoreDirectory(pool)
        try showReading(pool)
        let end = SystemClock.monotonic()

        begin("Kairos stops, and everything is checked by reading all snapshots")
        let summary = try finishDaemon()
        let result = try verify(summary, end: end, pool, reader)
        tell(.result(result))
        return result
    }

    private func begin(_ title: String) {
        step += 1
        tell(.step(number: step, title: title))
    }

    /// One step of the workload: done, seen, captured.
    private func show(_ next: WorkloadStep, _ pool: ScratchPool) throws(DemoError) {
        begin(next.title)
        awaited = Awaited(next.expected, dataset: "\(pool.name)/\(next.dataset)")
        defer { awaited = nil }
        try work(next, pool)
        try wait(for: awaited?.missing ?? "") { awaited?.isDone ?? true }
        guard let snapshot = awaited?.snapshot else { return }
        log.captured(dataset: next.dataset, by: snapshot)
    }

    /// Has the step done, and its versions logged.
    private func work(_ next: WorkloadStep, _ pool: ScratchPool) throws(DemoError) {
        notes = nil
        let inbox = inbox
        let executable = executable
        let directory = "\(pool.mountPoint)/\(next.dataset)"
        isWorking = true
        Task { inbox.post(.workload(await WorkloadProcess.run(next, in: directory, executable: executable))) }
        try wait(for: "the end of the workload's step '\(next.rawValue)'") { notes != nil }
        log.add(notes ?? [], dataset: next.dataset)
    }

    private func newest(_ dataset: String, _ pool: ScratchPool) -> String? {
        snapshots.last { $0.dataset == "\(pool.name)/\(dataset)" }?.name
    }

    private func readBack(_ file: String, from snapshot: String, _ reader: SnapshotReader) throws(DemoError) {
        begin("\(file) is read back, out of the snapshot before")
        let read = try collect { () throws(DemoError) in try await reader.files(dataset: "docs", snapshot: snapshot) }
        try pause(.zero)
        let written = log.versions.last { $0.file == file }?.content
        guard let content = read[file], let written, content == Array(written.utf8) else {
            throw .unexpected("docs@\(snapshot) does not hold \(file) as it was written")
        }
        tell(
            .readBack(
                DemoEvent.ReadBack(
                    dataset: "docs", snapshot: snapshot, file: file, content: content,
                    byClone: reader.pool.flavour == .fuse)))
    }

    /// As a user does it, with the program itself; and Kairos captures what came back.
    private func restoreDirectory(_ pool: ScratchPool) throws(DemoError) {
        begin("One command brings it back")
        let directory = "\(pool.mountPoint)/docs"
        let path = "\(directory)/\(WorkloadStep.deletedDirectory)"
        let before = newest("docs", pool)
        let executable = executable
        let output = try collect { () throws(DemoError) in
            try await WorkloadProcess.restore(path, executable: executable)
        }
        tell(.command(words: ["kairos", "restore", path], output: output))
        let live: [String: [UInt8]]
        do throws(FileTreeError) { live = try FileTree.files(in: directory) } catch {
            throw .reading(error.description)
        }
        for letter in WorkloadStep.letters where live[letter.name] != Array(letter.content.utf8) {
            throw .unexpected("\(letter.name) was not restored as it was")
        }
        let now = SystemClock.monotonic()
        log.add(
            WorkloadStep.letters.map { WorkloadNote(time: now, file: $0.name, content: $0.content) }, dataset: "docs")
        try wait(for: "a snapshot of what was restored") { newest("docs", pool) != before }
        if let snapshot = newest("docs", pool) { log.captured(dataset: "docs", by: snapshot) }
    }

    /// What changes nothing makes no snapshot.
    private func showReading(_ pool: ScratchPool) throws(DemoError) {
        begin(WorkloadStep.read.title)
        let before = (changes, snapshots.count)
        try work(.read, pool)
        let time = Self.quiet * 3
        try pause(time)
        guard before == (changes, snapshots.count) else {
            throw .unexpected("reading files made a change or a snapshot: something else works on this pool")
        }
        tell(.still(time))
    }

    /// Waits for asynchronous work on the pool.
    private func collect<Value: Sendable>(
        _ work: @escaping @Sendable () async throws(DemoError) -> Value
    ) throws(DemoError) -> Value {
        let result: Result<Value, DemoError> = blocking {
            do throws(DemoError) { return .success(try await work()) } catch { return .failure(error) }
        }
        return try result.get()
    }

    /// Reads every snapshot, and compares with what the workload says it wrote.
    private func verify(
        _ summary: Summary, end: UInt64, _ pool: ScratchPool, _ reader: SnapshotReader
    ) throws(DemoError) -> DemoResult {
        let evidence = try collect { () throws(DemoError) in
            var evidence = Evidence()
            for dataset in DemoRun.datasets {
                evidence.live[dataset] = try reader.live(dataset)
                for snapshot in try await reader.snapshots(of: dataset) {
                    let files = try await reader.files(dataset: dataset, snapshot: snapshot)
                    evidence.snapshots[dataset, default: []].append(Evidence.Content(snapshot: snapshot, files: files))
                }
            }
            return evidence
        }
        try pause(.zero)
        let reported = Dictionary(grouping: snapshots) { String($0.dataset.dropFirst(pool.name.utf8.count + 1)) }
        var problems = evidence.problems(versions: log.versions, reported: reported.mapValues { $0.map(\.name) })
        problems += summary.leftAtRisk.map { "\($0) was left with changes in no snapshot" }

        let first = log.versions.map(\.from).min() ?? end
        let tick = log.bestTick()
        let deleted = log.versions.last { $0.file == WorkloadStep.deletedFile }
        return DemoResult(
            duration: .nanoseconds(end - first), changes: changes,
            snapshots: evidence.snapshots.values.reduce(0) { $0 + $1.count },
            versions: log.versions.count, versionsCaptured: log.versions.count { evidence.holds($0) },
            longestWindow: .milliseconds(summary.longestWindowMilliseconds), deletedFile: WorkloadStep.deletedFile,
            deletedFileLifetime: .nanoseconds((deleted?.to ?? end) - (deleted?.from ?? end)),
            cron: DemoResult.Cron(
                snapshots: Self.datasets.count, versions: tick.versions, tick: .nanoseconds(tick.time - first),
                hasDeletedFile: deleted?.exists(at: tick.time) ?? false),
            problems: problems)
    }
}
