import BPF
import Background
import Datasets
import Policy
import Synchronization
import Tracing

/// Resolves paths on a thread that may block.
final class ResolverQueue: Sendable {
    private let queue = SerialQueue()
    private let resolver = Mutex(PathResolver())

    func resolve(
        _ records: [Record], mounts: MountTable, done: @escaping @Sendable ([Daemon.ResolvedRecord]) -> Void
    ) {
        queue.async {
            let resolved = self.resolver.withLock { resolver in
                defer { resolver.endBatch() }
                return records.map { Daemon.ResolvedRecord(record: $0, outcome: resolver.resolve($0, mounts: mounts)) }
            }
            done(resolved)
        }
    }
}

extension Daemon {
    /// How long the resolver may take before it counts as stuck, say on a dead network file system.
    static let resolverLimit: UInt64 = 10_000_000_000
    /// Records taken in one pass.
    static let drainLimit = 16_384
    /// Candidates waiting for the resolver; beyond it they count as unresolved.
    static let candidateLimit = 65_536

    /// Takes what is in the ring. True when there may be more.
    func drain() -> Bool {
        var records: [Record] = []
        let count = probes.ring.drain(limit: Self.drainLimit) { bytes in
            if let record = Record(bytes) { records.append(record) }
        }
        for record in records { take(record) }
        return count == Self.drainLimit
    }

    private func take(_ record: Record) {
        guard record.time <= stoppedAt else { return }
        recordsTaken += 1
        switch record.kind {
        case .zfsCommand: take(command: record)
        // It only wakes: the slot says the rest.
        case .dirty: mustReadSlots = true
        case .candidate:
            candidateWakeups.tookCandidate(at: SystemClock.monotonic())
            if candidates.count + resolving < Self.candidateLimit {
                candidates.append(record)
            } else {
                unresolved(at: record.time)
            }
        case .change:
            guard let slot = record.slot, let guid = slotOwners[slot], let dataset = watched[guid] else { return }
            let isCommit = dataset.settings.followsCommits && !record.operation.isDisjoint(with: .commits)
            if record.dirtied || isCommit { mustReadSlots = true }
            let paths = exactPaths(record)
            if record.newName != nil, paths.contains(nil), candidates.count + resolving < Self.candidateLimit {
                // The other name says which dataset it is, and the mark is set. Only what this one is called has to be found.
                candidates.append(record)
            } else {
                noteKnown(record, of: dataset, paths: paths)
            }
            if record.operation == .store {
                let file = MappedFiles.File(device: record.device, inode: record.inode, path: record.path)
                dataset.mapped.add(file)
                if record.epoch < dataset.epoch {
                    // Marked in an epoch that is over, told after its attempt began: that may not have flushed the file.
                    let now = Instant(nanoseconds: SystemClock.monotonic())
                    suspect(dataset, at: now.nanoseconds)
                }
            }
        }
    }

    /// Before and after a rename, else one: from the superblock's root. Nil: not known.
    private func exactPaths(_ record: Record) -> [[UInt8]?] {
        if let name = record.name {
            return [name.pathInSuperblock] + (record.newName.map { [$0.pathInSuperblock] } ?? [])
        }
        return [record.path] + (record.newPath.map { [$0] } ?? [])
    }

    /// Takes a record whose dataset was known when it was made. `paths` are from the superblock's root.
    private func noteKnown(_ record: Record, of dataset: WatchedDataset, paths: [[UInt8]?]) {
        note(record, of: dataset, paths: paths.map { $0.map { Array($0.dropFirst()) } }, epoch: record.epoch)
        guard record.operation == .rename, paths.count == 2 else { return }
        if let old = paths[0], let new = paths[1] {
            // OpenZFS writes back some files for an fdatasync alone (docs/facts.md), so their paths must be right.
            dataset.mapped.rename(from: old, to: new)
        }
    }

    /// The names of a rename whose dataset was known, as far as they were found.
    private func noteNames(_ item: ResolvedRecord) {
        let record = item.record
        guard let slot = record.slot, let guid = slotOwners[slot], let dataset = watched[guid] else { return }
        var paths = exactPaths(record)
        if case .found(let device, let names) = outcomeByMounts(item), device == dataset.mounted?.device {
            for (place, name) in names.enumerated() where place < paths.count && paths[place] == nil {
                paths[place] = name.flatMap { inDataset(dataset, $0) }.map { [UInt8(ascii: "/")] + $0 }
            }
        }
        noteKnown(record, of: dataset, paths: paths)
    }

