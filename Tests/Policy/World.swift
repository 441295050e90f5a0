import Policy
import TestSupport

/// Which parts of reality a simulated run has.
struct Profile: CustomStringConvertible {
    /// Besides marks in the slot: changes known from a path, unseen ones, and suspicions.
    var hasUncertainty = false
    var hasFailures = false
    var changesSettings = false
    var endsWithFlush = false
    /// OpenZFS tells by transaction groups what is dirty; the slot's marks are of stores to mappings alone.
    var hasGroups = false
    /// Somebody else takes snapshots too, and rolls back.
    var hasOthers = false

    var description: String {
        "uncertainty \(hasUncertainty), failures \(hasFailures), settings \(changesSettings), flush \(endsWithFlush), "
            + "groups \(hasGroups), others \(hasOthers)"
    }

    init(random: inout SplitMix64) {
        hasUncertainty = random.chance(60)
        hasFailures = random.chance(40)
        changesSettings = random.chance(25)
        endsWithFlush = random.chance(25)
        hasGroups = random.chance(40)
        hasOthers = random.chance(30)
    }
}

/// A dataset, the kernel's slot, an engine and a daemon around one policy, on a virtual clock. It knows what changed
/// and what each snapshot holds, and holds the policy to its promises.
struct World {
    struct Change {
        let time: Instant
        /// When the policy could know of it: a mark at once, a path or a suspicion when it is delivered.
        var known: Instant?
        /// The time that it is told with: a mark has that of its call's end.
        var dated: Instant
        /// Whether it is known for a change, not merely suspected.
        var isCertain = false
        let wasInFlight: Bool
        /// In a transaction group from the beginning.
        var isGrouped = false
        var commit = false
    }

    enum Happening {
        /// A change in a call that takes so long to come back to its caller.
        case mark(commit: Bool, late: Duration)
        case markLate(commit: Bool, change: Int, begun: Instant)
        /// A change that ZFS itself tells of.
        case dirty(commit: Bool)
        /// Somebody else's snapshot, or a rollback to the newest one: what was at risk is not any more.
        case settledByOthers
        /// A change that is told later, by an event with its time.
        case resolved(after: Duration, commit: Bool)
        /// A change that no probe sees; something is suspected then or later.
        case unseen(noticed: Duration, delivered: Duration)
        case falseAlarm
        case deliver(PolicyEvent, change: Int?)
        case settings(Settings)
        case flush
        case wake
        /// The moment at which ZFS takes the snapshot, or looks.
        case decide
        case finish
    }

    struct Flight {
        let isCheck: Bool
        let started: Instant
        let fails: Bool
        /// It fails for want of an answer, and may have been made all the same.
        let isUnanswered: Bool
        var seen = 0
        /// When the engine looked.
        var answered: Instant
    }

    let profile: Profile
    var random: SplitMix64
    var subject: Subject
    var settings: Settings
    var queue: [(time: Instant, order: Int, what: Happening)] = []
    var scheduled = 0
    var now = Instant(nanoseconds: 1_000_000_000_000)
    var deadline: Instant?

    var changes: [Change] = []
    /// How many of the changes the newest snapshot holds: they are in order of time.
    var captured = 0
    /// The kernel's slot in the current epoch. `begun`: the newest beginning of a call that changed something.
    var slot: (first: Instant, last: Instant, commit: Bool, begun: Instant)?
    var flight: Flight?

    // What the promises are measured against.
    var engineLimit = Duration.zero
    var longestQuiet = Duration.zero
    var longestDelay = Duration.zero
    var longestInterval = Duration.zero
    var lastDisturbance = Instant.boot
    var lastSnapshotStart: Instant?
    var lastAttemptStart: Instant?
    var failures = (snapshots: 0, checks: 0)
    var lastFailure = (snapshot: Instant.boot, check: Instant.boot)
    var isStopping = false
    var hadFlushSince: Instant?

    var log: [(event: PolicyEvent, now: Instant, decision: Decision)] = []
    var violations: [Violation] = []
    var counts = Counts()

    /// Runs the whole life of one dataset, from `seed` alone.
    static func run(seed: UInt64, mutation: Mutation? = nil) -> World {
        var world = World(seed: seed, mutation: mutation)
        let initial = world.subject
        world.live()
        world.replay(from: initial)
        return world
    }

    private init(seed: UInt64, mutation: Mutation?) {
        random = SplitMix64(seed: seed)
        profile = Profile(random: &random)
        settings = World.settings(&random)
        subject = Subject(settings: settings, mutation: mutation)
        engineLimit = random.pick([.zero, .milliseconds(50), .seconds(1), .seconds(8)])
        note(settings)
        plan()
    }

    mutating func live() {
        var steps = 0
        while violations.isEmpty, let next = nextTime() {
            now = max(now, next)
            if let index = indexOfNext(), queue[index].time <= now {
                happen(queue.remove(at: index).what)
            } else {
                observe()
            }
            checkNothingForgotten()
            steps += 1
            guard steps < 20_000 else { return violate(.livelock, "more than \(steps) steps") }
        }
        if violations.isEmpty {
            checkEnd()
        }
    }

    private func indexOfNext() -> Int? {
        queue.indices.min { (queue[$0].time, queue[$0].order) < (queue[$1].time, queue[$1].order) }
    }

    private func nextTime() -> Instant? {
        let queued = indexOfNext().map { queue[$0].time }
        guard let queued, let deadline else { return queued ?? deadline }
        return min(queued, deadline)
    }

