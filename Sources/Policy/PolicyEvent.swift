/// What a `DatasetPolicy` is told. Every time is of `CLOCK_MONOTONIC`.
public enum PolicyEvent: Sendable, Hashable {
    /// The slot says that in the *current* epoch changes were seen from `first` to `last`, and whether the newest one
    /// was a commit point. Safe to repeat: the slot's values are absolute.
    /// `begun`: the newest beginning of a call that made one of them, where that is known: the change was done after it, and
    /// not only after `last`.
    case marked(first: Instant, last: Instant, commit: Bool, begun: Instant? = nil)
    /// ZFS's transaction groups say that there is a change in no snapshot, seen from `first` to `last`: past doubt. To be
    /// told while no attempt is in flight, which might capture it.
    case dirty(first: Instant, last: Instant, commit: Bool)
    /// They say that no change is left: somebody else's snapshot has it. Takes back what `dirty` told, and nothing else;
    /// to be told at the same times.
    case captured
    /// Somebody used ZFS and was done at `at`: what changed up to then may be in a snapshot of theirs, or rolled back. It is
    /// checked, where `dirty` does not say it for certain.
    case doubted(at: Instant)
    /// A change whose dataset was found in user space from a path: it has a time but no epoch. May come late. `begun`: as of
    /// marks.
    case resolved(at: Instant, commit: Bool, begun: Instant? = nil)
    /// Something may have changed at or before `at` that nobody saw: a record was lost, a path was not found, or the
    /// daemon has just begun to watch. Leads to a check, not to a snapshot.
    case suspected(at: Instant)
    /// Time passed. The only event, `flush` apart, that is answered with an action: first everything known is told.
    case tick
    /// The snapshot in flight was made. `started`: when the epoch was stored, or a little earlier; everything that
    /// changed before is in it. `finished`: when `zfs snapshot` returned, or a little later.
    case succeeded(started: Instant, finished: Instant)
    /// The snapshot in flight could not be made.
    case failed(at: Instant)
    /// The snapshot in flight was given up without an answer: it may have been made, or be made yet. The next attempt is
    /// a check.
    case unanswered(at: Instant)
    /// The check in flight found the files equal to the newest snapshot. `started`: when the epoch was stored, or a
    /// little earlier.
    case unchanged(started: Instant)
    /// The check in flight found that the files differ from the newest snapshot. `at`: when ZFS had answered, or a little
    /// later.
    case changed(at: Instant)
    /// The check in flight could not be made.
    case checkFailed(at: Instant)
    /// The daemon is stopping: snapshot, or check, whatever is dirty or suspect, without waiting for anything but an
    /// attempt in flight. Tell it once; it is remembered until one snapshot was begun, one attempt failed or nothing
    /// is left to do, so `tick` after each result does the rest.
    case flush
    /// New settings, in force at once.
    case settings(Settings)
}

/// Why a snapshot is taken now. The raw value is for names, logs and reports.
public enum Trigger: String, Sendable, Hashable, CaseIterable {
    /// No change for the quiet time.
    case quiet
    /// The first change that no snapshot holds is max-delay old.
    case maxDelay = "max-delay"
    /// No change for the (shorter) quiet time that follows a commit point.
    case commit
    /// The daemon is stopping.
    case flush = "stop"
    /// A check found a change that no probe had made certain.
    case check
}

/// What the daemon is to do now. Handing it out is the start of the attempt: the policy takes it to be in flight until
/// it is told the result.
public enum PolicyAction: Sendable, Hashable {
    /// Store epoch + 1, flush mapped stores, take a snapshot; answer with `succeeded`, `failed` or `unanswered`. The
    /// changes that made it due were seen from `first` to `last`.
    case snapshot(Trigger, first: Instant, last: Instant)
    /// Store epoch + 1, then ask ZFS whether anything changed since the newest snapshot; answer with `unchanged`,
    /// `changed` or `checkFailed`.
    case check
}

/// A policy's answer to an event.
public struct Decision: Sendable, Hashable {
    /// What to do now, if anything.
    public let action: PolicyAction?
    /// When to read the slot and send `tick` again. Nil: nothing is due, because the dataset is clean or because an
    /// attempt is in flight. After `tick` it is in the future; after other events it may have passed, and then `tick`
    /// is wanted at once.
    public let deadline: Instant?

    /// An answer.
    public init(action: PolicyAction? = nil, deadline: Instant? = nil) {
        self.action = action
        self.deadline = deadline
    }
}
