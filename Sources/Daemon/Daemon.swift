import BPF
import Background
import CLinux
import Datasets
import Glibc
import Journal
import Policy
import Snapshots
import SystemPackage
import Tracing

/// The program's heart: probes on one side, snapshots on the other, one policy for each dataset between them.
///
/// One thread runs it all and owns all its state. What may block runs elsewhere and answers through the inbox: ZFS
/// commands in tasks, the resolution of paths on a queue of its own.
public final class Daemon {
    enum Message: Sendable {
        case attempts([AttemptResult])
        case resolved([ResolvedRecord])
        case listed(Result<DatasetCatalog.Listing, ZFSError>)
        case pruned(PruneResult)
        /// A flush that was given up has come back, of the dataset with this GUID.
        case flushed(UInt64)
        case journal(Journal.Report)
        case snapshots(SnapshotListing)
        case stamped(UInt64, SnapshotStamps?)
        case proof(LayoutProof)
        case stop
    }

    struct AttemptResult: Sendable {
        var guid: UInt64
        /// Of the attempt that it is the result of.
        var serial: UInt64
        var outcome: Outcome
        /// Of the flush before it; nil where all was flushed.
        var flush: FlushQueue.Outcome?
        var warnings: [String] { flush?.warnings ?? [] }
        /// CLOCK_MONOTONIC nanoseconds.
        var finished: UInt64
        /// What the dataset was compared with, its newest snapshot, is not there any more.
        var newestIsGone = false
        /// By a check: ZFS says that a snapshot holds everything up to this transaction group.
        var captured: UInt64?

        enum Outcome: Sendable {
            case snapshot(TakenSnapshot)
            case failed(operation: String, ZFSError.Kind?, String)
            case verdict(ChangeVerdict)
        }
    }

    struct ResolvedRecord: Sendable {
        var record: Record
        var outcome: PathResolver.Outcome
    }

    let configuration: Configuration
    let command: ZFSCommand
    let engine: ChosenEngine
    let catalog: DatasetCatalog
    let report: (DaemonEvent) -> Void
    let probes: Probes
    /// Why better probe sets were not taken.
    let refusedProbes: [ProbeError]
    /// Transaction groups tell: their probe has been seen to fire.
    var hasGroups = false
    /// A snapshot's `createtxg` is being asked for, to prove what the programs read.
    var isProving = false
    /// When ZFS's figures are compared with what the probes said, next time.
    var nextAudit: UInt64?
    /// When snapshots that no rule keeps are looked for, next time; and whether that is under way.
    var nextPrune: UInt64?
    var isPruning = false
    var clockWatch = ClockWatch()
    let stopFlag = StopFlag()
    /// Datasets whose snapshots are to be counted, when the next one is, and whether one is being counted.
    var uncounted: [UInt64] = []
    var countAt: UInt64?
    var isCounting = false
    var journal: Journal?
    let inbox: Inbox<Message>
    let loop: EventLoop
    let mountInfo: FileDescriptor
    var mounts: MountTable
    var mountHistory = MountHistory()

    /// By GUID, which stays when a dataset is renamed.
    var watched: [UInt64: WatchedDataset] = [:]
    var slotOwners: [Int: UInt64] = [:]
    /// Where the search for a free slot begins.
    var nextSlot = 0
    /// Names and GUIDs of datasets that were left with changes in no snapshot, by GUID.
    var leftBehind: [UInt64: String] = [:]
    /// Names of the command line that lead to no dataset that can be watched, and why.
    var refused: [String: String] = [:]
    /// GUIDs of the datasets whose changes were seen at some time: watched, and mounted or a volume.
    var everSeen: Set<UInt64> = []
    /// GUIDs of the datasets that were named, so that a renamed one is still meant.
    var namedGUIDs: [String: UInt64] = [:]
    var namer: SnapshotNamer
    var summary = Summary()
    var told = ToldOnce()

