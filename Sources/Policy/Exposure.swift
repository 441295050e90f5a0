/// Changes, or suspicions of changes, that may be in no snapshot.
struct Exposure: Sendable, Equatable {
    var first: Instant
    var last: Instant
    /// What ZFS's transaction groups do not tell of: one of it was done after this. Nil: they tell of all.
    var surelyAfter: Instant?
    /// Whether the newest one was a commit point.
    var commit: Bool
    /// When a check came back that had found a change: due at once, and past doubt whatever the times say.
    var confirmed: Instant?
    /// ZFS's transaction groups tell of a change: past doubt whatever the times say, and due in its time.
    var isGrouped = false

    var isConfirmed: Bool { confirmed != nil }

    /// What was marked, resolved or suspected. `begun`: the newest beginning of a call that did it; nil: not known.
    init(first: Instant, last: Instant, begun: Instant? = nil, commit: Bool) {
        self.init(first: first, last: last, surelyAfter: min(begun ?? last, last), commit: commit)
    }

    /// What transaction groups tell of.
    static func grouped(first: Instant, last: Instant, commit: Bool) -> Exposure {
        Exposure(first: first, last: last, surelyAfter: nil, commit: commit, isGrouped: true)
    }

    private init(
        first: Instant, last: Instant, surelyAfter: Instant?, commit: Bool, confirmed: Instant? = nil,
        isGrouped: Bool = false
    ) {
        self.first = first
        self.last = last
        self.surelyAfter = surelyAfter
        self.commit = commit
        self.confirmed = confirmed
        self.isGrouped = isGrouped
    }

    /// Both together. Idempotent and independent of the order, so the same slot may be read many times.
    static func union(_ lhs: Exposure?, _ rhs: Exposure?) -> Exposure? {
        guard let lhs, let rhs else { return lhs ?? rhs }
        let newest = max(lhs.last, rhs.last)
        return Exposure(
            first: min(lhs.first, rhs.first),
            last: newest,
            surelyAfter: later(lhs.surelyAfter, rhs.surelyAfter),
            commit: (lhs.last == newest && lhs.commit) || (rhs.last == newest && rhs.commit),
            confirmed: earlier(lhs.confirmed, rhs.confirmed),
            isGrouped: lhs.isGrouped || rhs.isGrouped
        )
    }
}

extension Optional<Exposure> {
    /// Takes `other` in.
    mutating func join(_ other: Exposure?) {
        self = Exposure.union(self, other)
    }
}

/// A snapshot or a check in flight, and what it covers: at risk again should it fail.
struct Attempt: Sendable, Equatable {
    let isCheck: Bool
    /// Begun because the daemon is stopping.
    let isFlush: Bool
    let started: Instant
    var exposure: Exposure?
    var suspicion: Exposure?
}

/// Failures in a row of one kind of attempt. Snapshots and checks are counted apart: a check that fails must not hold
/// back the snapshot of a change that is certain.
struct Failures: Sendable, Equatable {
    private(set) var count = 0
    private var last = Instant.boot

    mutating func add(at time: Instant) {
        count += 1
        last = time
    }

    /// When the next attempt may be made: the base time after the first failure, doubled at each further one up to the
    /// limit. Nil without a failure. Computed on demand, so new settings are in force at once.
    func retryAt(_ settings: Settings) -> Instant? {
        guard count > 0 else { return nil }
        var delay = settings.backoffBase
        var doublings = count - 1
        // Beyond the end of the clock nothing need be added: no count and no settings make this loop long.
        let enough = min(settings.backoffLimit, endOfClock)
        while doublings > 0, delay > .zero, delay < enough {
            delay += delay
            doublings -= 1
        }
        return last + min(delay, settings.backoffLimit)
    }
}

private func earlier(_ lhs: Instant?, _ rhs: Instant?) -> Instant? {
    guard let lhs, let rhs else { return lhs ?? rhs }
    return min(lhs, rhs)
}

private func later(_ lhs: Instant?, _ rhs: Instant?) -> Instant? {
    guard let lhs, let rhs else { return lhs ?? rhs }
    return max(lhs, rhs)
}

private let endOfClock = Duration.nanoseconds(Int64.max)
