import CFakeZFSCore
import CZFSCore
import Datasets
import Synchronization
import TestSupport
import Testing

@testable import Snapshots

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

private let zero = "kairos-1970-01-01T00.00.00.000Z"
private let one = "kairos-1970-01-01T00.00.00.001Z"

/// The fake libzfs_core as the engine sees it. One at a time: the suite is serialised.
private struct Fake {
    let engine: LibZFSCoreEngine
    let calls = PoolCalls()
    let zfs: FakeZFS

    init(timeLimit: Duration? = .seconds(20)) throws {
        fake_core_reset()
        zfs = try FakeZFS()
        engine = LibZFSCoreEngine(try Self.core(), calls, command: zfs.command(), timeLimit: timeLimit)
    }

    static func core() throws -> ZFSCore {
        var table = zfs_core()
        fake_core_fill(&table)
        return try ZFSCore(table, soname: "fake")
    }

    func answer(_ status: Int32, _ errors: [String: Int32]? = nil, hangs: Bool = false) {
        let text = errors.map { $0.map { "\($0.key)=\($0.value)" }.sorted().joined(separator: "\n") }
        if let text { fake_core_answer(status, text, hangs) } else { fake_core_answer(status, nil, hangs) }
    }

    func snapshot(_ items: [SnapshotRequest.Item]) async -> [SnapshotResult] {
        await engine.snapshot(SnapshotRequest(items: items, name: first))
    }

    /// Each call's lines: the snapshots, then the properties.
    var made: [[String]] {
        (0..<fake_core_calls()).map { index in
            String(cString: fake_core_call(index)).split(separator: "\n").map { String($0) }
        }
    }

    /// Until so many calls have begun.
    func begun(_ count: Int32) async throws {
        for _ in 0..<1000 where fake_core_calls() < count { try await Task.sleep(for: .milliseconds(5)) }
        try #require(fake_core_calls() >= count)
    }
}

