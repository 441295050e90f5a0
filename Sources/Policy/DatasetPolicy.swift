/// When one dataset is due for a snapshot: a state machine on somebody else's clock.
///
///     var policy = DatasetPolicy(settings: Settings())
///     policy.handle(.marked(first: t0, last: t1, commit: false), now: t2)
///     let decision = policy.handle(.tick, now: t2)   // action: nil, deadline: t1 + quiet
///
/// A snapshot is due once the dataset has been quiet, at the latest max-delay after the first change that no snapshot
/// holds; but never while an attempt is in flight, within min-interval of the one before, or before the back-off after
/// a failure has passed. What is not certain to be a change is first *checked* against ZFS's own figures, so that no
/// empty snapshot is made.
public struct DatasetPolicy: Sendable, Equatable {
    /// The settings in force.
    public private(set) var settings: Settings

    /// Changes that no attempt in flight covers.
    private var pending: Exposure?
    /// Suspicions that no attempt in flight covers.
    private var suspicion: Exposure?
    private var attempt: Attempt?
    /// Start of the last attempt that proved everything before it to be in a snapshot.
    private var settledThrough: Instant?
    /// A mark up to here may belong to a change that is in the last snapshot already.
    private var doubtThrough: Instant?
    private var lastSnapshotStart: Instant?
    private var lastAttemptStart: Instant?
    private var snapshotFailures = Failures()
    private var checkFailures = Failures()
    private var isFlushing = false

    /// The policy of a dataset that is clean and was never snapshotted by this daemon. At the daemon's start, follow
    /// with `suspected`.
    public init(settings: Settings) {
        self.settings = settings
    }

    /// Takes in `event` at the time `now` and says what to do. Deterministic; never traps, even if time runs backwards.
    ///
    /// A result that fits no attempt in flight is ignored.
    @discardableResult
    public mutating func handle(_ event: PolicyEvent, now: Instant) -> Decision {
        switch event {
        case .marked(let first, let last, let commit, let begun):
            // A time ahead of our clock must not put the max-delay off.
            add(Exposure(first: min(first, now), last: max(first, last), begun: begun, commit: commit))
        case .dirty(let first, let last, let commit):
            add(.grouped(first: min(first, now), last: max(first, last), commit: commit))
        case .captured:
            takeBackGroups()
        case .doubted(let at):
            doubtThrough = later(doubtThrough, at)
            if let confirmed = pending?.confirmed, at > confirmed { pending?.confirmed = nil }
        case .resolved(let at, let commit, let begun):
            addResolved(Exposure(first: min(at, now), last: at, begun: begun, commit: commit))
        case .suspected(let at):
            addSuspicion(Exposure(first: min(at, now), last: at, commit: false))
        case .tick:
            return decide(now: now)
        case .succeeded(let started, let finished):
            succeed(started: started, finished: finished)
        case .failed(let at), .checkFailed(let at):
            fail(at: at)
        case .unanswered(let at):
            // Certain is what groups say now, or a change that comes later. Nothing else.
            attempt?.exposure?.confirmed = nil
            attempt?.exposure?.isGrouped = false
            fail(at: at)
            doubtThrough = later(doubtThrough, at)
        case .unchanged(let started):
            settle(started: started)
        case .changed(let at):
            confirm(at: at)
        case .flush:
            isFlushing = true
            return decide(now: now)
        case .settings(let new):
            settings = new
        }
        return Decision(deadline: plan?.at)
    }
}

// MARK: What the status line and reports show

extension DatasetPolicy {
    /// Whether there is a change that may be in no snapshot yet, in-flight ones included.
    public var isAtRisk: Bool {
        atRiskSince != nil
    }

    /// The first change that may be in no snapshot yet.
    public var atRiskSince: Instant? {
        Exposure.union(pending, attempt?.exposure)?.first
    }

    /// Whether it is merely suspected that something changed.
    public var isSuspect: Bool {
        suspicion != nil || attempt?.suspicion != nil
    }

    /// Whether all that is known is in a snapshot, and nothing is in flight.
    public var isClean: Bool {
        !isAtRisk && !isSuspect && attempt == nil
    }

    /// Whether a snapshot or a check is being made.
    public var isInFlight: Bool {
        attempt != nil
    }

