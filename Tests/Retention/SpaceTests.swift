import Datasets
import TestSupport
import Testing

@testable import Retention

@Suite("Room")
struct SpaceTests {
    @Test("sizes and shares are read, and nothing else")
    func parsing() {
        #expect(MinFree(parsing: "none") == .bytes(0))
        #expect(MinFree(parsing: "4096") == .bytes(4096))
        #expect(MinFree(parsing: "20G") == .bytes(20 << 30))
        #expect(MinFree(parsing: "1.5T") == .bytes(3 << 39))
        #expect(MinFree(parsing: "10%") == .percent(10))
        for text in [
            "", "G", "%", "-1G", "1e3", "10%G", "95%", "9999999P", "1..5G", "0x10", "1 G", "999999999999999999999",
        ] {
            #expect(MinFree(parsing: text) == nil, "\(text)")
        }
    }

    @Test("figures of any size are added up")
    func large() async throws {
        #expect(!SpacePressure(wanted: .max - 1, available: .max, reclaimed: .max).isShort)
        #expect(SpacePressure(wanted: .max, available: 1, reclaimed: .max - 2).isShort)
        let zfs = try FakeZFS()
        try zfs.answer(
            """
            case "$*" in
            *freeing*) echo 18446744073709551615;;
            *used,available*) printf '18446744073709551615\\n18446744073709551615\\n';;
            *available*) echo 18446744073709551615;;
            *) exit 9;;
            esac
            """)
        let retention = try retention()
        let plan = try await SnapshotCatalog(zfs.command()).making(room: .percent(90), retention)
        #expect(plan == retention)
    }

    private let names = (0..<8).map { "kairos-2026-01-0\($0 + 1)T00.00.00.000Z" }
    private let day: Int64 = 86_400_000_000_000

    /// Eight days' snapshots by a rule that keeps them all; each gives back 10 bytes, those of the plan before it, too.
    private func retention() throws -> DatasetRetention {
        let rule = try RetentionRule(parsing: "1d=all,30d=1d")
        let now = 20_600 * day
        let snapshots = names.enumerated().map {
            RetainedSnapshot(
                name: $1, time: now - Int64(8 - $0) * day + 1, createtxg: UInt64($0 + 1), guid: UInt64($0 + 1))
        }
        let clock = RetentionClock(now: now, times: snapshots.map(\.time))
        return DatasetRetention(
            dataset: "tank/a", guid: 7, rule: rule, isDefault: false,
            plan: RetentionPlan(snapshots, rule: rule, clock: clock))
    }

    private func fake(free: Int) throws -> FakeZFS {
        let zfs = try FakeZFS()
        try zfs.answer(
            """
            case "$*" in
            *freeing*) echo 5;;
            *used,available*) printf '600\\n400\\n';;
            *available*) echo \(free - 5);;
            destroy*-n*) n=$(echo "$*" | tr -cd , | wc -c); printf 'destroy\\tx\\nreclaim\\t%s\\n' $(((n + 1) * 10));;
            *) exit 9;;
            esac
            """)
        return zfs
    }

    @Test("as few as are enough, the oldest first; the first tier and the newest stay")
    func fewest() async throws {
        let retention = try retention()
        #expect(retention.plan.doomed.isEmpty)
        let spare = retention.plan.spare.map(\.name)
        #expect(spare == Array(names.prefix(spare.count)) && spare.count >= 6 && !spare.contains(names[7]))
        for (free, wanted, gone, isShort) in [
            (100, MinFree.bytes(100), 0, false), (100, .bytes(101), 1, false), (100, .bytes(130), 3, false),
            (100, .bytes(131), 4, false), (100, .bytes(10_000), spare.count, true), (100, .percent(12), 2, false),
            (100, .bytes(0), 0, false),
        ] {
            let zfs = try fake(free: free)
            let result = try await SnapshotCatalog(zfs.command()).making(room: wanted, retention)
            #expect(result.plan.doomed.map(\.name) == Array(spare.prefix(gone)), "\(wanted)")
            #expect((result.pressure?.isShort ?? false) == isShort, "\(wanted)")
            // Nothing is destroyed by looking.
            #expect(try zfs.calls().allSatisfy { $0[1] != "destroy" || $0.contains("-n") })
        }
    }

    @Test("a ZFS without the estimate gives nothing up")
    func old() async throws {
        let zfs = try FakeZFS()
        try zfs.answer(
            "case \"$*\" in destroy*) echo \"invalid option 'n'\" >&2; exit 2;; *used*) printf '1\\n1\\n';; *) echo 1;; esac"
        )
        let result = try await SnapshotCatalog(zfs.command()).making(room: .bytes(1000), retention())
        #expect(result.plan.doomed.isEmpty && result.pressure == nil)
    }
}
