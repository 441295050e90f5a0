/// A snapshot, as far as its keeping goes.
public struct RetainedSnapshot: Sendable, Hashable {
    /// Why nothing may destroy it, whatever the rule says.
    public enum Protection: String, Sendable, Hashable, CaseIterable, Comparable {
        /// Kairos did not make it: name and property do not agree.
        case foreign
        /// `zfs hold`.
        case held
        /// A clone depends on it.
        case cloned
        /// A bookmark of it is there: somebody replicates from it.
        case bookmarked
        /// Its properties could not be read.
        case unknown

        public static func < (lhs: Self, rhs: Self) -> Bool { lhs.rawValue < rhs.rawValue }
    }

    /// After the `@`.
    public var name: String
    /// When it was taken, nanoseconds since 1970.
    public var time: Int64
    /// ZFS's own order.
    public var createtxg: UInt64
    /// Its own for ever: another snapshot of the same name has another one. 0: not known.
    public var guid: UInt64
    public var protections: Set<Protection>

    public init(name: String, time: Int64, createtxg: UInt64, guid: UInt64 = 0, protections: Set<Protection> = []) {
        self.name = name
        self.time = time
        self.createtxg = createtxg
        self.guid = guid
        self.protections = protections
    }
}

/// What becomes of each snapshot of one dataset, and why.
public struct RetentionPlan: Sendable, Hashable {
    public enum Verdict: Sendable, Hashable {
        case protected([RetainedSnapshot.Protection])
        /// The newest of all, or of Kairos's own: what replication and the next comparison go by, and the newest state that nobody
        /// else can take away.
        case newest
        /// The clock calls its time the future.
        case future
        /// The clock was behind when it was taken, and it may be young enough for the rule's first tier.
        case uncertain
        /// Its time shows that the clock was behind when others were taken, which stay.
        case witness
        /// A tier of the rule, by its place; and the boundary of which it is the state, nanoseconds since 1970, nil where all are kept.
        case rule(tier: Int, boundary: Int64?)
        case destroy
        /// The rule keeps it, but the room is wanted: `kairos:min-free`. The tier's place.
        case room(tier: Int)

        public var isKept: Bool {
            switch self {
            case .destroy, .room: false
            case .protected, .newest, .future, .uncertain, .witness, .rule: true
            }
        }
    }

    /// In ZFS's order, the oldest first.
    public let verdicts: [(snapshot: RetainedSnapshot, verdict: Verdict)]
    /// The places in `verdicts` of those that were taken while the clock was behind.
    let tooEarly: Set<Int>

    public var doomed: [RetainedSnapshot] { verdicts.filter { !$0.verdict.isKept }.map(\.snapshot) }

    public static func == (lhs: Self, rhs: Self) -> Bool {
        lhs.verdicts.elementsEqual(rhs.verdicts) { $0.snapshot == $1.snapshot && $0.verdict == $1.verdict }
    }

    public func hash(into hasher: inout Hasher) {
        for (snapshot, verdict) in verdicts {
            hasher.combine(snapshot)
            hasher.combine(verdict)
        }
    }

    /// What may go before its time when room is wanted, the oldest first: all that the rule keeps beyond its first tier, which is the floor.
    public var spare: [RetainedSnapshot] {
        verdicts.filter { if case .rule(let tier, _) = $0.verdict { tier > 0 } else { false } }.map(\.snapshot)
            .sorted { ($0.time, $0.createtxg) < ($1.time, $1.createtxg) }
    }

    /// The same plan, without these.
    func giving(up names: Set<String>) -> RetentionPlan {
        RetentionPlan(
            verdicts: verdicts.map { snapshot, verdict in
                guard names.contains(snapshot.name), case .rule(let tier, _) = verdict else {
                    return (snapshot, verdict)
                }
                return (snapshot, .room(tier: tier))
            }, tooEarly: tooEarly)
    }

    private init(verdicts: [(snapshot: RetainedSnapshot, verdict: Verdict)], tooEarly: Set<Int>) {
        self.verdicts = verdicts
        self.tooEarly = tooEarly
    }

