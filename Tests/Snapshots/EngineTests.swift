import Datasets
import TestSupport
import Testing

@testable import Snapshots

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

let first = SnapshotName(time: Timestamp(milliseconds: 0))
private let zero = "kairos-1970-01-01T00.00.00.000Z"

func item(_ dataset: String, _ trigger: SnapshotTrigger? = nil, _ changes: ChangeCounts = [:])
    -> SnapshotRequest.Item
{
    let properties = trigger.map { SnapshotProperties(trigger: $0, changes: changes).properties }
    return SnapshotRequest.Item(dataset: dataset, properties: properties ?? [])
}

extension SnapshotResult {
    var taken: TakenSnapshot? { try? outcome.get() }
    var error: SnapshotError? {
        if case .failure(let error) = outcome { error } else { nil }
    }
    var kind: ZFSError.Kind? {
        if case .command(let error) = error { error.kind } else { nil }
    }
}

@Suite struct CommandEngineTests {
    @Test func oneDataset() async throws {
        let fake = try FakeZFS()
        let engine = CommandEngine(fake.command(), flavour: .fuse)
        let results = try await engine.snapshot(
            SnapshotRequest(items: [item("tank/sp ace", .quiet, [.create: 3, .write: 12])], name: first)
        )
        #expect(results.count == 1)
        #expect(results[0].taken?.name == first)
        #expect(results[0].taken?.groupSize == 1)
        #expect(results[0].taken?.warnings == [])
        #expect(
            try fake.calls() == [
                [
                    "zfs", "snapshot", "-o", "kairos:trigger=quiet", "-o", "kairos:changes=create=3 write=12",
                    "tank/sp ace@\(zero)",
                ]
            ]
        )
    }

    @Test func fuseTakesOneACall() async throws {
        let fake = try FakeZFS()
        let engine = CommandEngine(fake.command(), flavour: .fuse)
        let results = try await engine.snapshot(SnapshotRequest(items: [item("t/a"), item("t/b")], name: first))
        #expect(results.map { $0.taken?.name } == [first, first])
        #expect(try fake.calls() == [["zfs", "snapshot", "t/a@\(zero)"], ["zfs", "snapshot", "t/b@\(zero)"]])
    }

    @Test func groupsOfPools() async throws {
        let fake = try FakeZFS()
        let engine = CommandEngine(fake.command(), flavour: .kernel)
        let results = try await engine.snapshot(
            SnapshotRequest(
                items: [
                    item("t/a", .quiet, [.write: 1]), item("u", .stop), item("t/b", .quiet, [.write: 2]),
                    item("t/c", .quiet),
                ],
                name: first
            )
        )
        #expect(results.map(\.dataset) == ["t/a", "u", "t/b", "t/c"])
        #expect(results.map { $0.taken?.groupSize } == [3, 1, 3, 3])
        #expect(
            try fake.calls() == [
                [
                    "zfs", "snapshot", "-o", "kairos:trigger=quiet", "-o", "kairos:group=3", "t/a@\(zero)",
                    "t/b@\(zero)",
                    "t/c@\(zero)",
                ],
                ["zfs", "set", "kairos:changes=write=1", "t/a@\(zero)"],
                ["zfs", "set", "kairos:changes=write=2", "t/b@\(zero)"],
                ["zfs", "snapshot", "-o", "kairos:trigger=stop", "u@\(zero)"],
            ]
        )
    }

    @Test func differentTriggersAndAFailedSet() async throws {
        let fake = try FakeZFS()
        try fake.answer(call: 2, "echo \"cannot set property for 't/a@x': permission denied\" >&2; exit 1")
        let engine = CommandEngine(fake.command(), flavour: .kernel)
        let results = try await engine.snapshot(
            SnapshotRequest(items: [item("t/a", .quiet), item("t/b", .commit, [.rename: 1])], name: first)
        )
        #expect(results.map { $0.taken?.warnings.map(\.kind) } == [[.permission], []])
        #expect(
            try fake.calls() == [
                [
                    "zfs", "snapshot", "-o", "kairos:trigger=group", "-o", "kairos:group=2", "t/a@\(zero)",
                    "t/b@\(zero)",
                ],
                ["zfs", "set", "kairos:trigger=quiet", "t/a@\(zero)"],
                ["zfs", "set", "kairos:trigger=commit", "kairos:changes=rename=1", "t/b@\(zero)"],
            ]
        )
    }

    @Test func groupThenAlone() async throws {
        let fake = try FakeZFS()
        let missing = "echo \"cannot open 't/b': dataset does not exist\" >&2; exit 1"
        try fake.answer(call: 1, missing)
        try fake.answer(call: 3, missing)
        let engine = CommandEngine(fake.command(), flavour: .kernel)
        let results = try await engine.snapshot(
            SnapshotRequest(
                items: [item("t/a", .quiet, [.write: 1]), item("t/b", .quiet), item("t/c", .quiet)], name: first)
        )
        #expect(results.map { $0.taken?.name } == [first, nil, first])
        #expect(results.map { $0.taken?.groupSize } == [1, nil, 1])
        #expect(results[1].kind == .datasetMissing)
        #expect(
            try fake.calls().dropFirst() == [
                ["zfs", "snapshot", "-o", "kairos:trigger=quiet", "-o", "kairos:changes=write=1", "t/a@\(zero)"],
                ["zfs", "snapshot", "-o", "kairos:trigger=quiet", "t/b@\(zero)"],
                ["zfs", "snapshot", "-o", "kairos:trigger=quiet", "t/c@\(zero)"],
            ]
        )
    }

    @Test(arguments: [
        "echo \"cannot create snapshots : pool I/O is currently suspended\" >&2; exit 1",
        "exec sleep 60",
    ])
    func aPoolThatIsIllIsNotAskedAgain(answer: String) async throws {
        let fake = try FakeZFS()
        try fake.answer(answer)
        let engine = CommandEngine(fake.command(), flavour: .kernel, timeLimit: .milliseconds(300))
        let results = try await engine.snapshot(SnapshotRequest(items: [item("t/a"), item("t/b")], name: first))
        #expect(results.allSatisfy { $0.kind == .poolSuspended || $0.kind == .timedOut })
        #expect(try fake.calls().count == 1)
    }

    @Test func takenNames() async throws {
        let fake = try FakeZFS()
        let exists = "echo \"cannot create snapshot 't/a@x': dataset already exists\" >&2; exit 1"
        try fake.answer(call: 1, exists)
        try fake.answer(call: 2, exists)
        let engine = CommandEngine(fake.command(), flavour: .kernel)
        let results = try await engine.snapshot(SnapshotRequest(items: [item("t/a"), item("t/b")], name: first))
        #expect(results.map { $0.taken?.name.time.milliseconds } == [2, 2])
        #expect(
            try fake.calls().map { $0.suffix(2).map { String($0.suffix(4)) } } == [
                ["000Z", "000Z"], ["001Z", "001Z"], ["002Z", "002Z"],
            ])

        try fake.answer(exists)
        let failed = try await engine.snapshot(SnapshotRequest(items: [item("t/a")], name: first))
        #expect(failed.map(\.error) == [.namesTaken(dataset: "t/a", first: first, tries: 5)])
        #expect(try fake.calls().count == 3 + 5)
    }

    @Test func hostileNamesAreNotRun() async throws {
        let fake = try FakeZFS()
        let engine = CommandEngine(fake.command(), flavour: .kernel)
        let names = [
            "t/$(id)", "-r", "t/a\0b", "t/a@b", "t/\u{1B}", "", String(repeating: "t", count: 250), "t/ok", "t/ok",
        ]
        let results = try await engine.snapshot(SnapshotRequest(items: names.map { item($0) }, name: first))
        #expect(results.map(\.dataset) == names)
        #expect(results.filter { $0.taken != nil }.map(\.dataset) == ["t/ok"])
        #expect(results.last?.error == .duplicate(dataset: "t/ok"))
        for error in results.compactMap(\.error) {
            #expect(error.description.unicodeScalars.allSatisfy(SafeText.isPrintable))
        }
        #expect(try fake.calls() == [["zfs", "snapshot", "t/ok@\(zero)"]])
        #expect(try await engine.snapshot(SnapshotRequest(items: [], name: first)).isEmpty)
    }

    @Test func valuesAreArgumentsAndNothingElse() async throws {
        let fake = try FakeZFS()
        let property = try #require(SnapshotProperty(name: "kairos:note", value: "$(id); 'x' \"y\" \n`z`"))
        let engine = CommandEngine(fake.command(), flavour: .fuse)
        let items = [SnapshotRequest.Item(dataset: "t", properties: [property])]
        _ = try await engine.snapshot(SnapshotRequest(items: items, name: first))
        #expect(try fake.calls() == [["zfs", "snapshot", "-o", #"kairos:note=$(id); 'x' "y" \u{A}`z`"#, "t@\(zero)"]])
    }

    @Test func noCommandIsThrown() async throws {
        let engine = CommandEngine(ZFSCommand(zfs: "/nonexistent/zfs"), flavour: .kernel)
        await #expect(throws: SnapshotError.self) {
            try await engine.snapshot(SnapshotRequest(items: [item("t/a"), item("t/b")], name: first))
        }
    }

    @Test func dryRun() async throws {
        let engine: any SnapshotEngine = DryRunEngine()
        let results = try await engine.snapshot(
            SnapshotRequest(items: [item("t/a"), item("t/a"), item("/")], name: first))
        #expect(results.map { $0.taken?.dryRun } == [true, nil, nil])
    }
}

