import CBPFObjects
import Policy
import Snapshots
import Testing

@testable import Daemon
@testable import Demo
@testable import Tracing

@Suite("What a step of the demo waits for")
struct AwaitedTests {
    private static let dataset = "kairos-demo-1/docs"

    private func change(_ operation: Operations, _ paths: String..., dataset: String = dataset) throws -> DaemonEvent {
        var raw = kairos_record()
        raw.kind = KAIROS_RECORD_CHANGE.rawValue
        raw.op = operation.rawValue
        let record = withUnsafeBytes(of: &raw) { Record($0.bytes) }
        return .change(
            ChangeReport(
                dataset: dataset, paths: paths.map { Array($0.utf8) }, record: try #require(record)))
    }

    private func snapshot(_ name: String, dataset: String = dataset) -> DaemonEvent {
        .snapshot(
            SnapshotReport(
                dataset: dataset, isVolume: false, name: name, trigger: .quiet, changes: ChangeSummary(), calls: 1,
                time: (0, 0), window: nil,
                engineTime: .zero, isDryRun: false, failuresBefore: 0))
    }

    private func status(atRisk: [String] = [], busy: [String] = []) -> DaemonEvent {
        .status(DaemonEvent.Status(watched: 2, atRisk: atRisk, busy: busy, failing: [], snapshots: 1))
    }

    private func done(after events: [DaemonEvent]) -> String? {
        var awaited = Awaited([ExpectedChange(.write, "a"), ExpectedChange(.rename, "b")], dataset: Self.dataset)
        for event in events { awaited.take(event) }
        return awaited.isDone ? awaited.snapshot : nil
    }

    @Test("Changes, then their snapshot, then rest")
    func done() throws {
        #expect(try done(after: [change(.write, "a"), change(.rename, "x", "b"), snapshot("s1"), status()]) == "s1")
    }

    @Test("Not before each change was told, nor by the snapshot of another dataset")
    func notYet() throws {
        #expect(try done(after: [change(.write, "a"), snapshot("s1"), status()]) == nil)
        #expect(try done(after: [change(.write, "a"), change(.rename, "b", "x"), snapshot("s1"), status()]) == nil)
        let other = "kairos-demo-1/photos"
        let changes = [try change(.write, "a"), try change(.rename, "x", "b")]
        #expect(done(after: changes + [snapshot("s1", dataset: other), status()]) == nil)
        #expect(try done(after: [change(.write, "a", dataset: other), changes[1], snapshot("s1"), status()]) == nil)
    }

    @Test("A step that falls into two snapshots is in the second one")
    func twoSnapshots() throws {
        let late = [
            try change(.write, "a"), status(atRisk: [Self.dataset]), snapshot("s1"), status(),
            try change(.rename, "x", "b"),
            status(atRisk: [Self.dataset]),
        ]
        #expect(done(after: late) == nil)
        #expect(done(after: late + [snapshot("s2"), status()]) == "s2")
        // The last change came while the first snapshot was being taken.
        let during = [
            try change(.write, "a"), try change(.rename, "x", "b"), status(atRisk: [Self.dataset]), snapshot("s1"),
        ]
        #expect(done(after: during) == nil)
        #expect(done(after: during + [status(atRisk: [Self.dataset])]) == nil)
        #expect(done(after: during + [status(atRisk: [Self.dataset]), snapshot("s2"), status()]) == "s2")
    }
}