    /// Boundaries lie at whole steps from Monday, 5 January 1970, 00:00 UTC: days begin at midnight, weeks on Mondays.
    static let origin: Int64 = 4 * 86_400_000_000_000

    public init(_ snapshots: [RetainedSnapshot], rule: RetentionRule, clock: RetentionClock) {
        let ordered = snapshots.sorted { ($0.createtxg, $0.time, $0.name) < ($1.createtxg, $1.time, $1.name) }
        // Snapshots of other programs fill no slot: those programs may destroy them at any time.
        let ours = ordered.indices.filter {
            !ordered[$0].protections.contains(.foreign) && ordered[$0].time <= clock.now
        }
        let chronology = Chronology(ordered, clock: clock)
        let certain = ours.filter { chronology.latest[$0] == nil }
        // A time that is too early must not take another snapshot's slot. It may also be right, if the clock was ahead
        // before.
        var kept = Self.kept(certain, of: ordered, by: rule, clock)
        if certain.count < ours.count {
            kept.merge(Self.kept(ours, of: ordered, by: rule, clock)) { first, _ in first }
            let cutoff = clock.cutoff(rule.tiers[0])
            for place in ours {
                guard let latest = chronology.latest[place], latest >= cutoff else { continue }
                if case .rule(tier: 0, _) = kept[place] { continue }
                kept[place] = .uncertain
            }
        }
        // Another program may destroy its own snapshot at any moment.
        let newestOfOurs = ours.max()
        var verdicts: [(snapshot: RetainedSnapshot, verdict: Verdict)] = ordered.enumerated().map { index, snapshot in
            if !snapshot.protections.isEmpty { return (snapshot, .protected(snapshot.protections.sorted())) }
            if index == ordered.count - 1 || index == newestOfOurs { return (snapshot, .newest) }
            if snapshot.time > clock.now { return (snapshot, .future) }
            return (snapshot, kept[index] ?? .destroy)
        }
        // Without it the next plan would take the times of the others as they are.
        for (place, witness) in chronology.proof
        where verdicts[place].verdict.isKept && verdicts[witness].verdict == .destroy {
            verdicts[witness].verdict = .witness
        }
        self.init(verdicts: verdicts, tooEarly: Set(chronology.latest.keys))
    }

    /// Slots go by time.
    private static func kept(
        _ places: [Int], of ordered: [RetainedSnapshot], by rule: RetentionRule, _ clock: RetentionClock
    ) -> [Int: Verdict] {
        let places = places.sorted { (ordered[$0].time, $0) < (ordered[$1].time, $1) }
        var kept: [Int: Verdict] = [:]
        for (number, tier) in rule.tiers.enumerated() {
            let cutoff = clock.cutoff(tier)
            for (position, index) in places.enumerated() where kept[index] == nil {
                let time = ordered[index].time
                guard let step = tier.step?.clampedNanoseconds else {
                    if time >= cutoff { kept[index] = .rule(tier: number, boundary: nil) }
                    continue
                }
                // It is the state of each boundary from its own time on, until the next one's.
                let next = position + 1 < places.count ? ordered[places[position + 1]].time : nil
                guard let boundary = boundary(atOrAfter: max(time, cutoff), step), boundary <= clock.now,
                    next.map({ boundary < $0 }) ?? true
                else { continue }
                kept[index] = .rule(tier: number, boundary: boundary)
            }
        }
        return kept
    }

    /// Nil behind the end of time.
    private static func boundary(atOrAfter time: Int64, _ step: Int64) -> Int64? {
        // Before 1970 there was no ZFS, and a cut-off may be the beginning of time.
        let from = max(time, 0)
        let (since, under) = from.subtractingReportingOverflow(origin)
        guard !under else { return nil }
        let remainder = ((since % step) + step) % step
        let (boundary, over) = from.addingReportingOverflow(remainder == 0 ? 0 : step - remainder)
        return over ? nil : boundary
    }
}

extension Duration {
    /// Nanoseconds, the nearest that there are.
    var clampedNanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, over) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        guard !over else { return seconds < 0 ? .min : .max }
        let (sum, overSum) = product.addingReportingOverflow(attoseconds / 1_000_000_000)
        return overSum ? (seconds < 0 ? .min : .max) : sum
    }
}
