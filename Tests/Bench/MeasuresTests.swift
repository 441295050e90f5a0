import Testing
import Tracing

@testable import Bench

@Suite("What is measured")
struct MeasuresTests {
    @Test("by hand: two snapshots, three changes")
    func byHand() {
        let day = history([change(1, 100), change(2, 10), change(9, 1000)], to: 12)
        let taken = [(3.0, 3.5), (5.0, 5.5), (10.0, 11.0)].map { TakenAt(captured: seconds($0), finished: seconds($1)) }
        let measured = Measures(of: day, taken)
        #expect(measured.snapshots == 3)
        #expect(measured.empty == 1)
        #expect(measured.windows == [seconds(1.5), seconds(2), seconds(2.5)])
        // 100 bytes for 2.5 s, 10 for 1.5 s, 1000 for 2 s.
        #expect(measured.byteSeconds == 2265)
        #expect(measured.meanAtRisk == measured.byteSeconds / 12)
        #expect(measured.window(quantile: 0.5) == seconds(2))
        #expect(measured.window(quantile: 0.95) == seconds(2.5))
        #expect(measured.window(quantile: 0) == seconds(1.5))
    }

    @Test("what comes into no snapshot is at risk to the end, and counted")
    func uncaptured() {
        let measured = Measures(of: history([change(1, 100), change(2, 10)], to: 12), [])
        #expect(measured.uncaptured == 2)
        #expect(measured.byteSeconds == 1200)
    }

    @Test("risk is counted up to the history's end, for all alike")
    func end() {
        let day = history([change(10, 100)], to: 12)
        let measured = Measures(of: day, [TakenAt(captured: seconds(60), finished: seconds(61))])
        #expect(measured.byteSeconds == 200)
        #expect(measured.windows == [seconds(51)])
    }

    @Test("a version counts when it rested, and is kept when a snapshot falls into its time")
    func versions() {
        typealias Version = DatasetHistory.Version
        let versions = [
            Version(born: seconds(1), ended: seconds(1.5), end: .modified),  // did not rest
            Version(born: seconds(1.5), ended: seconds(4), end: .modified),  // rested, kept
            Version(born: seconds(4), ended: seconds(6), end: .modified),  // rested, lost
            Version(born: seconds(6), ended: seconds(6.1), end: .deleted),  // deleted, lost
            Version(born: seconds(2.9), ended: seconds(3.1), end: .deleted),  // deleted, kept
            Version(born: seconds(11.5), ended: seconds(12), end: .open),
            Version(born: seconds(7), ended: seconds(12), end: .open),  // rested, kept by the last
        ]
        let day = history([change(1)], to: 12, versions: versions)
        let taken = [3.0, 13.0].map { TakenAt(captured: seconds($0), finished: seconds($0)) }
        let measured = Measures(of: day, taken)
        #expect((measured.versions, measured.versionsCaptured) == (3, 2))
        #expect((measured.deleted, measured.deletedCaptured) == (2, 1))
    }

    @Test("of several datasets, together")
    func sum() {
        let taken = [TakenAt(captured: seconds(3), finished: seconds(3))]
        let one = Measures(of: history([change(1, 100)], to: 10), taken)
        let two = Measures(of: history([change(2.5, 10)], to: 10), taken)
        let both = Measures.sum([one, two])
        #expect(both.snapshots == 2)
        #expect(both.windows == [seconds(0.5), seconds(2)])
        #expect(both.byteSeconds == 205)
        #expect(both.meanAtRisk == 20.5)
    }
}

@Suite("Histories of a trace")
struct HistoryTests {
    private func history(_ events: [TraceFacts], to end: Double = 10) -> DatasetHistory? {
        var builder = HistoryBuilder()
        for event in events { builder.take(event) }
        return builder.histories(from: 0, to: seconds(end)).first
    }

    private func event(
        _ time: Double, _ operation: Operations, _ path: String?, from old: String? = nil, _ bytes: UInt64 = 0,
        isDirectory: Bool = false, isUnlinked: Bool = false, failed: Bool = false, place: String = "tank"
    ) -> TraceFacts {
        TraceFacts(
            time: seconds(time), operation: operation, place: Array(place.utf8), path: path.map { Array($0.utf8) },
            oldPath: old.map { Array($0.utf8) }, bytes: bytes, isDirectory: isDirectory, isUnlinked: isUnlinked,
            failed: failed)
    }

    private func version(_ born: Double, _ ended: Double, _ end: DatasetHistory.Version.End) -> DatasetHistory.Version {
        DatasetHistory.Version(born: seconds(born), ended: seconds(ended), end: end)
    }

    @Test("a save by a temporary file ends the old version, and moves the new one to its name")
    func save() {
        let day = history([
            event(1, .create, "/a"), event(1, .write, "/a", 5), event(3, .create, "/a.tmp"),
            event(3.5, .write, "/a.tmp", 7), event(4, .rename, "/a", from: "/a.tmp"), event(6, .write, "/a", 8),
            event(8, .unlink, "/a"),
        ])
        #expect(
            day?.versions == [
                version(1, 4, .deleted), version(3, 3.5, .modified), version(3.5, 6, .modified),
                version(6, 8, .deleted),
            ])
        #expect(day?.changes.map(\.bytes) == [0, 5, 0, 7, 0, 8, 0])
        #expect(day?.changes.map(\.commit) == [false, false, false, false, true, false, true])
    }

    @Test("a directory that is renamed takes its files along", arguments: [true, false])
    func directories(isKnown: Bool) {
        let day = history([
            event(1, .write, "/d/a", 1), event(2, .write, "/dd", 1),
            event(3, .rename, "/e", from: "/d", isDirectory: isKnown), event(4, .write, "/e/a", 1),
            event(5, .unlink, "/dd"), event(6, .unlink, "/d/a"),
        ])
        #expect(day?.versions == [version(1, 4, .modified), version(2, 5, .deleted), version(4, 10, .open)])
    }

    @Test("what failed, or was done to a file without a name, is no change; a close is a commit point")
    func noChange() {
        let day = history([
            event(1, .write, "/a", 3), event(2, .unlink, "/a", failed: true), event(3, .close, "/a"),
            event(4, .write, "/a", 9, isUnlinked: true), event(5, .map, "/a", 4096), event(6, .store, "/a"),
        ])
        #expect(day?.changes.map(\.bytes) == [3, 4096])
        #expect(day?.commits == [seconds(3)])
        #expect(day?.versions == [version(1, 6, .modified), version(6, 10, .open)])
    }

    @Test("each dataset has its own, all from the first event to the last")
    func places() {
        var builder = HistoryBuilder()
        builder.take(event(5, .mkdir, nil, place: "tank/b"))
        builder.take(event(2, .mkdir, nil, place: "tank/a"))
        let all = builder.histories()
        #expect(all.map(\.name) == ["tank/a", "tank/b"])
        #expect(all.allSatisfy { $0.start == seconds(2) && $0.end == seconds(5) && $0.changes.count == 1 })
    }
}
