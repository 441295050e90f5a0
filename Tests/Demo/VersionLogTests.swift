import TestSupport
import Testing

@testable import Demo

@Suite("Versions that the demo's workload leaves")
struct VersionLogTests {
    private func log(_ notes: [(UInt64, String, String?)]) -> VersionLog {
        var log = VersionLog()
        log.add(notes.map { WorkloadNote(time: $0.0, file: $0.1, content: $0.2) }, dataset: "docs")
        return log
    }

    @Test("A version ends where the next of its file begins, and others go on")
    func overwritten() {
        let log = log([(10, "a", "1"), (20, "b", "1"), (30, "a", "2")])
        #expect(log.versions.map(\.to) == [30, nil, nil])
        #expect(log.versions[0].exists(at: 10) && log.versions[0].exists(at: 29))
        #expect(!log.versions[0].exists(at: 9) && !log.versions[0].exists(at: 30))
    }

    @Test("A deleted file ends, a renamed one goes on by another name")
    func deletedAndRenamed() {
        let log = log([(10, "a", "1"), (20, "a", nil), (20, "b", "1"), (30, "b", nil)])
        #expect(log.versions.map(\.file) == ["a", "b"])
        #expect(log.versions.map(\.to) == [20, 30])
    }

    @Test("The same name in another dataset is another file")
    func datasets() {
        var log = log([(10, "a", "1")])
        log.add([WorkloadNote(time: 20, file: "a", content: nil)], dataset: "photos")
        #expect(log.versions.map(\.to) == [nil])
    }

    @Test("A snapshot is that of the versions that were new then")
    func captured() {
        var log = log([(10, "a", "1"), (10, "b", "1")])
        log.captured(dataset: "docs", by: "s1")
        log.add([WorkloadNote(time: 20, file: "a", content: "2")], dataset: "docs")
        log.captured(dataset: "photos", by: "p1")
        log.captured(dataset: "docs", by: "s2")
        #expect(log.versions.map(\.snapshot) == ["s1", "s1", "s2"])
    }

    @Test("Cron's best tick is the first moment at which most versions exist")
    func bestTick() {
        // a1 [10, 40), b1 [20, 30), c1 [25, ), a2 [40, )
        let best = log([(10, "a", "1"), (20, "b", "1"), (25, "c", "1"), (30, "b", nil), (40, "a", "2")]).bestTick()
        #expect(best.time == 25)
        #expect(best.versions == 3)
        #expect(VersionLog().bestTick().versions == 0)
    }

    @Test("No tick at any time has more than the best one", arguments: TestSeeds.of(1))
    func bestTickIsBest(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        for _ in 0..<200 {
            var log = VersionLog()
            for time in 1..<30 {
                let content = Bool.random(using: &generator) ? "\(time)" : nil
                let file = String(Int.random(in: 0..<4, using: &generator))
                log.add([WorkloadNote(time: UInt64(time), file: file, content: content)], dataset: "docs")
            }
            let most = (0..<40).map { time in log.versions.count { $0.exists(at: UInt64(time)) } }.max()
            let best = log.bestTick()
            #expect(best.versions == most)
            #expect(log.versions.count { $0.exists(at: best.time) } == most)
        }
    }
}

@Suite("What the demo claims, against what was read")
struct EvidenceTests {
    private static let versions = [
        Version(dataset: "docs", file: "a", content: "1", from: 10, to: 20, snapshot: "s1"),
        Version(dataset: "docs", file: "a", content: "2", from: 20, snapshot: "s2"),
    ]
    private static let good = Evidence(
        snapshots: [
            "docs": [
                Evidence.Content(snapshot: "s1", files: ["a": Array("1".utf8)]),
                Evidence.Content(snapshot: "s2", files: ["a": Array("2".utf8)]),
            ]
        ],
        live: ["docs": ["a": Array("2".utf8)]])
    private static let reported = ["docs": ["s1", "s2"]]

    private func problems(_ change: (inout Evidence) -> Void) -> [String] {
        var evidence = Self.good
        change(&evidence)
        return evidence.problems(versions: Self.versions, reported: Self.reported)
    }

    @Test("All as claimed: no problem")
    func good() { #expect(problems { _ in } == []) }

    @Test("A version that no snapshot has, or only another one than the one after it")
    func lost() {
        #expect(problems { $0.snapshots["docs"]?[0].files["a"] = Array("0".utf8) }.count == 1)
        #expect(problems { $0.snapshots["docs"]?[0].files["a"] = nil }.count == 1)
        var evidence = Self.good
        evidence.snapshots["docs"]?.swapAt(0, 1)
        var moved = Self.versions
        moved[0].snapshot = "s2"
        #expect(!evidence.holds(moved[0]))
    }

    @Test("Files that differ from the newest snapshot")
    func stale() { #expect(problems { $0.live["docs"] = ["a": Array("3".utf8)] }.count == 1) }

    @Test("A snapshot equal to the one before it")
    func empty() {
        let found = problems {
            $0.snapshots["docs"]?.append(Evidence.Content(snapshot: "s3", files: ["a": Array("2".utf8)]))
        }
        // It was not reported either.
        #expect(found.count == 2)
        #expect(found.contains { $0.contains("docs@s3 holds nothing") })
    }

    @Test("A dataset without any snapshot")
    func none() { #expect(problems { $0.snapshots = [:] }.count == 4) }
}
