/// A moment of a pool: the transaction group in which something was created, and the pool's clock then.
public struct PoolMoment: Sendable, Hashable {
    public var createtxg: UInt64
    /// Nanoseconds since 1970.
    public var time: Int64

    public init(createtxg: UInt64, time: Int64) {
        self.createtxg = createtxg
        self.time = time
    }
}

/// Which of a dataset's snapshots carry a time that is too early, by ZFS's own order.
///
/// `createtxg` grows whatever the clock does, also for received snapshots. If a snapshot is earlier in time than one before
/// it, either the clock was behind now or ahead then; the times do not show which. So its age is the least possible: a wrong
/// clock makes a snapshot younger, never older.
struct Chronology {
    /// No snapshot of Kairos is older: 1 January 2026. A clock that starts in 1970, or when a system image was built, shows less.
    static let beginning: Int64 = 1_767_225_600 * 1_000_000_000
    /// Names are made before ZFS gets to the snapshot, so moments of other datasets may come before a name of the same second: nanoseconds.
    static let tolerance: Int64 = 60_000_000_000

    /// By the places of those whose times are too early: the latest time at which each can have been taken.
    private(set) var latest: [Int: Int64] = [:]
    /// By the same places: the snapshot of this dataset that shows it, where one does.
    private(set) var proof: [Int: Int] = [:]

    /// - Parameter ordered: the snapshots of one dataset, in the order of their transaction groups.
    init(_ ordered: [RetainedSnapshot], clock: RetentionClock) {
        var moments = clock.moments[...]
        var highest = clock.now >= Self.beginning ? Self.beginning : Int64.min
        var highestInPool = Int64.min
        var highestPlace: Int?
        for (place, snapshot) in ordered.enumerated() where snapshot.time <= clock.now {
            while let moment = moments.first, moment.createtxg < snapshot.createtxg {
                highestInPool = max(highestInPool, moment.time)
                moments.removeFirst()
            }
            if snapshot.time < highest {
                proof[place] = highestPlace
                latest[place] = clock.now
            } else {
                let (limit, under) = highestInPool.subtractingReportingOverflow(Self.tolerance)
                if !under, snapshot.time < limit {
                    latest[place] = clock.now
                } else {
                    highest = snapshot.time
                    highestPlace = place
                }
            }
        }
        // It was taken before the next one of Kairos's whose time is plausible. One of another host says nothing: its time is that
        // of the sender, before it was received.
        var next = clock.now
        for (place, snapshot) in ordered.enumerated().reversed() where snapshot.time <= clock.now {
            if latest[place] != nil {
                latest[place] = next
            } else if !snapshot.protections.contains(.foreign) {
                next = snapshot.time
            }
        }
    }
}