    let flushes: FlushQueue
    let resolver = ResolverQueue()
    /// Candidates handed to the resolver and not answered yet, and since when.
    var resolving = 0
    var resolvingSince: UInt64?
    var candidates: [Record] = []
    var recordsTaken: UInt64 = 0
    var commands = CommandNames()
    /// A record told of what a slot has, or made it count: its slot may have been read before.
    var mustReadSlots = false
    var candidateWakeups = CandidateWakeups()
    var counters = ProbeCounters()
    /// The last of the unlikely suspicions gathered since all datasets were checked for them last.
    var remoteSuspicion: UInt64?
    var lastRemoteCheck = SystemClock.monotonic()

    var isListing = false
    /// How many lists were begun, and how many in a row failed.
    var listings: UInt64 = 0
    var failedListings = 0
    /// CLOCK_MONOTONIC nanoseconds.
    var lastListed: UInt64 = 0
    /// When datasets are listed again: it was asked for too soon after the last time.
    var relistAt: UInt64?
    var isStopping = false
    var mustExit = false
    /// When the stop began: what is changed later is for the next start to find. A busy host must not hold it up.
    var stoppedAt = UInt64.max
    /// How long a stop waits for paths to be resolved.
    static let stopPatience: UInt64 = 2_000_000_000
    var serial: UInt64 = 0
    /// When ZFS answered last, CLOCK_MONOTONIC nanoseconds.
    var lastAnswer: UInt64 = 0

    /// Lists datasets, loads and attaches the probes and takes the locks; then everything is seen. Blocks for some
    /// tenths of a second.
    ///
    /// - Parameters:
    ///   - signals: those that stop the daemon, or with SIGHUP make it read properties again.
    ///   - report: called on the thread that calls `run()`.
    public init(
        _ configuration: Configuration, command: ZFSCommand, signals: [CInt] = [SIGINT, SIGTERM, SIGHUP],
        report: @escaping (DaemonEvent) -> Void
    ) throws(StartError) {
        self.configuration = configuration
        self.command = command
        self.report = report
        catalog = DatasetCatalog(command)
        namer = SnapshotNamer(prefix: configuration.prefix)
        do {
            engine = try configuration.engine.resolve(kernelHasZFS: KernelSupport.zfsModule != nil)
        } catch { throw .engine(error) }
        do {
            inbox = try Inbox()
            loop = try EventLoop(signals: signals, inbox: inbox.wakeup)
            mountInfo = try FileDescriptor.open("/proc/self/mountinfo", .readOnly, options: .closeOnExec)
        } catch {
            throw .system("make the event loop", error as? Errno ?? .ioError)
        }
        let inbox = inbox
        flushes = FlushQueue { inbox.post(.flushed($0)) }
        // What is wrong with the names is said before anything is loaded.
        let catalog = catalog
        let listing: Result<DatasetCatalog.Listing, ZFSError> = blocking {
            do throws(ZFSError) { return .success(try await catalog.list()) } catch { return .failure(error) }
        }
        let datasets: [DatasetInfo]
        do { datasets = try listing.get().datasets } catch { throw .zfs(error) }
        do throws(SelectionError) {
            // Whether the set is taken that sees volumes is not known yet.
            let (selection, refusals) = try Self.select(configuration.target, datasets, volumes: true)
            if selection.watched.isEmpty, let refusal = refusals.first { throw refusal }
        } catch { throw .selection(error) }
        do { mounts = try MountTable.read(from: mountInfo) } catch { throw .mounts(error) }
        do {
            let choice = try Probes.choose(
                configuration.probes, mode: .watch, ringBytes: configuration.ringBytes,
                prefix: configuration.prefix.text)
            (probes, refusedProbes) = (choice.probes, choice.refused)
        } catch { throw .probes(error) }
        nextAudit = configuration.audit.map {
            Instant(nanoseconds: SystemClock.monotonic()).advanced(by: $0).nanoseconds
        }
        _ = clockWatch.step()
        if !configuration.dryRun {
            nextPrune = configuration.prune.map {
                Instant(nanoseconds: SystemClock.monotonic()).advanced(by: $0).nanoseconds
            }
        }
        if let path = configuration.journal, !configuration.dryRun {
            do throws(JournalError) {
                journal = try Journal(path) { inbox.post(.journal($0)) }
            } catch { report(.warning(error.description)) }
        }
        try watchAtStart(datasets)
        do {
            try loop.watch(probes.ring.descriptor, as: .ring)
            try loop.watch(mountInfo, as: .mounts, priority: true)
        } catch {
            throw .system("watch the ring and the mounts", error)
        }
    }

