import Datasets
import Journal
import Policy
import Snapshots
import Tracing

/// A dataset under watch: its slot, its policy, and what is known of the changes since its last snapshot.
final class WatchedDataset {
    /// An attempt to snapshot or to check, from the moment its epoch ended to its result.
    struct Attempt {
        /// Unlike every other attempt's.
        var serial: UInt64
        var isCheck: Bool
        /// CLOCK_MONOTONIC nanoseconds, taken just before the epoch was moved on.
        var started: UInt64
        /// The epoch that it ended.
        var epoch: UInt64
        var trigger: SnapshotTrigger
        /// The first change that it captures; nil when nobody saw one.
        var first: UInt64?
        var last: UInt64?
        var summary: ChangeSummary
        var mapped: MappedFiles
        /// The slot's counts when it began.
        var changes: UInt64
        var hidden: UInt64
        /// When the epoch began that it ended.
        var epochStarted: UInt64
        /// Nothing but an audit asked for this check: a difference that it finds was missed.
        var isAudit: Bool
        var detail: Detail
        /// The slot's count of changes that OpenZFS did not report, when it began.
        var unreported: UInt64 = 0
    }

    /// What the journal is told of the changes of an epoch.
    struct Detail {
        /// Beyond so many changes of one snapshot the journal is told of the first ones only.
        static let limit = 200_000

        var changes: [JournalChange] = []
        /// There is more than `changes` say: unseen, lost, without a path, or too many.
        var isPart = false

        mutating func add(_ change: JournalChange) {
            if changes.count < Self.limit { changes.append(change) } else { isPart = true }
        }

        mutating func add(earlier: Detail) {
            isPart = isPart || earlier.isPart || earlier.changes.count + changes.count > Self.limit
            changes = Array((earlier.changes + changes).prefix(Self.limit))
        }
    }

    var info: DatasetInfo
    let slot: Int
    let lock: InstanceLock?
    var settings: DatasetSettings
    var policy: DatasetPolicy
    var mounted: MountedDataset?

    /// Details of the current epoch.
    var summary = ChangeSummary()
    var detail = Detail()
    var mapped = MappedFiles()
    /// Paths from the dataset's root to which Kairos itself writes: they make no snapshot.
    var ownPaths: Set<[UInt8]> = []
    /// In this epoch something changed that no ignore rule covers.
    var isRelevant = false
    /// CLOCK_MONOTONIC nanoseconds at which the current epoch began.
    var epochStarted: UInt64
    var epoch: UInt64
    /// The slot's running counts when it was taken into use, at the last snapshot, and for losses at the last look.
    let changesAtStart: UInt64
    var changesCaptured: UInt64
    /// The slot's count of changes without a name at the last capture.
    var hiddenCaptured: UInt64 = 0
    /// All that it is dirty with are files that have no name, which no snapshot shows.
    var isHidden = false
    /// Changes by paths that user space resolved: the slot does not count them.
    var resolvedChanges: UInt64 = 0
    var lostSeen: UInt32

    var attempt: Attempt?
    /// How many snapshots of Kairos's it has; nil while that is not known.
    var snapshotCount: Int?
    var budgetLevel = SnapshotBudget.Level.free
    /// Of its snapshots, by names after `@`: those whose stamps the journal has, those that ZFS is still to be asked about, and whether it is
    /// being asked.
    var stamped: Set<String> = []
    var unstamped: [String] = []
    var isStamping = false
    /// Of the last attempt.
    var lastSerial: UInt64 = 0
    /// Nothing was captured or compared since the watch began.
    var isFirst = true
    /// A failure was told, and none succeeded since.
    var isFailing = false
    /// How many lists in a row did not hold it.
    var timesMissing = 0
    var isMissing: Bool { timesMissing > 0 }
    /// ZFS said that there is no dataset of its name. Renamed a moment ago, most likely: a list tells.
    struct Missing {
        /// The first list that was begun after that.
        var listing: UInt64
        /// That list had it, under the same name.
        var isListed = false
    }

