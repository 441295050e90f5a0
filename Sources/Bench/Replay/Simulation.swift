import Policy

/// A snapshot in a simulation, or one that was really taken: what is in it, and since when it is there.
public struct TakenAt: Sendable, Hashable {
    /// Every change up to here is in it, and no later one. CLOCK_MONOTONIC, nanoseconds.
    public var captured: UInt64
    /// When it was done.
    public var finished: UInt64

    public init(captured: UInt64, finished: UInt64) {
        self.captured = captured
        self.finished = finished
    }
}

/// Somebody who snapshots datasets.
public enum Contender: Sendable, Hashable {
    case kairos(Settings)
    /// `onlyWritten`: none where nothing changed since the one before, as sanoid's users ask for.
    case cron(every: Duration, onlyWritten: Bool)
}

/// Plays a contender through a history, on a clock that costs nothing.
///
/// All begin clean, with a snapshot at the history's start that is not counted, and go on after its end until each change is in a
/// snapshot.
public struct Simulation: Sendable {
    /// How long `zfs snapshot` and a check take.
    public var snapshotTime: Duration
    public var checkTime: Duration
    /// Wall clock minus CLOCK_MONOTONIC, nanoseconds: cron goes by the wall clock.
    public var wallOffset: Int64

    public init(snapshotTime: Duration, checkTime: Duration, wallOffset: Int64 = 0) {
        self.snapshotTime = snapshotTime
        self.checkTime = checkTime
        self.wallOffset = wallOffset
    }

    public func snapshots(of history: DatasetHistory, by contender: Contender) -> [TakenAt] {
        switch contender {
        case .kairos(let settings): kairos(history, settings)
        case .cron(let interval, let onlyWritten): cron(history, interval, onlyWritten)
        }
    }

    // MARK: cron

    private func cron(_ history: DatasetHistory, _ interval: Duration, _ onlyWritten: Bool) -> [TakenAt] {
        // No day is so long; and its sums with any time of a recording stay within 64 bits.
        let step = min(max(interval.wholeNanoseconds, 1), 1 << 61)
        let cost = snapshotTime.wholeNanoseconds
        // At whole multiples of the interval by the wall clock, as "*/5 * * * *" does.
        let wall = Int128(history.start) + Int128(wallOffset)
        var tick = history.start + (step - UInt64(((wall % Int128(step)) + Int128(step)) % Int128(step)))
        let lastChange = history.changes.last?.time
        var taken: [TakenAt] = []
        var next = 0
        // Those within the day, and after it until every change is in one.
        while tick <= history.end || (taken.last?.captured ?? history.start) < (lastChange ?? 0) {
            let before = next
            if onlyWritten {
                // An hour of nothing has no tick to look at.
                guard next < history.changes.count else { break }
                let time = history.changes[next].time
                if time > tick { tick += (time - tick + step - 1) / step * step }
                next = history.changes.partitioningIndex(from: next) { $0.time > tick }
            }
            if !onlyWritten || next > before {
                taken.append(TakenAt(captured: tick, finished: tick + cost))
            }
            tick += step
        }
        return taken
    }

    // MARK: Kairos

    private struct Flight {
        var isCheck: Bool
        var started: UInt64
        var ends: UInt64
    }

    /// The daemon's loop (`Daemon.pass()`) with the kernel's slot in front of it: the first mark of an epoch wakes, later ones are
    /// looked at when something is due.
    private func kairos(_ history: DatasetHistory, _ settings: Settings) -> [TakenAt] {
        var policy = DatasetPolicy(settings: settings)
        var taken: [TakenAt] = []
        var captured = history.start
        var slot: (first: UInt64, last: UInt64, commit: UInt64)?
        var flight: Flight?
        var deadline: UInt64?
        var next = 0
        var nextCommit = 0
        // The next change that is a commit point, whatever comes before it.
        var nextCommitChange = 0
        let changes = history.changes
        let wakesAtCommits = (settings.commitQuiet ?? settings.quiet) < settings.quiet
        while true {
            var wake = min(flight?.ends ?? .max, deadline ?? .max)
            if next < changes.count, slot == nil { wake = min(wake, changes[next].time) }
            if wakesAtCommits {
                nextCommitChange = max(nextCommitChange, next)
                while nextCommitChange < changes.count, !changes[nextCommitChange].commit { nextCommitChange += 1 }
                if nextCommitChange < changes.count { wake = min(wake, changes[nextCommitChange].time) }
            }
            if wakesAtCommits, slot != nil, nextCommit < history.commits.count {
                wake = min(wake, history.commits[nextCommit])
            }
            // Nobody waits for anything: on to what is left of the day.
            if wake == .max, next < changes.count { wake = changes[next].time }
            guard wake < .max else { break }
            let now = Instant(nanoseconds: wake)
            while next < changes.count, changes[next].time <= wake {
                let time = changes[next].time
                slot = (
                    slot?.first ?? time, time, changes[next].commit ? time : slot?.commit ?? 0
                )
                next += 1
            }
            while nextCommit < history.commits.count, history.commits[nextCommit] <= wake {
                // Of a dataset that is clean nobody asks.
                if let dirty = slot { slot?.commit = max(dirty.commit, history.commits[nextCommit]) }
                nextCommit += 1
            }
            if let ended = flight, ended.ends <= wake {
                flight = nil
                let started = Instant(nanoseconds: ended.started)
                if !ended.isCheck {
                    taken.append(TakenAt(captured: ended.started, finished: ended.ends))
                    captured = ended.started
                    policy.handle(.succeeded(started: started, finished: now), now: now)
                } else if changes.lastTime(upTo: ended.started) ?? 0 > captured {
                    policy.handle(.changed(at: now), now: now)
                } else {
                    policy.handle(.unchanged(started: started), now: now)
                }
            }
            if let slot {
                policy.handle(
                    .marked(
                        first: Instant(nanoseconds: slot.first), last: Instant(nanoseconds: slot.last),
                        commit: wakesAtCommits && slot.commit >= slot.last),
                    now: now)
            }
            let decision = policy.handle(.tick, now: now)
            deadline = decision.deadline?.nanoseconds
            guard let action = decision.action else { continue }
            let isCheck = action == .check
            let cost = (isCheck ? checkTime : snapshotTime).wholeNanoseconds
            flight = Flight(isCheck: isCheck, started: wake, ends: wake + max(cost, 1))
            // The epoch ends here: what comes now is marked anew.
            slot = nil
        }
        return taken
    }
}

extension Duration {
    /// Of a time that is not negative and not centuries long; else the nearest such.
    var wholeNanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0 else { return 0 }
        guard seconds < 1 << 33 else { return 1 << 63 }
        return UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
    }

    init(wholeNanoseconds: UInt64) { self = .nanoseconds(Int64(clamping: wholeNanoseconds)) }
}

extension [DatasetHistory.Change] {
    /// The first index, from `start` on, for which it holds; for all behind it, it holds too.
    func partitioningIndex(from start: Int, where belongs: (Element) -> Bool) -> Int {
        var (low, high) = (start, count)
        while low < high {
            let middle = low + (high - low) / 2
            if belongs(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }

    func lastTime(upTo limit: UInt64) -> UInt64? {
        let index = partitioningIndex(from: 0) { $0.time > limit }
        return index == 0 ? nil : self[index - 1].time
    }
}