/// Against a real pool: of KAIROS_TEST_DATASET=tank/helper it makes and destroys the file system `tank/helper-engine`.
@Suite(.enabled(if: getenv("KAIROS_TEST_DATASET") != nil)) struct LiveEngineTests {
    @Test func snapshotsCarryTheirProperties() async throws {
        let dataset = String(cString: try #require(getenv("KAIROS_TEST_DATASET"))) + "-engine"
        let command = try ZFSCommand.find()
        try await command.run(["create", dataset])
        let properties = SnapshotProperties(trigger: .quiet, changes: [.write: 2], firstChange: .earliest)
        let request = SnapshotRequest(items: [.init(dataset: dataset, properties: properties.properties)], name: first)
        let engine = CommandEngine(command, flavour: .fuse)
        let results = try await [engine.snapshot(request), engine.snapshot(request)].flatMap { $0 }
        let names = ["kairos:trigger", "kairos:changes", "kairos:first-change", "kairos:last-change"]
        let full = dataset + "@" + first.next.text
        let values = try await DatasetCatalog(command).properties(names, of: [full])
        // zfs-fuse may call a dataset busy for a moment after it was mounted.
        for _ in 0..<150 where (try? await command.run(["destroy", "-r", dataset])) == nil {
            try await Task.sleep(for: .milliseconds(100))
        }
        #expect(results.map { $0.taken?.name } == [first, first.next])
        let own = try #require(values[full]).filter { $0.value.isSet }.mapValues(\.value)
        #expect(SnapshotProperties(reading: own) == properties)
    }
}