    var missing: Missing?
    /// The suspicions that are not answered yet are those of an audit.
    var isAuditAlone = false
    /// A change that an audit found, and that nobody had seen: the snapshot that follows is of it.
    struct Missed {
        /// It is newer than this, CLOCK_MONOTONIC nanoseconds.
        var since: UInt64
        /// The count of changes then.
        var changes: UInt64
    }

    var missed: Missed?
    /// A check found too little written to tell whether anything changed: the snapshot that follows tells.
    var slight: ChangeVerdict.Slight?
    /// It was told of so little, that it was upkeep of ZFS's own.
    var upkeep: ChangeVerdict.Slight?
    /// Since then only ZFS's own figures tell whether it changed, CLOCK_MONOTONIC nanoseconds: what the programs say may lack something.
    var mustAskSince: UInt64?
    /// The slot's count of changes that OpenZFS did not report, when ZFS itself last told whether anything changed.
    var unreportedSettled: UInt64 = 0
    /// Such a change has made a check come before the next snapshot.
    var doubtsUnreported = false
    /// When the last snapshot's epoch ended, CLOCK_MONOTONIC nanoseconds.
    var lastCaptured: UInt64?
    /// The last snapshot that was taken of it since the watch began.
    var lastTaken: SnapshotName?
    /// Since the last capture there were changes that the ignore rules cover.
    var hasIgnored = false
    /// The last snapshot did not wait for a flush that hangs, and may lack stores to mappings.
    var isFlushPending = false
    /// It was told that an attempt takes long.
    var isStuckReported = false

    /// Whether what an attempt learned of transaction groups is still true. Not if it began before the dataset was mounted
    /// anew, say: a pool that was imported at an earlier group counts from there.
    func isOfNow(_ attempt: Attempt) -> Bool { mustAskSince.map { attempt.started >= $0 } ?? true }

    /// Whether OpenZFS tells of changes, and all that were seen are of files without a name.
    func isHidden(_ slot: SlotReading) -> Bool {
        slot.groups?.isDirty == true && slot.hidden > hiddenCaptured && slot.changes <= changesCaptured
    }

    /// It has no mount and no files: transaction groups alone tell of it.
    var isVolume: Bool { info.kind == .volume }

    init(
        info: DatasetInfo, slot: Int, lock: consuming InstanceLock?, settings: DatasetSettings, reading: SlotReading,
        now: UInt64
    ) {
        self.info = info
        self.slot = slot
        self.lock = lock
        self.settings = settings
        policy = DatasetPolicy(settings: settings.policy)
        epochStarted = now
        epoch = reading.epoch
        changesAtStart = reading.changes
        changesCaptured = reading.changes
        hiddenCaptured = reading.hidden
        lostSeen = reading.lost
    }

    /// There are paths whose changes make no snapshot.
    var ignores: Bool { !settings.ignore.isEmpty || !ownPaths.isEmpty }

    /// Whether a change is one by the ignore rules. `path`: from the dataset's root; nil, when it is not known, counts.
    func counts(_ paths: [[UInt8]?]) -> Bool {
        !ignores || paths.isEmpty
            || paths.contains { path in
                path.map { !settings.ignore.ignores(path: $0) && !ownPaths.contains($0) } ?? true
            }
    }

    /// Where the journal's files are in it, if they are. After each change of its mounts.
    func findOwn(_ files: [String]) {
        ownPaths = []
        let slash = UInt8(ascii: "/")
        for file in files {
            let path = Array(file.utf8)
            for point in mounted?.mountPoints ?? [] where path.starts(with: point) {
                let rest = path.dropFirst(point.count)
                guard rest.first == slash || point == [slash] else { continue }
                ownPaths.insert(Array(rest.drop { $0 == slash }))
            }
        }
    }