    /// Snapshots and checks that failed in a row: 0 as soon as one succeeds.
    public var consecutiveFailures: Int {
        snapshotFailures.count + checkFailures.count
    }

    /// When the back-off after a failure ends; nil if the last attempt did not fail.
    public var retryAt: Instant? {
        certain == nil
            ? checkFailures.retryAt(settings) ?? snapshotFailures.retryAt(settings)
            : snapshotFailures.retryAt(settings) ?? checkFailures.retryAt(settings)
    }
}

// MARK: What is known

extension DatasetPolicy {
    private mutating func add(_ exposure: Exposure) {
        pending.join(exposure)
    }

    /// Of what groups told nothing is left; what they cannot know may be.
    private mutating func takeBackGroups() {
        if let pending, pending.isGrouped, !pending.isConfirmed {
            if pending.surelyAfter == nil { self.pending = nil } else { self.pending?.isGrouped = false }
        }
        // The change that could not be snapshotted is captured by somebody else.
        if pending == nil, attempt == nil { snapshotFailures = Failures() }
    }

    private mutating func addResolved(_ exposure: Exposure) {
        guard !isSettled(exposure.last) else { return }
        if isCovered(exposure.last) {
            attempt?.exposure.join(exposure)
        } else {
            add(exposure)
        }
    }

    private mutating func addSuspicion(_ exposure: Exposure) {
        guard !isSettled(exposure.last) else { return }
        if isCovered(exposure.last) {
            attempt?.suspicion.join(exposure)
        } else {
            suspicion.join(exposure)
        }
    }

    /// Whether a change at `time`, of unknown epoch, is certain to be in a snapshot.
    private func isSettled(_ time: Instant) -> Bool {
        guard let settledThrough else { return false }
        return time.advanced(by: clockSlack) < settledThrough
    }

    /// Whether a change at `time`, of unknown epoch, is certain to be seen by the attempt in flight.
    private func isCovered(_ time: Instant) -> Bool {
        guard let attempt else { return false }
        return time.advanced(by: clockSlack) < attempt.started
    }

    /// The pending changes, if it is certain that one of them is in no snapshot.
    private var certain: Exposure? {
        guard let pending else { return nil }
        if pending.isConfirmed || pending.isGrouped { return pending }
        // Without marks it is what groups told of before an attempt that gave no answer.
        guard let surelyAfter = pending.surelyAfter else { return nil }
        if let doubtThrough, surelyAfter <= doubtThrough { return nil }
        return pending
    }
}

// MARK: Results

extension DatasetPolicy {
    private mutating func succeed(started: Instant, finished: Instant) {
        guard let attempt, !attempt.isCheck else { return }
        self.attempt = nil
        settledThrough = later(settledThrough, started)
        doubtThrough = later(doubtThrough, max(started, finished))
        // The engine may have begun later than it was told to; the distance is kept from where it did.
        lastSnapshotStart = later(lastSnapshotStart, started)
        lastAttemptStart = later(lastAttemptStart, started)
        snapshotFailures = Failures()
        checkFailures = Failures()
    }

    private mutating func settle(started: Instant) {
        guard let attempt, attempt.isCheck else { return }
        self.attempt = nil
        settledThrough = later(settledThrough, started)
        // What was done while the check ran is certain: had it been done before ZFS answered, the answer had been
        // another one. Only the clock's slack before the start remains open.
        doubtThrough = later(doubtThrough, started)
        // A change that could not be snapshotted is in a snapshot after all, or is gone.
        snapshotFailures = Failures()
        checkFailures = Failures()
    }

    private mutating func confirm(at time: Instant) {
        guard let attempt, attempt.isCheck else { return }
        self.attempt = nil
        checkFailures = Failures()
        if let doubtThrough, doubtThrough > time {
            // Somebody used ZFS since it answered: what it found may be gone.
            pending.join(attempt.exposure)
            suspicion.join(attempt.suspicion)
        } else if var exposure = attempt.exposure ?? attempt.suspicion {
            // A change that was seen has a time of its own. An older suspicion, which the snapshot settles too, must not
            // make its window look longer than it was.
            exposure.confirmed = time
            add(exposure)
        }
    }

