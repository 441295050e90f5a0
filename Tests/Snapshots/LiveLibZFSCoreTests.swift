import Datasets
import Scratch
import TestSupport
import Testing

@testable import Snapshots

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

private let kernelHasZFS = access("/sys/module/zfs", F_OK) == 0 && geteuid() == 0

/// A real pool with datasets, and a libzfs_core to snapshot them with.
private struct Live {
    let pool: ScratchPool
    let core: ZFSCore
    let engine: LibZFSCoreEngine

    static func run(
        _ purpose: String, _ datasets: [String], _ body: (Live) async throws -> Void
    ) async throws {
        let pool = try await ScratchPool(purpose: purpose, datasets: datasets)
        do {
            let core = try ZFSCore.open()
            let engine = LibZFSCoreEngine(core, PoolCalls(), command: pool.command)
            try await body(Live(pool: pool, core: core, engine: engine))
        } catch {
            await pool.destroy()
            throw error
        }
        #expect(await pool.destroy().isEmpty)
    }

    func name(_ dataset: String) -> String { "\(pool.name)/\(dataset)" }

    func snapshot(_ items: SnapshotRequest.Item...) async -> [SnapshotResult] {
        await engine.snapshot(SnapshotRequest(items: items, name: first))
    }

    /// A property of each snapshot of the pool, by the part of its name after the pool's.
    func snapshots(_ property: String) async throws -> [String: String] {
        let output = try await pool.command.run([
            "get", "-Hp", "-r", "-t", "snapshot", "-o", "name,value", property, pool.name,
        ])
        let lines = String(decoding: output, as: UTF8.self).split(separator: "\n")
        return Dictionary(
            uniqueKeysWithValues: lines.map { line in
                let parts = line.split(separator: "\t", omittingEmptySubsequences: false).map { String($0) }
                return (String(parts[0].dropFirst(pool.name.count + 1)), parts[1])
            })
    }
}

@Suite(
    .serialized,
    .enabled(if: kernelHasZFS, "wants root and ZFS in the kernel: run it in a virtual machine, by Tests/VM/run"))
struct LiveLibZFSCoreTests {
    @Test func oneCallIsOneTransactionGroup() async throws {
        try await Live.run("lzcone", ["a", "b", "b/c d"]) { live in
            let results = await live.snapshot(
                item(live.name("a"), .quiet, [.write: 1]), item(live.name("b"), .quiet),
                item(live.name("b/c d"), .quiet, [.create: 1, .store: 2]))
            #expect(results.map { $0.taken?.name } == [first, first, first])
            #expect(results.map { $0.taken?.groupSize } == [3, 3, 3])
            #expect(results.map { $0.taken?.warnings } == [[], [], []])
            let groups = try await live.snapshots("createtxg")
            #expect(groups.count == 3)
            #expect(Set(groups.values).count == 1)
            let names = ["a", "b", "b/c d"].map { "\($0)@\(first.text)" }
            #expect(Set(groups.keys) == Set(names))
            let triggers = try await live.snapshots("kairos:trigger")
            #expect(names.map { triggers[$0] } == ["quiet", "quiet", "quiet"])
            let sizes = try await live.snapshots("kairos:group")
            #expect(names.map { sizes[$0] } == ["3", "3", "3"])
            let changes = try await live.snapshots("kairos:changes")
            #expect(names.map { changes[$0] } == ["write=1", "-", "create=1 store=2"])
        }
    }

    @Test func takenNamesMoveTheGroupOn() async throws {
        try await Live.run("lzcexist", ["a", "b"]) { live in
            try await live.pool.command.run(["snapshot", "\(live.name("b"))@\(first.text)"])
            let results = await live.snapshot(item(live.name("a")), item(live.name("b")))
            #expect(results.map { $0.taken?.name } == [first.next, first.next])
            #expect(results.map { $0.taken?.groupSize } == [2, 2])
            let all = try await live.snapshots("createtxg")
            #expect(all.keys.sorted() == ["a@\(first.next.text)", "b@\(first.text)", "b@\(first.next.text)"].sorted())
        }
    }