    /// Takes a record into what the journal is told.
    func note(_ record: Record, by command: [UInt8], paths: [[UInt8]?], epoch: UInt64) {
        guard let kind = ChangeKind(record.operation), !record.isUnlinked else { return }
        let isOfAttempt = epoch < self.epoch && attempt?.epoch == epoch
        guard let path = paths.first ?? nil, !paths.contains(where: { $0 == nil }) else {
            if isOfAttempt { attempt?.detail.isPart = true } else { detail.isPart = true }
            return
        }
        if ownPaths.contains(path) { return }
        let isNamed = record.name != nil
        let change = JournalChange(
            path: path, newPath: paths.count > 1 ? paths[1] : nil, inode: isNamed ? 0 : record.inode,
            generation: isNamed ? 0 : record.generation, kinds: ChangeKinds(kind), command: command,
            pid: record.process.pid, user: record.process.user, first: Int64(clamping: record.begun),
            last: Int64(clamping: record.time))
        // One that comes too late for its snapshot is told with the next one.
        if isOfAttempt { attempt?.detail.add(change) } else { detail.add(change) }
    }

    /// Whether what is left of a path lies in this dataset or above its mount points.
    func isNear(_ near: PathResolver.Near) -> Bool {
        guard let mounted else { return false }
        if mounted.device == near.device || near.below.contains(mounted.device) { return true }
        guard let path = near.path else { return false }
        let slash = UInt8(ascii: "/")
        return mounted.mountPoints.contains { point in
            point.starts(with: path) && (path == [slash] || point.count == path.count || point[path.count] == slash)
        }
    }

    /// Takes a record of this dataset into the summary that it belongs to.
    func note(_ operation: Operations, paths: [[UInt8]?], actor: ChangeSummary.Actor, epoch: UInt64) {
        guard !operation.isDisjoint(with: .changes) else { return }
        guard counts(paths) else {
            hasIgnored = true
            return
        }
        let path = paths.compactMap(\.self).last
        if epoch < self.epoch, attempt != nil, attempt?.epoch == epoch {
            attempt?.summary.add(operation, path: path, actor: actor)
        } else if epoch >= self.epoch {
            isRelevant = true
            summary.add(operation, path: path, actor: actor)
        }
        // Older: in a snapshot already, and told as one change fewer.
    }

    /// After an attempt that captured nothing: its changes are at risk as before.
    func takeBack(_ attempt: Attempt) {
        summary = ChangeSummary.joined(attempt.summary, summary)
        mapped.add(attempt.mapped)
        detail.add(earlier: attempt.detail)
        isRelevant = isRelevant || !attempt.summary.isEmpty
    }
}

/// Files with stores through a mapping that may not have been written back.
struct MappedFiles: Sendable, Hashable {
    struct File: Sendable, Hashable {
        var device: DeviceNumber
        var inode: UInt64
        /// From the superblock's root; nil when it is not known.
        var path: [UInt8]?
    }

    /// Beyond this many, one flush of the whole file system is cheaper than one of each.
    static let limit = 1024

    var files: [UInt64: File] = [:]
    /// Some are not known: records were lost, or there were too many.
    var isIncomplete = false

    var isEmpty: Bool { files.isEmpty && !isIncomplete }

    mutating func add(_ file: File) {
        guard files.count < Self.limit || files[file.inode] != nil else {
            isIncomplete = true
            return
        }
        files[file.inode] = file
    }

    /// Something was renamed, a file or a directory above some. Paths from the superblock's root.
    mutating func rename(from old: [UInt8], to new: [UInt8]) {
        let slash = UInt8(ascii: "/")
        for (inode, file) in files {
            guard let path = file.path, path.starts(with: old), path.count == old.count || path[old.count] == slash
            else { continue }
            files[inode]?.path = new + path.dropFirst(old.count)
        }
    }

    mutating func add(_ others: MappedFiles) {
        isIncomplete = isIncomplete || others.isIncomplete
        for file in others.files.values where files[file.inode] == nil { add(file) }
    }
}
