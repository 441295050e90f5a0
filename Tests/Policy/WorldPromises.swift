import Policy

/// A promise that was not kept.
struct Violation: CustomStringConvertible {
    enum Rule: String {
        case emptySnapshot, minInterval, backoff, overlap, window, tooLate, notQuietInTime, lost, flush
        case deadline, idempotence, determinism, livelock
    }

    let rule: Rule
    let time: Instant
    let message: String

    var description: String {
        "\(rule.rawValue) at \(time): \(message)"
    }
}

/// What a run amounted to, to show that the runs are not empty.
struct Counts {
    var snapshots = 0
    var checks = 0
    var failures = 0
    /// Changes made while the snapshot was taken that it holds, and that it does not.
    var caughtInFlight = 0
    var missedInFlight = 0
    /// Snapshots that gave no answer.
    var unanswered = 0
    /// Snapshots and rollbacks of others that took changes at risk.
    var settledByOthers = 0

    static func += (lhs: inout Counts, rhs: Counts) {
        lhs.snapshots += rhs.snapshots
        lhs.checks += rhs.checks
        lhs.failures += rhs.failures
        lhs.caughtInFlight += rhs.caughtInFlight
        lhs.missedInFlight += rhs.missedInFlight
        lhs.unanswered += rhs.unanswered
        lhs.settledByOthers += rhs.settledByOthers
    }
}

/// The promises that a run is held to.
extension World {
    mutating func violate(_ rule: Violation.Rule, _ message: String) {
        violations.append(Violation(rule: rule, time: now, message: message))
    }

    /// Called before an action is taken up.
    mutating func checkStart(of action: PolicyAction) {
        if flight != nil {
            violate(.overlap, "\(action) while another attempt is in flight")
        }
        let isCheck = action == .check
        var isFlush = isCheck && hadFlushSince != nil
        if case .snapshot(let trigger, let first, let last) = action {
            isFlush = trigger == .flush
            // The window that is reported begins no later than the oldest change it is known to be about.
            let oldest = changes[captured...].first { $0.isCertain }
            if let oldest, first > oldest.dated {
                violate(.window, "\(first) is after the oldest change at risk, \(oldest.dated)")
            }
            if first > last {
                violate(.window, "\(first) is after \(last)")
            }
        }
        guard !isFlush else { return }
        if let before = isCheck ? lastAttemptStart : lastSnapshotStart, now < before + settings.minInterval {
            violate(.minInterval, "\(action) \(now - before) after the one before")
        }
        let count = isCheck ? failures.checks : failures.snapshots
        if count > 0 {
            let doubled = settings.backoffBase * (1 << min(count - 1, 30))
            let failed = isCheck ? lastFailure.check : lastFailure.snapshot
            if now < failed + min(doubled, settings.backoffLimit) {
                violate(.backoff, "\(action) \(now - failed) after failure \(count)")
            }
        }
    }

    /// Called when a snapshot was made.
    mutating func capture(_ flight: Flight) {
        if flight.seen == captured {
            violate(.emptySnapshot, "begun at \(flight.started)")
        }
        let mustBeInTime = !profile.hasFailures
        for change in changes[captured..<flight.seen] {
            counts.caughtInFlight += change.time > flight.started ? 1 : 0
            guard mustBeInTime, let known = change.known else { continue }
            // One attempt may be in flight when it is due, a check may come first, and then its own.
            var limit = known + longestDelay + longestInterval + engineLimit * 3
            if !profile.hasUncertainty, !change.wasInFlight {
                // A check may have been under way for an earlier, doubtful one.
                limit = known + longestDelay + longestInterval + engineLimit * 2
            }
            if now > limit {
                violate(.tooLate, "a change of \(change.time), known at \(known), is \(now - limit) late")
            }
        }
        captured = flight.seen
        counts.missedInFlight += changes.count - captured
    }

    /// Called after each tick.
    mutating func checkDeadline(_ decision: Decision) {
        let isIdle = subject.policy.isClean || subject.policy.isInFlight
        if let deadline = decision.deadline {
            if deadline <= now {
                violate(.deadline, "\(deadline) is not in the future")
            }
            if isIdle {
                violate(.deadline, "a deadline with nothing to wait for")
            }
        } else if decision.action == nil, !isIdle {
            violate(.deadline, "none, though something is due")
        }
    }

    /// Called after every step: what is known and in no snapshot is on the policy's mind.
    mutating func checkNothingForgotten() {
        let forgotten = changes[captured...].first { $0.known != nil }
        if let forgotten, subject.policy.isClean {
            violate(.lost, "the change of \(forgotten.time) is in no snapshot, and the policy is clean")
        }
        // A snapshot that holds it may have been taken already, and not have returned yet: then it is still at risk.
        // What groups tell it hears after the attempt in flight; before a snapshot it heard of all that there was.
        let isCheck = flight?.isCheck ?? false
        let certain = changes[captured...].first { $0.isCertain && !($0.isGrouped && isCheck) }
        if let certain, subject.policy.atRiskSince.map({ $0 > certain.dated }) ?? !subject.policy.isSuspect {
            violate(.lost, "at risk since \(certain.dated), says \(String(describing: subject.policy.atRiskSince))")
        }
        if queue.isEmpty, flight == nil {
            isStopping = true
        }
        if let since = hadFlushSince, !profile.hasFailures, !subject.policy.isClean,
            now > max(since, lastDisturbance) + engineLimit * 3
        {
            violate(.flush, "\(now - since) after the flush it is not clean")
        }
    }

    /// Called when nothing is left to happen.
    mutating func checkEnd() {
        if captured < changes.count {
            violate(.lost, "\(changes.count - captured) changes are in no snapshot at the end")
        }
        if !subject.policy.isClean || subject.policy.consecutiveFailures > 0 {
            violate(.lost, "not clean at the end: \(subject.policy)")
        }
        // In a life without a change there is nothing to settle.
        let told: Set<PolicyEvent> = [.tick, .flush, .captured]
        guard let finished = log.last(where: { !told.contains($0.event) })?.now else { return }
        let limit = lastDisturbance + longestQuiet + longestInterval * 2 + engineLimit * 4
        if !profile.hasFailures, finished > limit {
            violate(.notQuietInTime, "settled \(finished - limit) late")
        }
    }

    /// The same events give the same answers.
    mutating func replay(from initial: Subject) {
        guard violations.isEmpty else { return }
        var subject = initial
        for entry in log where subject.handle(entry.event, now: entry.now) != entry.decision {
            return violate(.determinism, "\(entry.event) was answered differently the second time")
        }
        if subject.policy != self.subject.policy {
            violate(.determinism, "another state after the same events")
        }
    }
}