    deinit { try? mountInfo.close() }

    /// Asks a running daemon to stop as a first SIGTERM does. From any thread.
    public func stopper() -> @Sendable () -> Void {
        let inbox = inbox
        return { inbox.post(.stop) }
    }

    /// Runs until a signal or `stopper()` ends it, and returns what it did.
    public func run() throws(StartError) -> Summary {
        tellReady()
        pass()
        while !(isStopping && watched.values.allSatisfy { isSettled($0) }) && !mustExit {
            let sources: [EventLoop.Source]
            do { sources = try loop.wait() } catch { throw .system("wait for events", error) }
            for source in sources {
                switch source {
                case .signals: takeSignals()
                case .inbox: for message in inbox.take() { handle(message) }
                case .mounts: mountsChanged()
                case .ring, .timer: break
                }
            }
            pass()
        }
        return finish()
    }

    /// What follows every wake-up: slots, then records, then what is due. In this order, since a record may tell that the marks
    /// before it are in doubt: whoever reads a mark before a rollback must not have looked for the rollback before.
    private func pass() {
        rearmCandidates()
        let seen = SystemClock.monotonic()
        for dataset in watched.values { observe(dataset, now: seen) }
        mustReadSlots = false
        let more = drain()
        suspectWhatWasLost()
        handCandidatesOver()
        let now = SystemClock.monotonic()
        relistIfDue(now)
        checkRemoteSuspicions(now)
        auditIfDue(now)
        pruneIfDue(now)
        countIfDue(now)
        trustGroups()
        var due: [(UInt64, PolicyAction)] = []
        // Such a record woke us for what is in its slot, and will not do so again.
        var deadline: UInt64? = more || mustReadSlots ? now : nil
        // One call at a time for each pool: ZFS takes a transaction group for each, and what comes due meanwhile shares the
        // next one. The end of a call brings us back here.
        let busy = Set(watched.values.lazy.filter { $0.attempt != nil }.map(\.info.pool))
        let later = checksToPostpone(now)
        for (guid, dataset) in watched {
            guard !busy.contains(dataset.info.pool), !later.contains(guid) else { continue }
            let decision = dataset.policy.handle(.tick, now: Instant(nanoseconds: now))
            if let action = decision.action { due.append((guid, action)) }
            if let next = decision.deadline?.nanoseconds { deadline = min(deadline ?? next, next) }
        }
        // Records that were taken along with an attempt may be of datasets that were looked at before.
        if begin(due) { deadline = now }
        for other in [
            candidateWakeups.deadline, relistAt, remoteDeadline, isStopping ? nil : nextAudit,
            isStopping || isPruning ? nil : nextPrune, isStopping || isCounting ? nil : countAt, resolverDeadline(now),
            stuckDeadline(now), stopDeadline(now),
        ] {
            if let other { deadline = min(deadline ?? other, other) }
        }
        loop.setDeadline(deadline)
        tellStatus()
    }

    /// How many checks of a pool begin together. Each runs `zfs` a few times, and the pool's snapshots wait for all of them.
    static let checksAtOnce = 8

    /// Datasets whose check is due, but not among the first of its pool. The end of those leads back here.
    private func checksToPostpone(_ now: UInt64) -> Set<UInt64> {
        var due: [String: [(since: Instant, guid: UInt64)]] = [:]
        for (guid, dataset) in watched {
            guard let since = dataset.policy.checkDue(now: Instant(nanoseconds: now)) else { continue }
            due[dataset.info.pool, default: []].append((since, guid))
        }
        var later: Set<UInt64> = []
        for checks in due.values where checks.count > Self.checksAtOnce {
            later.formUnion(checks.sorted { $0.since < $1.since }.dropFirst(Self.checksAtOnce).map(\.guid))
        }
        return later
    }