    /// Lets candidates wake this thread again, and only then looks for those that came before.
    func rearmCandidates() {
        if candidateWakeups.step(SystemClock.monotonic()) { probes.wakePending = false }
    }

    func handCandidatesOver() {
        guard !candidates.isEmpty else { return }
        let batch = candidates
        candidates = []
        resolving += batch.count
        resolvingSince = resolvingSince ?? SystemClock.monotonic()
        let inbox = inbox
        resolver.resolve(batch, mounts: mounts) { inbox.post(.resolved($0)) }
    }

    func take(_ resolved: [ResolvedRecord]) {
        // A stop that waited long enough has given them up.
        guard resolving > 0 else { return }
        resolving = max(0, resolving - resolved.count)
        resolvingSince = resolving == 0 ? nil : SystemClock.monotonic()
        // A change of the mounts that led a path elsewhere may not have been told yet.
        mountsMayHaveChanged()
        for item in resolved {
            if item.record.kind == .change {
                noteNames(item)
                continue
            }
            let device: DeviceNumber
            let names: [PathResolver.FoundName?]
            switch outcomeByMounts(item) {
            case .found(let foundDevice, let foundNames):
                (device, names) = (foundDevice, foundNames)
            case .unresolved(let reason, let near):
                unresolved(at: item.record.time, near: near)
                report(.unresolved(item.record, reason: reason))
                continue
            }
            guard let dataset = watched.values.first(where: { $0.mounted?.device == device }) else { continue }
            let paths = names.map { $0.flatMap { inDataset(dataset, $0) } }
            guard dataset.counts(paths) else { continue }
            summary.events += 1
            dataset.resolvedChanges += 1
            let now = Instant(nanoseconds: SystemClock.monotonic())
            let record = item.record
            let commit = dataset.settings.followsCommits && !record.operation.isDisjoint(with: .commits)
            _ = dataset.policy.handle(
                .resolved(
                    at: Instant(nanoseconds: record.time), commit: commit, begun: Instant(nanoseconds: record.begun)),
                now: now)
            // By its time it belongs to this epoch or to the attempt that ended the one before.
            let epoch = record.time < dataset.epochStarted ? dataset.epoch - 1 : dataset.epoch
            note(record, of: dataset, paths: paths, epoch: epoch)
        }
        if isStopping {
            // Of what was resolved after the line that the stop drew.
            checkRemoteSuspicions(stoppedAt)
            // A name that was found just now may be one that no rule ignores.
            for dataset in watched.values { observe(dataset, now: stoppedAt) }
            flush()
        }
    }

    private func note(_ record: Record, of dataset: WatchedDataset, paths: [[UInt8]?], epoch: UInt64) {
        let command = commands.bytes(of: record.process.name)
        if journal != nil { dataset.note(record, by: command, paths: paths, epoch: epoch) }
        let wasRelevant = dataset.isRelevant
        dataset.note(
            record.operation, paths: paths,
            actor: ChangeSummary.Actor(pid: record.process.pid, user: record.process.user, command: command),
            epoch: epoch)
        if dataset.isRelevant, !wasRelevant { mustReadSlots = true }
        guard configuration.tellsChanges, !record.operation.isDisjoint(with: .changes), dataset.counts(paths) else {
            return
        }
        report(
            .change(
                ChangeReport(dataset: dataset.info.name, paths: paths.compactMap(\.self), record: record)))
    }

    /// What was found where mounts changed since the call may be something else than what was changed.
    private func outcomeByMounts(_ item: ResolvedRecord) -> PathResolver.Outcome {
        let time = item.record.time
        switch item.outcome {
        case .found(_, let names):
            let changed = names.contains { name in
                name.map { mountHistory.changed(since: time, at: $0.directory) } ?? false
            }
            return changed ? .unresolved("mounts changed meanwhile", near: nil) : item.outcome
        case .unresolved(let reason, let near):
            guard let path = near?.path, mountHistory.changed(since: time, at: path, orBelow: true) else {
                return item.outcome
            }
            return .unresolved(reason, near: nil)
        }
    }

    /// From the dataset's root, when the directory lies below one of its mount points.
    private func inDataset(_ dataset: WatchedDataset, _ found: PathResolver.FoundName) -> [UInt8]? {
        let slash = UInt8(ascii: "/")
        let (directory, name) = (found.directory, found.name)
        for point in dataset.mounted?.mountPoints ?? [] where directory.starts(with: point) {
            let rest = directory.dropFirst(point.count)
            guard rest.isEmpty || rest.first == slash || point == [slash] else { continue }
            let below = Array(rest.drop { $0 == slash })
            return name.isEmpty ? below : below.isEmpty ? name : below + [slash] + name
        }
        return nil
    }