    private mutating func fail(at time: Instant) {
        guard let attempt else { return }
        self.attempt = nil
        pending.join(attempt.exposure)
        suspicion.join(attempt.suspicion)
        if attempt.isCheck {
            checkFailures.add(at: time)
        } else {
            snapshotFailures.add(at: time)
        }
        // One try is enough when stopping; an attempt begun before that is not the try.
        if attempt.isFlush {
            isFlushing = false
        }
    }
}

// MARK: What to do, and when

extension DatasetPolicy {
    /// Since when a check is due: what `tick` would answer at `now`. Nil when another answer, or none, is.
    ///
    /// For a caller that begins only some of the checks that are due, the oldest first.
    public func checkDue(now: Instant) -> Instant? {
        guard let plan, plan.action == .check, plan.at <= now else { return nil }
        return plan.at
    }

    private struct Plan {
        let action: PolicyAction
        let at: Instant
    }

    private mutating func decide(now: Instant) -> Decision {
        guard let plan else {
            if attempt == nil {
                isFlushing = false
            }
            return Decision()
        }
        guard plan.at <= now else { return Decision(deadline: plan.at) }
        start(plan.action, now: now)
        return Decision(action: plan.action)
    }

    private mutating func start(_ action: PolicyAction, now: Instant) {
        let isCheck = action == .check
        attempt = Attempt(
            isCheck: isCheck, isFlush: isFlushing, started: now, exposure: pending, suspicion: suspicion)
        pending = nil
        suspicion = nil
        lastAttemptStart = later(lastAttemptStart, now)
        if !isCheck {
            lastSnapshotStart = later(lastSnapshotStart, now)
            isFlushing = false
        }
    }

    /// What comes next, and the earliest time for it.
    private var plan: Plan? {
        guard attempt == nil else { return nil }
        if let certain {
            return snapshotPlan(of: certain)
        }
        return checkPlan()
    }

    private func snapshotPlan(of exposure: Exposure) -> Plan {
        var (trigger, at) = snapshotDue(exposure)
        if isFlushing {
            (trigger, at) = (.flush, .boot)
        } else {
            at = earliest(at, after: lastSnapshotStart, snapshotFailures)
        }
        return Plan(action: .snapshot(trigger, first: exposure.first, last: exposure.last), at: at)
    }

    private func snapshotDue(_ exposure: Exposure) -> (trigger: Trigger, at: Instant) {
        guard !exposure.isConfirmed else { return (.check, .boot) }
        let commitQuiet = exposure.commit ? settings.commitQuiet : nil
        let rested = exposure.last + (commitQuiet ?? settings.quiet)
        // One snapshot settles a suspicion too: no later than its check would have come.
        let limit = min(exposure.first, suspicion?.first ?? exposure.first) + settings.maxDelay
        guard rested <= limit else { return (.maxDelay, limit) }
        return (commitQuiet == nil ? .quiet : .commit, rested)
    }

    private func checkPlan() -> Plan? {
        // Each in its own time: suspicions that keep coming must not put off the check of a change that has come to rest.
        let dues = [pending, suspicion].compactMap { exposure in
            exposure.map { min($0.last + settings.quiet, $0.first + settings.maxDelay) }
        }
        guard let due = dues.min() else { return nil }
        var at = isFlushing ? Instant.boot : earliest(due, after: lastAttemptStart, checkFailures)
        // Where a change would only be found to be snapshotted, there is no hurry before that may be tried again.
        if !isFlushing, pending != nil, let retryAt = snapshotFailures.retryAt(settings) { at = max(at, retryAt) }
        return Plan(action: .check, at: at)
    }

    private func earliest(_ due: Instant, after start: Instant?, _ failures: Failures) -> Instant {
        var at = due
        if let start {
            at = max(at, start + settings.minInterval)
        }
        if let retryAt = failures.retryAt(settings) {
            at = max(at, retryAt)
        }
        return at
    }
}

/// A record's time is read a little before or after the epoch, and on another processor: within this, it is not taken
/// as proof of what came first.
private let clockSlack = Duration.milliseconds(1)

private func later(_ known: Instant?, _ new: Instant) -> Instant {
    max(known ?? new, new)
}
