import Policy

/// Ways to get the policy wrong. The properties must notice each of them, or they prove nothing.
enum Mutation: String, CaseIterable {
    /// A failed snapshot is taken for a success.
    case forgetsOnFailure
    /// A failed snapshot's changes count as new ones.
    case losesFirstTimeOnFailure
    /// A failure is followed by the next attempt at once.
    case neverBacksOff
    case ignoresMinInterval
    case ignoresMaxDelay
    case ignoresQuiet
    /// Snapshots where it should check.
    case neverDoubts
    /// Takes a change for done when its call came back.
    case ignoresBeginnings
    /// Settles what is doubtful without asking.
    case believesDoubtfulCaptured
    case ignoresSuspicions
    /// Believes no word of transaction groups.
    case ignoresDirty
    case ignoresCaptured
    /// Does not hear that somebody else used ZFS.
    case ignoresOthers
    /// Takes a snapshot that gave no answer for one that failed.
    case repeatsUnanswered
    case losesResolvedInFlight
    /// Snapshots a clean dataset.
    case snapshotsIdly
    case ignoresFlush
    case returnsNoDeadline
    case returnsPastDeadline
    /// Reacts to a mark that it knows.
    case countsMarks
    case isRandom

    /// The promise that it breaks, perhaps among others.
    var brokenPromise: Violation.Rule {
        switch self {
        case .forgetsOnFailure, .believesDoubtfulCaptured, .ignoresSuspicions, .losesResolvedInFlight,
            .ignoresDirty:
            .lost
        case .losesFirstTimeOnFailure: .window
        case .neverBacksOff: .backoff
        case .ignoresMinInterval: .minInterval
        case .ignoresMaxDelay: .tooLate
        case .ignoresQuiet: .notQuietInTime
        case .neverDoubts, .ignoresBeginnings, .snapshotsIdly, .ignoresCaptured, .ignoresOthers, .repeatsUnanswered:
            .emptySnapshot
        case .ignoresFlush: .flush
        case .returnsNoDeadline, .returnsPastDeadline: .deadline
        case .countsMarks: .idempotence
        case .isRandom: .determinism
        }
    }
}

/// The policy as the world sees it: the real one, or one that is broken in a known way.
struct Subject: Equatable {
    private(set) var policy: DatasetPolicy
    let mutation: Mutation?
    /// Of the attempt in flight, where a mutation must tell its results from what it asked for.
    private var started = Instant.boot
    private var isDisguised = false
    private var marks = 0

    init(settings: Settings, mutation: Mutation?) {
        self.mutation = mutation
        policy = DatasetPolicy(settings: Subject.distort(settings, mutation))
    }

    mutating func handle(_ event: PolicyEvent, now: Instant) -> Decision {
        guard let event = distort(event, now: now) else { return Decision() }
        let decision = policy.handle(event, now: now)
        let shown = distort(decision, now: now, isTick: event == .tick)
        if shown.action != nil {
            started = now
        }
        return shown
    }

    private static func distort(_ settings: Settings, _ mutation: Mutation?) -> Settings {
        var settings = settings
        switch mutation {
        case .ignoresMinInterval: settings.minInterval = .nanoseconds(1)
        case .ignoresMaxDelay: settings.maxDelay = .seconds(1_000_000)
        case .ignoresQuiet: settings.quiet = settings.maxDelay
        case .neverBacksOff: (settings.backoffBase, settings.backoffLimit) = (.zero, .zero)
        default: break
        }
        return settings
    }

    private mutating func distort(_ event: PolicyEvent, now: Instant) -> PolicyEvent? {
        switch (mutation, event) {
        case (_, .settings(let settings)):
            return .settings(Subject.distort(settings, mutation))
        case (.forgetsOnFailure, .failed(let at)), (.forgetsOnFailure, .unanswered(let at)):
            return .succeeded(started: started, finished: at)
        case (.losesFirstTimeOnFailure, .failed(let at)):
            _ = policy.handle(.succeeded(started: started, finished: started), now: now)
            return .resolved(at: at, commit: false)
        case (.neverDoubts, .succeeded(let start, _)) where isDisguised:
            isDisguised = false
            return .unchanged(started: start)
        case (.neverDoubts, .failed(let at)) where isDisguised, (.neverDoubts, .unanswered(let at)) where isDisguised:
            isDisguised = false
            return .checkFailed(at: at)
        case (.ignoresSuspicions, .suspected), (.ignoresDirty, .dirty), (.ignoresCaptured, .captured),
            (.ignoresOthers, .doubted):
            return nil
        case (.repeatsUnanswered, .unanswered(let at)):
            return .failed(at: at)
        case (.ignoresFlush, .flush):
            return .tick
        case (.losesResolvedInFlight, .resolved) where policy.isInFlight:
            return nil
        case (.ignoresBeginnings, .marked(let first, let last, let commit, _)):
            return .marked(first: first, last: last, commit: commit)
        case (.countsMarks, .marked(_, let last, let commit, _)):
            marks += 1
            return .marked(first: last, last: last + .nanoseconds(marks), commit: commit)
        default:
            return event
        }
    }

    private mutating func distort(_ decision: Decision, now: Instant, isTick: Bool) -> Decision {
        switch (mutation, decision.action) {
        case (.neverDoubts, .check):
            isDisguised = true
            return Decision(action: .snapshot(.quiet, first: .boot, last: now))
        case (.believesDoubtfulCaptured, .check) where policy.isAtRisk:
            return policy.handle(.unchanged(started: now), now: now)
        case (.snapshotsIdly, nil) where isTick && policy.isClean:
            return Decision(action: .snapshot(.quiet, first: now, last: now))
        case (.returnsNoDeadline, _):
            return Decision(action: decision.action)
        case (.returnsPastDeadline, nil) where decision.deadline != nil:
            return Decision(deadline: now)
        case (.isRandom, nil):
            return Decision(deadline: decision.deadline.map { $0 + .nanoseconds(Int.random(in: 0...1_000)) })
        default:
            return decision
        }
    }
}