    /// A change somewhere, perhaps in a watched dataset: ZFS itself is asked about each.
    ///
    /// What is left of its path tells how likely it is. Where no watched dataset is there or mounted below, only a
    /// symbolic link that is gone by now could have led to one. Tools that delete their temporary directories make
    /// such paths all day long, so these suspicions are gathered and answered by one check of each dataset now and then.
    private func unresolved(at time: UInt64, near: PathResolver.Near? = nil) {
        summary.unresolved += 1
        guard let near else {
            suspectAll(at: time)
            return
        }
        for dataset in watched.values where dataset.isNear(near) { suspect(dataset, at: time) }
        // The latest: a snapshot since an earlier one settles that alone.
        remoteSuspicion = max(remoteSuspicion ?? 0, time)
    }

    /// Gathered suspicions become due this long after the ones before.
    static let remoteInterval: UInt64 = 600_000_000_000

    var remoteDeadline: UInt64? { remoteSuspicion == nil ? nil : lastRemoteCheck + Self.remoteInterval }

    func checkRemoteSuspicions(_ now: UInt64) {
        guard let since = remoteSuspicion, now == stoppedAt || now >= lastRemoteCheck + Self.remoteInterval else {
            return
        }
        remoteSuspicion = nil
        lastRemoteCheck = now
        suspectAll(at: since)
    }

    /// Another program's `zfs` or `zpool` command has ended.
    private func take(command record: Record) {
        let arguments = record.name?.text.split(separator: 0, omittingEmptySubsequences: false).map { Array($0) }
        let invocation = ZFSInvocation(arguments)
        guard invocation != .harmless else { return }
        list()
        doubt(invocation, at: record.time)
    }

    /// Checks what was captured, or taken back, where OpenZFS itself does not tell it.
    private func doubt(_ invocation: ZFSInvocation, at time: UInt64) {
        let now = Instant(nanoseconds: SystemClock.monotonic())
        for dataset in watched.values
        where invocation.captures(dataset.info.name) && !probes.slots.hasGroups(dataset.slot) {
            _ = dataset.policy.handle(.doubted(at: Instant(nanoseconds: time)), now: now)
        }
    }

    func suspectAll(at time: UInt64) {
        for dataset in watched.values { suspect(dataset, at: time) }
    }

    /// Something may have changed that nobody saw. For an audit that is only a question.
    func suspect(_ dataset: WatchedDataset, at time: UInt64, isAudit: Bool = false) {
        dataset.isAuditAlone = isAudit && (dataset.isAuditAlone || !dataset.policy.isSuspect)
        dataset.detail.isPart = true
        _ = dataset.policy.handle(
            .suspected(at: Instant(nanoseconds: time)), now: Instant(nanoseconds: SystemClock.monotonic()))
    }

    /// Lost records of kind change cost detail. These may have cost a mark.
    func suspectWhatWasLost() {
        let new = probes.counters
        defer { counters = new }
        let now = SystemClock.monotonic()
        guard now <= stoppedAt else { return }
        let lost = new.candidatesLost - counters.candidatesLost
        if lost > 0 { summary.unresolved += lost }
        if new.missedRuns > counters.missedRuns {
            // It may have been the program that hears of groups: they would call the check needless.
            for dataset in watched.values { dataset.mustAskSince = now }
        }
        if lost > 0 || new.missedRuns > counters.missedRuns { suspectAll(at: now) }
        if new.doubts > counters.doubts { doubtLayout(new.doubts) }
        if new.zfsCommandsLost > counters.zfsCommandsLost {
            list()
            doubt(.captures(nil), at: now)
        }
        if resolving > 0, let since = resolvingSince, now >= since + Self.resolverLimit {
            resolvingSince = now
            suspectAll(at: now)
            report(
                .warning(
                    "a path has been resolved for over 10 s: is a network file system dead? Every dataset is checked instead"
                ))
        }
    }

    func resolverDeadline(_ now: UInt64) -> UInt64? { resolvingSince.map { $0 + Self.resolverLimit } }
}

/// A process's name as an array, made once for records in a row: a burst is one process's as a rule.
struct CommandNames {
    private var last = CommandName([])
    private var bytes: [UInt8] = []

    mutating func bytes(of name: CommandName) -> [UInt8] {
        if name != last { (last, bytes) = (name, name.bytes) }
        return bytes
    }
}