    mutating func schedule(_ what: Happening, at time: Instant) {
        queue.append((time, scheduled, what))
        scheduled += 1
    }
}

// MARK: What happens

extension World {
    private mutating func happen(_ what: Happening) {
        switch what {
        case .mark(let commit, let late):
            // The call began just now, and may come back later than it changes the file.
            guard late > .zero else { return mark(commit: commit, change(known: nil), begun: now) }
            schedule(.markLate(commit: commit, change: change(known: nil), begun: now), at: now + late)
            disturb(by: late)
        case .markLate(let commit, let index, let begun):
            mark(commit: commit, index, begun: begun)
        case .dirty(let commit):
            dirty(commit: commit)
        case .settledByOthers:
            settleByOthers()
        case .resolved(let delay, let commit):
            disturb(by: delay)
            schedule(.deliver(.resolved(at: now, commit: commit), change: change(known: nil)), at: now + delay)
        case .unseen(let noticed, let delivered):
            disturb(by: noticed + delivered)
            let event = PolicyEvent.suspected(at: now + noticed)
            schedule(.deliver(event, change: change(known: nil)), at: now + noticed + delivered)
        case .falseAlarm:
            disturb(by: .zero)
            feed(.suspected(at: now))
            observe()
        case .deliver(let event, let index):
            deliver(event, change: index)
        case .settings(let new):
            disturb(by: .zero)
            settings = new
            note(new)
            feed(.settings(new))
            observe()
        case .flush:
            hadFlushSince = now
            readSlot()
            act(on: feed(.flush))
        case .wake:
            observe()
        case .decide:
            flight?.seen = changes.count
            flight?.answered = now
        case .finish:
            finish()
        }
    }

    mutating func change(known: Instant?) -> Int {
        changes.append(
            Change(
                time: now, known: known, dated: now, isCertain: known != nil,
                wasInFlight: flight.map { !$0.isCheck } ?? false))
        return changes.count - 1
    }

    private mutating func mark(commit: Bool, _ index: Int, begun: Instant) {
        disturb(by: .zero)
        changes[index].known = now
        changes[index].dated = now
        changes[index].isCertain = true
        let isFirst = slot == nil
        slot = (slot?.first ?? now, now, commit, max(slot?.begun ?? begun, begun))
        // The kernel wakes the daemon for a first mark and at commit points only.
        if isFirst || commit {
            observe()
        }
    }

    private mutating func deliver(_ event: PolicyEvent, change index: Int?) {
        feed(event)
        if let index {
            changes[index].known = now
            if case .resolved = event {
                changes[index].isCertain = true
            }
        }
        observe()
    }

    mutating func disturb(by delay: Duration) {
        lastDisturbance = max(lastDisturbance, now + delay)
    }

    /// What the daemon does at each wake-up.
    mutating func observe() {
        readSlot()
        let decision = feed(.tick)
        checkDeadline(decision)
        act(on: decision)
    }

    private mutating func readSlot() {
        readGroups()
        guard let slot else { return }
        let event = PolicyEvent.marked(first: slot.first, last: slot.last, commit: slot.commit, begun: slot.begun)
        feedTwice(event)
    }

    /// The same word again must mean nothing.
    mutating func feedTwice(_ event: PolicyEvent) {
        feed(event)
        var again = subject
        _ = again.handle(event, now: now)
        if again.policy != subject.policy {
            violate(.idempotence, "\(event) fed twice")
        }
    }

    @discardableResult
    mutating func feed(_ event: PolicyEvent) -> Decision {
        let decision = subject.handle(event, now: now)
        log.append((event, now, decision))
        deadline = decision.deadline
        return decision
    }

    private mutating func act(on decision: Decision) {
        guard let action = decision.action else { return }
        checkStart(of: action)
        let isCheck = action == .check
        let taken = random.duration(.zero...engineLimit)
        let fails = profile.hasFailures && !isStopping && random.chance(30)
        let isUnanswered = fails && !isCheck && random.chance(40)
        flight = Flight(isCheck: isCheck, started: now, fails: fails, isUnanswered: isUnanswered, answered: now)
        slot = nil
        schedule(.decide, at: now + random.duration(.zero...taken))
        schedule(.finish, at: now + taken)
        lastAttemptStart = now
        if !isCheck {
            lastSnapshotStart = now
        }
    }

    private mutating func finish() {
        guard let flight else { return }
        self.flight = nil
        switch (flight.isCheck, flight.fails) {
        case (true, true):
            counts.failures += 1
            failures.checks += 1
            lastFailure.check = now
            feed(.checkFailed(at: now))
        case (false, true):
            counts.failures += 1
            failures.snapshots += 1
            lastFailure.snapshot = now
            if flight.isUnanswered {
                // What it holds must not be empty either.
                if random.chance(60) { capture(flight) }
                counts.unanswered += 1
                feed(.unanswered(at: now))
            } else {
                feed(.failed(at: now))
            }
        case (true, false):
            counts.checks += 1
            failures.checks = 0
            if flight.seen <= captured { failures.snapshots = 0 }
            feed(flight.seen > captured ? .changed(at: flight.answered) : .unchanged(started: flight.started))
        case (false, false):
            counts.snapshots += 1
            failures = (0, 0)
            capture(flight)
            feed(.succeeded(started: flight.started, finished: now))
        }
        observe()
    }
}