    @Test func oneThatIsGoneHoldsNobodyBack() async throws {
        try await Live.run("lzcgone", ["a", "b"]) { live in
            let results = await live.snapshot(
                item(live.name("a"), .quiet), item(live.name("gone"), .quiet), item(live.name("b"), .quiet))
            #expect(results.map(\.kind) == [nil, .datasetMissing, nil])
            #expect(results.map { $0.taken?.groupSize } == [2, nil, 2])
            let groups = try await live.snapshots("createtxg")
            #expect(groups.count == 2)
            #expect(Set(groups.values).count == 1)
        }
    }

    @Test func twoPools() async throws {
        try await Live.run("lzcfirst", ["a"]) { one in
            try await Live.run("lzcsecond", ["a", "b"]) { two in
                let results = await one.snapshot(
                    item(two.name("a"), .quiet), item(one.name("a"), .stop), item(two.name("b"), .quiet))
                #expect(results.map { $0.taken?.groupSize } == [2, 1, 2])
                let triggers = [try await one.snapshots("kairos:trigger"), try await two.snapshots("kairos:trigger")]
                #expect(triggers.map { $0.values.sorted() } == [["stop"], ["quiet", "quiet"]])
            }
        }
    }

    /// What the kernel itself says: the table of errors rests on it.
    @Test func errorsOfTheKernel() async throws {
        try await Live.run("lzcerror", ["a", "b"]) { live in
            let core = live.core
            let a = live.name("a") + "@"
            #expect(core.snapshot([a + "x"], []) == .init(status: 0))
            #expect(core.snapshot([a + "x"], []) == .init(status: EEXIST, errors: [a + "x": EEXIST]))
            let gone = live.name("gone") + "@x"
            let b = live.name("b") + "@x"
            let alsoGone = live.name("also-gone") + "@x"
            #expect(
                core.snapshot([gone, b, alsoGone], [])
                    == .init(status: ENOENT, errors: [gone: ENOENT, alsoGone: ENOENT]))
            // What is missing is found out first, and what exists told only when nothing is.
            #expect(core.snapshot([a + "x", gone, b], []) == .init(status: ENOENT, errors: [gone: ENOENT]))
            var left = try await live.snapshots("createtxg")
            #expect(left.count == 1)
            #expect(core.snapshot(["kairos-no-such-pool/a@x"], []).status == ENOENT)
            #expect(core.snapshot([a + "y", "kairos-no-such-pool/a@y"], []).status == EXDEV)
            #expect(core.snapshot([a + "y", a + "z"], []).status == EXDEV)
            #expect(core.snapshot([a + String(repeating: "y", count: 256)], []).status == EINVAL)
            #expect(core.snapshot([a + "y/z"], []).status == EINVAL)
            #expect(core.snapshot([a + "é"], []).status == EINVAL)
            left = try await live.snapshots("createtxg")
            #expect(left.count == 1)
        }
    }

    @Test func bothEnginesFailTheSame() async throws {
        try await Live.run("lzcsame", ["a"]) { live in
            let engines: [any SnapshotEngine] = [
                live.engine, CommandEngine(live.pool.command, flavour: .kernel),
            ]
            for dataset in [live.name("gone"), "kairos-no-such-pool/a", live.name("a@b"), live.name("a//b")] {
                var seen: [SnapshotResult] = []
                for engine in engines {
                    seen += try await engine.snapshot(SnapshotRequest(items: [item(dataset)], name: first))
                }
                #expect(seen.count == 2)
                #expect(seen.first?.error != nil)
                #expect(seen.first?.kind == seen.last?.kind, "\(seen)")
            }
        }
    }

    /// A pool loses its disk in the middle of a call: a file in a tmpfs that is full, which a write cannot make larger.
    @Test(
        .enabled(
            if: getenv("KAIROS_TEST_SUSPEND") != nil,
            "suspends a pool, which only a restart cures if it fails: in a virtual machine, with KAIROS_TEST_SUSPEND=1")
    )
    func aPoolThatIsSuspendedInTheMiddle() async throws {
        let directory = "/tmp/kairos-suspended-\(getpid())"
        try #require(mkdir(directory, 0o700) == 0)
        try #require(mount("tmpfs", directory, "tmpfs", 0, "size=96m") == 0)
        let image = directory + "/pool.img"
        let name = "kairos-suspended-\(getpid())"
        try #require(truncating(image, to: 512 << 20))
        let command = try ZFSCommand.find()
        try await command.runPool([
            "create", "-o", "cachefile=none", "-O", "compression=off", "-m", directory + "/mnt", name, image,
        ])
        let core = try ZFSCore.open()
        let calls = PoolCalls()
        let engine = LibZFSCoreEngine(core, calls, command: command, timeLimit: .seconds(10))
        var request = SnapshotRequest(items: [item(name, .quiet)], name: first)
        var results = await engine.snapshot(request)
        #expect(results.first?.taken?.name == first)

        request.name = SnapshotName(time: Timestamp(milliseconds: 1000))
        #expect(fill(directory + "/filler", 96 << 20) == ENOSPC)
        #expect(fill(directory + "/mnt/data", 1 << 20) == 0)
        results = await engine.snapshot(request)
        #expect(results.map(\.kind) == [.timedOut], "\(results)")
        // Nothing further is tried, and another pool is not concerned.
        results = await engine.snapshot(request)
        #expect(results.map(\.kind) == [.timedOut], "\(results)")
        if case .command(let error)? = results.first?.error { #expect(error.exit == .notStarted) }
        try await Live.run("lzcother", ["a"]) { other in
            let request = SnapshotRequest(items: [item(other.name("a"))], name: first)
            let taken = await LibZFSCoreEngine(core, calls, command: command).snapshot(request)
            #expect(taken.first?.taken != nil)
        }
        // A call that begins now is turned away by the kernel at once.
        #expect(core.snapshot([name + "@late"], []).status == EAGAIN)

        try #require(unlink(directory + "/filler") == 0)
        try await command.runPool(["clear", name])
        results = await engine.snapshot(request)
        let taken = try #require(results.first?.taken, "\(results)")
        #expect(taken.warnings.map(\.exit) == [.errno(0)])
        #expect(taken.warnings.allSatisfy { $0.description.contains("came back after") })
        // What the late call took is there, so its name was not to be had again.
        #expect(taken.name == request.name.next)
        try await command.runPool(["destroy", name])
        #expect(umount2(directory, Int32(MNT_DETACH)) == 0)
        rmdir(directory)
    }

    private func truncating(_ path: String, to size: Int) -> Bool {
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        defer { close(file) }
        return ftruncate(file, size) == 0
    }

    /// Writes so many bytes, and returns the errno that ended it before, or 0.
    private func fill(_ path: String, _ size: Int) -> Int32 {
        let file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        defer { close(file) }
        var block = [UInt8](repeating: 0, count: 1 << 20)
        var random = SplitMix64(seed: 1)
        for index in stride(from: 0, to: block.count, by: 8) {
            block[index] = UInt8.random(in: 0...255, using: &random)
        }
        for _ in 0..<(size >> 20) where write(file, block, block.count) < 0 { return errno }
        return 0
    }

    /// Not a test: prints what docs/facts.md tells.
    @Test(.enabled(if: getenv("KAIROS_TEST_MEASURE") != nil, "measures, with KAIROS_TEST_MEASURE=1"))
    func speed() async throws {
        let names = (0..<50).map { "d\($0)" }
        try await Live.run("lzcspeed", names) { live in
            let engines: [any SnapshotEngine] = [
                live.engine, CommandEngine(live.pool.command, flavour: .kernel),
            ]
            var time: Int64 = 1
            for count in [1, 10, 50] {
                var all: [[Duration]] = [[], []]
                // By turns, so that what else the machine does hits both.
                for _ in 0..<20 {
                    for (index, engine) in engines.enumerated() {
                        time += 1
                        let request = SnapshotRequest(
                            items: names.prefix(count).map { item(live.name($0), .quiet) },
                            name: SnapshotName(time: Timestamp(milliseconds: time)))
                        let results = try await engine.snapshot(request)
                        if let taken = results.first?.taken { all[index].append(taken.duration) }
                    }
                }
                for (engine, durations) in zip(engines, all) {
                    let sorted = durations.sorted()
                    print("\(count) datasets, \(engine.name): median \(sorted[sorted.count / 2]), least \(sorted[0])")
                }
            }
        }
    }
}