    /// Feeds the slot's word on its dataset to the policy.
    func observe(_ dataset: WatchedDataset, now: UInt64) {
        guard now <= stoppedAt else { return }
        var slot = probes.slots.read(dataset.slot)
        if dataset.attempt == nil, dataset.isHidden(slot) != dataset.isHidden {
            // ZFS does not tell a second time what is dirty, so the next change has to. One that comes just now is counted.
            dataset.isHidden.toggle()
            setFlags(of: dataset)
            slot = probes.slots.read(dataset.slot)
        }
        if slot.lost != dataset.lostSeen {
            dataset.summary.lostRecords += UInt64(slot.lost &- dataset.lostSeen)
            dataset.lostSeen = slot.lost
            dataset.detail.isPart = true
            // Among them may be one that no rule ignores, and one of a mapped file.
            dataset.isRelevant = true
            dataset.mapped.isIncomplete = true
        }
        // With ignore rules the mark alone says nothing: the record tells whether the path counts, and wakes us.
        guard dataset.isRelevant || !dataset.ignores else { return }
        func isCommit(_ last: UInt64) -> Bool { dataset.settings.followsCommits && slot.lastCommit >= last }
        let time = Instant(nanoseconds: now)
        if let groups = slot.groups, dataset.attempt == nil {
            if groups.isForeign, !slot.isDirty {
                // Somebody else's snapshot has it all, unless it is gone again, as that of 'zfs diff' is: a check tells.
                _ = dataset.policy.handle(.captured, now: time)
                suspect(dataset, at: max(slot.last, dataset.epochStarted))
            } else if groups.isDirty, !dataset.isHidden(slot) {
                // Before the epoch began it was dirty too, and that was tried to capture.
                let first = max(groups.dirtied, dataset.epochStarted)
                let last = max(slot.last, first)
                _ = dataset.policy.handle(
                    .dirty(
                        first: Instant(nanoseconds: first), last: Instant(nanoseconds: last), commit: isCommit(last)),
                    now: time)
            } else {
                // Also where a mark is left: what it is of may be captured, and then groups no longer make it certain.
                _ = dataset.policy.handle(.captured, now: time)
                // The check said so: somebody else's snapshot has what the records told of.
                if !slot.isDirty, !groups.isDirty, dataset.policy.isClean {
                    dataset.summary = ChangeSummary()
                    dataset.changesCaptured = slot.changes
                    dataset.hiddenCaptured = slot.hidden
                }
            }
        }
        guard slot.isDirty else { return }
        // The mark is set before its times are: until they are there, they are those of an earlier epoch.
        let first = max(slot.first, dataset.epochStarted)
        let last = max(slot.last, first)
        _ = dataset.policy.handle(
            .marked(
                first: Instant(nanoseconds: first), last: Instant(nanoseconds: last), commit: isCommit(last),
                begun: slot.begun == 0 ? nil : Instant(nanoseconds: slot.begun)),
            now: time)
        if let groups = slot.groups, !groups.isDirty, groups.unreported != dataset.unreportedSettled,
            !dataset.doubtsUnreported
        {
            // It may be in a snapshot, or none at all, as a directory made below .zfs/snapshot. Once only: the check's answer
            // has to hold while further ones come.
            dataset.doubtsUnreported = true
            _ = dataset.policy.handle(.doubted(at: time), now: time)
        }
    }

    private func takeSignals() {
        while let signal = loop.nextSignal() {
            if signal == SIGHUP {
                list()
            } else if isStopping {
                mustExit = true
            } else {
                stop()
            }
        }
    }

    func stop() {
        guard !isStopping else { return }
        isStopping = true
        stopFlag.set()
        // The last records first: they are what the last snapshots are of.
        _ = drain()
        suspectWhatWasLost()
        let now = SystemClock.monotonic()
        stoppedAt = now
        checkRemoteSuspicions(now)
        handCandidatesOver()
        for dataset in watched.values { observe(dataset, now: now) }
        // Of what has made the marks doubtful meanwhile, or count.
        _ = drain()
        for dataset in watched.values { observe(dataset, now: now) }
        flush()
    }