@Suite(.serialized) struct LibZFSCoreEngineTests {
    @Test func groupsOfPools() async throws {
        let fake = try Fake()
        let results = await fake.snapshot([
            item("t/a", .quiet, [.write: 1]), item("u", .stop, [.create: 2]), item("t/sp ace", .quiet),
        ])
        #expect(results.map(\.dataset) == ["t/a", "u", "t/sp ace"])
        #expect(results.map { $0.taken?.groupSize } == [2, 1, 2])
        #expect(results.map { $0.taken?.name } == [first, first, first])
        #expect(
            fake.made == [
                ["t/a@\(zero)", "t/sp ace@\(zero)", "kairos:trigger=quiet", "kairos:group=2"],
                ["u@\(zero)", "kairos:trigger=stop", "kairos:changes=create=2"],
            ])
        // What differs is set by the command: the library has no call for it.
        #expect(try fake.zfs.calls() == [["zfs", "set", "kairos:changes=write=1", "t/a@\(zero)"]])
        #expect(fake_core_lists() == 0)
    }

    @Test func valuesGoInAsTheyAre() async throws {
        let fake = try Fake()
        let property = try #require(SnapshotProperty(name: "kairos:note", value: "$(id) = 'x' é"))
        _ = await fake.snapshot([SnapshotRequest.Item(dataset: "t", properties: [property])])
        #expect(fake.made == [["t@\(zero)", "kairos:note=$(id) = 'x' é"]])
    }

    @Test func hostileNamesAreNotAskedFor() async throws {
        let fake = try Fake()
        let names = ["t/a\0b", "t/a@b", "", String(repeating: "t", count: 250), "t/ok", "t/ok"]
        let results = await fake.snapshot(names.map { item($0) })
        #expect(results.map(\.dataset) == names)
        #expect(results.filter { $0.taken != nil }.map(\.dataset) == ["t/ok"])
        #expect(results.last?.error == .duplicate(dataset: "t/ok"))
        #expect(fake.made == [["t/ok@\(zero)"]])
        #expect(await fake.snapshot([]).isEmpty)
    }

    @Test(arguments: [
        (ENOENT, ZFSError.Kind.datasetMissing), (ENOSPC, .noSpace), (EDQUOT, .noSpace), (EPERM, .permission),
        (EACCES, .permission), (EBUSY, .busy), (ENAMETOOLONG, .invalidName), (EINVAL, .usage), (EXDEV, .usage),
        (ENOTSUP, .usage), (1029, .usage), (EAGAIN, .poolSuspended), (ESHUTDOWN, .poolSuspended), (ENXIO, .notRunning),
        (EIO, .other), (EROFS, .other), (ENOMEM, .other), (1024, .other),
    ])
    func errorsHaveTheCommandsKinds(number: Int32, kind: ZFSError.Kind) async throws {
        let fake = try Fake()
        fake.answer(number)
        let results = await fake.snapshot([item("t/a")])
        #expect(results.map(\.kind) == [kind])
        guard case .command(let error)? = results.first?.error else { return }
        #expect(error.exit == .errno(number))
        #expect(error.description.hasPrefix("lzc_snapshot t/a@\(zero): error \(number): "))
        #expect(error.description.unicodeScalars.allSatisfy(SafeText.isPrintable))
        #expect(fake.made.count == 1)
    }

    @Test func theOthersAreTriedAgainTogether() async throws {
        let fake = try Fake()
        fake.answer(ENOENT, ["t/b": ENOENT, "t/d": EBUSY])
        let results = await fake.snapshot(["t/a", "t/b", "t/c", "t/d"].map { item($0, .quiet) })
        #expect(results.map(\.kind) == [nil, .datasetMissing, nil, .busy])
        #expect(results.map { $0.taken?.groupSize } == [2, nil, 2, nil])
        #expect(
            fake.made.last == ["t/a@\(zero)", "t/c@\(zero)", "kairos:trigger=quiet", "kairos:group=2"])
        #expect(fake.made.count == 2)
        #expect(fake_core_lists() == 0)
    }

    @Test func anErrorOfNobodyIsLookedIntoOneByOne() async throws {
        let fake = try Fake()
        fake.answer(ENOSPC)
        fake.answer(0)
        fake.answer(ENOSPC, ["t/b": ENOSPC])
        let results = await fake.snapshot([item("t/a", .quiet, [.write: 1]), item("t/b", .quiet)])
        #expect(results.map(\.kind) == [nil, .noSpace])
        #expect(results.first?.taken?.groupSize == 1)
        #expect(fake.made[1] == ["t/a@\(zero)", "kairos:trigger=quiet", "kairos:changes=write=1"])
        #expect(fake.made.count == 3)
        #expect(try fake.zfs.calls().isEmpty)
    }

    @Test func aPoolThatIsIllIsNotAskedAgain() async throws {
        let fake = try Fake()
        fake.answer(EAGAIN)
        let results = await fake.snapshot([item("t/a"), item("t/b")])
        #expect(results.map(\.kind) == [.poolSuspended, .poolSuspended])
        #expect(fake.made.count == 1)
    }

    @Test func takenNames() async throws {
        let fake = try Fake()
        fake.answer(EEXIST, ["t/b": EEXIST])
        fake.answer(EEXIST)
        let results = await fake.snapshot([item("t/a"), item("t/b")])
        #expect(results.map { $0.taken?.name.time.milliseconds } == [2, 2])
        #expect(results.map { $0.taken?.groupSize } == [2, 2])
        #expect(fake.made.map { $0.filter { $0.hasSuffix(one) } }.map(\.count) == [0, 2, 0])
    }

    @Test func oneDatasetHasAllNames() async throws {
        let fake = try Fake()
        for _ in 0..<5 { fake.answer(EEXIST, ["t/b": EEXIST]) }
        let results = await fake.snapshot([item("t/a"), item("t/b"), item("t/c")])
        #expect(results.map(\.error) == [nil, .namesTaken(dataset: "t/b", first: first, tries: 5), nil])
        #expect(results.map { $0.taken?.name } == [first, nil, first])
        #expect(results.map { $0.taken?.groupSize } == [2, nil, 2])
        #expect(fake.made.count == 6)
    }

    @Test func missingAndTakenAtOnce() async throws {
        let fake = try Fake()
        fake.answer(EEXIST, ["t/a": EEXIST, "t/b": ENOENT])
        let results = await fake.snapshot([item("t/a"), item("t/b")])
        #expect(results.map { $0.taken?.name } == [first.next, nil])
        #expect(results.map(\.kind) == [nil, .datasetMissing])
        #expect(fake.made.last == ["t/a@\(one)"])
    }

    @Test func aFailedSetIsAWarning() async throws {
        let fake = try Fake()
        try fake.zfs.answer("echo \"cannot set property for 't/a@x': permission denied\" >&2; exit 1")
        let results = await fake.snapshot([item("t/a", .quiet, [.write: 1]), item("t/b", .quiet)])
        #expect(results.map { $0.taken?.warnings.map(\.kind) } == [[.permission], []])
    }

    @Test func aCallThatHangs() async throws {
        let fake = try Fake(timeLimit: .milliseconds(200))
        fake.answer(0, hangs: true)
        let results = await fake.snapshot([item("t/a"), item("t/b")])
        #expect(results.map(\.kind) == [.timedOut, .timedOut])
        guard case .command(let error)? = results.first?.error else { return }
        #expect(error.exit == .stillRunning)

        // No second call on the pool; another pool is not held up by it.
        let again = await fake.snapshot([item("t/a"), item("u/a")])
        #expect(again.map(\.kind) == [.timedOut, nil])
        guard case .command(let refused)? = again.first?.error else { return }
        #expect(refused.exit == .notStarted)
        #expect(fake.made.map { $0.filter { $0.contains("@") } } == [["t/a@\(zero)", "t/b@\(zero)"], ["u/a@\(zero)"]])

        // When it has come back that is told, once, with the pool's next snapshot.
        fake_core_release()
        var next = await fake.snapshot([item("u/b"), item("t/a")])
        #expect(next.map { $0.taken?.warnings.count } == [0, 1])
        let warning = try #require(next.last?.taken?.warnings.first)
        #expect(warning.exit == .errno(0))
        #expect(warning.description.contains("t/a@\(zero) t/b@\(zero): done: came back after"))
        #expect(warning.description.contains("its snapshots were taken"))
        next = await fake.snapshot([item("t/a")])
        #expect(next.first?.taken?.warnings == [])
        #expect(fake_core_lists() == 0)
    }

    @Test func aCallThatHangsAndFails() async throws {
        let fake = try Fake(timeLimit: .milliseconds(100))
        fake.answer(EIO, hangs: true)
        #expect(await fake.snapshot([item("t/a")]).map(\.kind) == [.timedOut])
        fake_core_release()
        let next = await fake.snapshot([item("t/a")])
        let warning = try #require(next.first?.taken?.warnings.first)
        #expect(warning.description.contains("error \(EIO): came back after"))
        #expect(warning.description.contains("it took none"))
    }

    @Test func aCallWaitsForALateOne() async throws {
        let fake = try Fake(timeLimit: .seconds(2))
        let quick = LibZFSCoreEngine(
            try Fake.core(), fake.calls, command: fake.zfs.command(), timeLimit: .milliseconds(50))
        fake.answer(0, hangs: true)
        let request = SnapshotRequest(items: [item("t/a")], name: first)
        #expect(await quick.snapshot(request).map(\.kind) == [.timedOut])
        async let waiting = fake.snapshot([item("t/a")])
        try await Task.sleep(for: .milliseconds(200))
        #expect(fake_core_calls() == 1)
        fake_core_release()
        #expect(await waiting.first?.taken != nil)
    }

    /// More calls than there are threads for tasks: each has one of its own, and tasks go on.
    @Test func hangingCallsHoldNobodyUp() async throws {
        let fake = try Fake()
        let count = 32
        for _ in 0..<count { fake.answer(0, hangs: true) }
        await withTaskGroup(of: Bool.self) { group in
            for index in 0..<count {
                group.addTask { await fake.snapshot([item("pool\(index)/a")]).first?.taken != nil }
            }
            try? await fake.begun(Int32(count))
            fake_core_release()
            for await isTaken in group { #expect(isTaken) }
        }
        #expect(fake_core_calls() == count)
        #expect(fake_core_lists() == 0)
    }

    @Test func theLibraryIsNotReady() throws {
        fake_core_reset()
        fake_core_set_init(EACCES)
        defer { fake_core_reset() }
        var table = zfs_core()
        fake_core_fill(&table)
        let error = #expect(throws: ZFSCoreError.self) { try ZFSCore(table, soname: "fake") }
        #expect(error == .notReady(soname: "fake", errno: EACCES))
        #expect(error?.description == "fake: libzfs_core_init: /dev/zfs: Permission denied")
    }
}

@Suite struct EngineChoiceTests {
    @Test func withoutZFSInTheKernel() throws {
        let automatic = try EngineChoice.auto.resolve(kernelHasZFS: false)
        #expect(automatic.name == "zfs command")
        #expect(automatic.missing == .notInKernel)
        #expect(try EngineChoice.cli.resolve(kernelHasZFS: true).name == "zfs command")
        #expect(throws: ZFSCoreError.notInKernel) { try EngineChoice.libzfsCore.resolve(kernelHasZFS: false) }
        let command = ZFSCommand(zfs: "/nonexistent")
        #expect(automatic.engine(command, flavour: .kernel) is CommandEngine)
    }

    /// The table is filled from a library that has none of it: the loader's words come back.
    @Test(arguments: ["libkairos-is-not-there.so.7", "libc.so.6"])
    func notThatLibrary(soname: String) throws {
        var core = zfs_core()
        var error = [CChar](repeating: 0, count: 200)
        #expect(zfs_core_load(&core, soname, &error, error.count) == -1)
        #expect(error.contains { $0 != 0 })
        #expect(error.last == 0)
    }
}