    /// Snapshots or checks what is dirty or suspect, now.
    func flush() {
        let now = Instant(nanoseconds: SystemClock.monotonic())
        var due: [(UInt64, PolicyAction)] = []
        for (guid, dataset) in watched {
            // Handing out an action is its start, here as after a tick.
            if let action = dataset.policy.handle(.flush, now: now).action { due.append((guid, action)) }
        }
        _ = begin(due)
    }

    /// How long a stop waits for the next answer of ZFS, and how long it may take at all, nanoseconds: below the 90 s that
    /// systemd waits before it kills.
    static let stopLimit: UInt64 = 30_000_000_000
    static let longestStop: UInt64 = 75_000_000_000

    private func stopDeadline(_ now: UInt64) -> UInt64? {
        guard isStopping else { return nil }
        let end = min(max(stoppedAt, lastAnswer) + Self.stopLimit, stoppedAt + Self.longestStop)
        let names = watched.values.filter { $0.attempt != nil }.map { SafeText.line($0.info.name) }.sorted()
        guard now < end || names.isEmpty else {
            report(
                .warning(
                    "ZFS did not answer in time; Kairos stops without the pending snapshots or checks of: "
                        + "\(names.joined(separator: ", ")); see 'zpool status'"))
            mustExit = true
            return nil
        }
        guard resolving > 0 else { return names.isEmpty ? nil : end }
        let deadline = stoppedAt + Self.stopPatience
        guard now >= deadline else { return deadline }
        // Paths that are not resolved by now are given up, and every dataset is checked once instead.
        resolving = 0
        suspectAll(at: stoppedAt)
        flush()
        return end
    }

    /// Whether stopping waits for this dataset no longer: captured, or tried once more in vain.
    private func isSettled(_ dataset: WatchedDataset) -> Bool {
        !dataset.policy.isInFlight && (dataset.policy.isClean || dataset.isFailing)
            && resolving == 0
    }

    private func finish() -> Summary {
        for dataset in watched.values {
            let slot = probes.slots.read(dataset.slot)
            summary.events += slot.changes - dataset.changesAtStart
            let isAtRisk = !dataset.policy.isClean || dataset.attempt != nil || dataset.isFlushPending
            if isAtRisk { summary.leftAtRisk.append(dataset.info.name) }
        }
        // A pool that was exported and came back was checked then.
        summary.leftAtRisk += leftBehind.values
        summary.leftAtRisk.sort()
        summary.notWatched = namesNotWatched
        if let journal, !journal.end(within: .seconds(5)) {
            for case .journal(.warning(let text)) in inbox.take() { report(.warning(text)) }
            report(.warning("what the last snapshots captured is not in the journal; the snapshots have it"))
        }
        let counters = probes.counters
        summary.recordsLost = counters.lost + counters.candidatesLost
        report(.stopped(summary))
        return summary
    }

    private func handle(_ message: Message) {
        switch message {
        case .attempts(let results):
            // A check leads past what the programs look for.
            trustGroups()
            for result in results { finish(result) }
        case .resolved(let records): take(records)
        case .listed(let result): take(result)
        case .pruned(let result): take(result)
        case .snapshots(let listing): take(listing)
        case .stamped(let guid, let stamps): take(stamps, of: guid)
        case .proof(let proof): take(proof)
        case .flushed(let guid):
            // What it wrote back may have come too late for the snapshot that did not wait for it.
            guard let dataset = watched[guid] else { break }
            dataset.isFlushPending = false
            suspect(dataset, at: SystemClock.monotonic())
        case .journal(.notice(let text)): report(.notice(text))
        case .journal(.warning(let text)): report(.warning(text))
        case .stop: stop()
        }
    }
}

/// Things that are said once, not each time that they are found.
struct ToldOnce {
    private var lines: Set<String> = []
    var status = DaemonEvent.Status()
    /// True the first time.
    mutating func isNew(_ line: String) -> Bool {
        // Texts with numbers in them could grow without end; saying one twice is no harm.
        if lines.count >= 1000 { lines.removeAll() }
        return lines.insert(line).inserted
    }

    /// It is not true any more: the next time is told again.
    mutating func forget(_ line: String) { lines.remove(line) }
}
