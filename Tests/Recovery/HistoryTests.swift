import Datasets
import Snapshots
import TestSupport
import Testing

@testable import Recovery

/// A model with a random past, every path that it ever had, and what a journal would know of it.
struct RandomPast {
    var model = HistoryModel()
    var paths: Set<[UInt8]> = []
    var history = FakeHistory()
    /// Snapshots that somebody else took.
    var foreign: Set<Int> = []

    static func name(_ index: Int) -> String { "s\(index)" }

    init(seed: UInt64, snapshots: Int = 12, foreign: Bool = false) {
        var generator = SplitMix64(seed: seed)
        if foreign {
            self.foreign = Set((0..<snapshots).filter { _ in Int.random(in: 0..<4, using: &generator) == 0 })
        }
        var waiting: [(HistoryModel.Operation, HistoryModel)] = []
        var carried = 0
        for index in 0...snapshots {
            for _ in 0..<Int.random(in: 0...5, using: &generator) {
                guard let operation = model.random(&generator) else { continue }
                waiting.append((operation, model))
                model.apply(operation)
                paths.formUnion(model.live.keys)
            }
            guard index < snapshots else { break }
            model.snapshot()
            guard !self.foreign.contains(index) else { continue }
            // What was done while it was taken is in it, and noted with the next one.
            let isLate = waiting.count > carried && Int.random(in: 0..<4, using: &generator) == 0
            let late = isLate ? waiting.popLast() : nil
            // Some records were lost.
            let isWhole = Int.random(in: 0..<6, using: &generator) > 0
            history.known[Self.name(index)] = isWhole
            let time = Timestamp(milliseconds: Int64(index) * 60_000 + 999_990_000)
            for (operation, before) in waiting where isWhole || Bool.random(using: &generator) {
                history.note(operation, before, snapshot: Self.name(index), time)
            }
            waiting = late.map { [$0] } ?? []
            carried = waiting.count
        }
    }
}

extension HistoryModel.Log {
    init(_ history: FileHistory) {
        self.init()
        for row in history.rows {
            switch row {
            case .version(let version):
                versions.append(
                    HistoryModel.Version(
                        path: version.path, first: version.first, last: version.last, renamedFrom: version.renamedFrom,
                        isLive: version.isLive))
            case .gone(let gone):
                self.gone.append(
                    HistoryModel.Gone(
                        path: gone.path, last: gone.last, missing: gone.missing, renamedTo: gone.renamedTo))
            case .unsaved: isUnsaved = true
            }
        }
        gone.sort { $0.last < $1.last }
    }
}

@Suite("The history of a path")
struct HistoryTests {
    @Test("of every path of a random past is what the model says", arguments: TestSeeds.of(0..<400))
    func model(seed: UInt64) throws {
        let past = RandomPast(seed: seed)
        let store = FakeStore(past.model)
        for path in past.paths {
            let history = try FileHistory.read(path, from: store)
            #expect(HistoryModel.Log(history) == past.model.log(path), "\(SafeText.line(path))")
            #expect(history.versions.map(\.number) == Array(1..<history.versions.count + 1))
        }
    }

    @Test("is the same with what was written down, with fewer looks", arguments: TestSeeds.of(0..<400))
    func recorded(seed: UInt64) throws {
        let past = RandomPast(seed: seed, foreign: true)
        let store = FakeStore(past.model)
        var (with, without) = (0, 0)
        for path in past.paths {
            let plain = try FileHistory.read(path, from: store)
            #expect(HistoryModel.Log(plain) == past.model.log(path), "\(SafeText.line(path))")
            let history = try FileHistory.read(path, from: store, history: past.history)
            #expect(HistoryModel.Log(history) == past.model.log(path), "\(SafeText.line(path))")
            with += history.looked
            without += plain.looked
        }
        #expect(with <= without)
        // A path with few changes in many snapshots is what it is made for.
        let path = Array("quiet".utf8)
        var model = HistoryModel()
        var history = FakeHistory()
        for index in 0..<30 {
            if index == 10 {
                history.note(.write(path, [1]), model, snapshot: "s\(index)", Timestamp(milliseconds: 1))
                model.apply(.write(path, [1]))
            }
            model.snapshot()
            history.known["s\(index)"] = true
        }
        // The first, the one with the change and the one before it, and the newest.
        #expect(try FileHistory.read(path, from: FakeStore(model), history: history).looked == 4)
    }

    @Test("tells who made a version and who ended it, and does without a journal that fails")
    func who() throws {
        var model = HistoryModel()
        var history = FakeHistory()
        func act(_ operation: HistoryModel.Operation, _ snapshot: Int, foreign: Bool = false) {
            let name = RandomPast.name(foreign ? snapshot + 1 : snapshot)
            history.note(
                operation, model, snapshot: name, Timestamp(milliseconds: Int64(snapshot) * 60_000 + 999_990_000))
            model.apply(operation)
            model.snapshot()
            if !foreign { history.known[name] = true }
        }
        let (path, other) = (Array("d/f".utf8), Array("e".utf8))
        act(.mkdir(Array("d".utf8)), 0)
        act(.write(path, [1]), 1)
        act(.write(path, [1, 2]), 2, foreign: true)
        act(.write(other, []), 3)
        act(.remove(Array("d".utf8)), 4)
        let store = FakeStore(model)
        let read = try FileHistory.read(path, from: store, history: history)
        #expect(read.versions.map { $0.changes.map(\.kinds) } == [[[.create, .write]], [[.write]]])
        guard case .gone(let gone)? = read.rows.last else {
            Issue.record("\(read.rows)")
            return
        }
        #expect(Set(gone.changes.map(\.kinds)) == [[.unlink], [.rmdir]])
        history.isBroken = true
        var told = 0
        let again = try FileHistory.read(path, from: store, history: history) { _ in told += 1 }
        #expect(told == 1)
        #expect(again.versions.map(\.first) == [1, 2] && again.versions.allSatisfy(\.changes.isEmpty))
    }

    @Test("passes over what was destroyed meanwhile, and says so")
    func passedOver() throws {
        var model = HistoryModel()
        let path = Array("f".utf8)
        for size in 1...5 {
            model.apply(.write(path, Array(repeating: 1, count: size)))
            model.snapshot()
        }
        let store = FakeStore(model)
        store.faults = [1: .gone, 3: .impossible("why")]
        let history = try FileHistory.read(path, from: store)
        #expect(history.versions.map(\.first) == [0, 2, 4])
        #expect(history.passedOver.keys.sorted() == [1, 3] && history.passedOver[3] == "why")
        #expect(throws: SelectionFault.self) { try history.resolve(.snapshot("s1")) }
        store.faults[4] = .stopped
        #expect(throws: TreeFault.stopped) { try FileHistory.read(path, from: store) }
    }

    @Test("is not misled by a link on the way")
    func links() throws {
        var model = HistoryModel()
        let path = Array("d/f".utf8)
        model.apply(.mkdir(Array("d".utf8)))
        model.apply(.write(path, [1]))
        for _ in 0..<3 { model.snapshot() }
        model.apply(.remove(Array("d".utf8)))
        for _ in 0..<3 { model.snapshot() }
        let store = FakeStore(model)
        let plain = try FileHistory.read(path, from: store)
        for place in [3, 5] {
            // Where there is nothing, the path leads to a file of somebody else's.
            store.glances = [place: FileStatus(kind: .file, inode: 4711, size: 3)]
            #expect(try FileHistory.read(path, from: store).rows == plain.rows)
        }
        #expect(HistoryModel.Log(plain) == model.log(path))
    }

    @Test("says where it stopped to look for a renamed file")
    func bound() throws {
        var model = HistoryModel()
        model.apply(.mkdir(Array("d".utf8)))
        for name in 0..<30 { model.apply(.write(Array("d/\(name)".utf8), [])) }
        model.apply(.mkdir(Array("e".utf8)))
        model.snapshot()
        model.apply(.rename(Array("d/3".utf8), Array("e/x".utf8)))
        model.snapshot()
        let store = FakeStore(model)
        let near = try FileHistory.read(Array("e/x".utf8), from: store, searchLimit: 10)
        #expect(near.searchBound == 10 && near.versions.count == 1)
        let far = try FileHistory.read(Array("e/x".utf8), from: store)
        #expect(far.searchBound == nil && far.versions.map(\.path) == [Array("d/3".utf8), Array("e/x".utf8)])
    }

    @Test("does not take a file for another one that had its inode")
    func reuse() throws {
        for hasGenerations in [true, false] {
            var model = HistoryModel()
            model.apply(.write(Array("old".utf8), [1, 2, 3]))
            model.snapshot()
            model.apply(.remove(Array("old".utf8)))
            model.snapshot()
            model.apply(.write(Array("new".utf8), [1, 2, 3]))
            model.snapshot()
            model.apply(.remove(Array("new".utf8)))
            model.apply(.write(Array("newer".utf8), [1, 2, 3]))
            model.snapshot()
            let store = FakeStore(model, hasGenerations: hasGenerations)
            for name in ["old", "new", "newer"] {
                let path = Array(name.utf8)
                #expect(try HistoryModel.Log(FileHistory.read(path, from: store)) == model.log(path))
            }
        }
    }

    @Test("one selection for all commands")
    func selection() throws {
        var model = HistoryModel()
        let (path, other) = (Array("f".utf8), Array("g".utf8))
        model.snapshot()  // 0: nothing
        model.apply(.write(other, [1]))
        model.snapshot()  // 1: as g
        model.apply(.rename(other, path))
        model.snapshot()  // 2
        model.apply(.write(path, [1, 2]))
        model.snapshot()  // 3
        model.snapshot()  // 4
        model.apply(.remove(path))
        model.snapshot()  // 5: gone
        let store = FakeStore(model)
        let history = try FileHistory.read(path, from: store)
        func time(_ index: Int) -> VersionSelector { .time(store.snapshots[index].time) }
        let cases: [(VersionSelector, Int?, Int?)] = [
            (.number(1), 1, 1), (.number(2), 2, 2), (.number(3), 3, 4), (.number(4), nil, nil),
            (.number(0), nil, nil), (time(0), nil, nil), (time(1), 1, 1), (time(3), 3, 3), (time(4), 3, 4),
            (time(5), nil, nil), (.snapshot("s2"), 2, 2), (.snapshot("tank/a@s3"), 3, 3), (.snapshot("nope"), nil, nil),
            (.time(.earliest), nil, nil), (.time(.latest), nil, nil),
        ]
        for (selector, number, place) in cases {
            let resolved = try? history.resolve(selector)
            #expect(resolved?.version.number == number && resolved?.snapshot == place, "\(selector)")
            let found = try? FileHistory.find(selector, of: path, from: store)
            #expect(found?.snapshot == place && found?.path == resolved?.version.path, "\(selector)")
            #expect(found?.status == resolved?.version.status, "\(selector)")
            #expect(found.map { $0.number ?? number } == number.map { Int?.some($0) }, "\(selector)")
        }
    }

}

@Suite("What was deleted")
struct DeletedTests {
    private func told(_ deleted: DeletedFiles) -> Set<HistoryModel.Deletion> {
        Set(
            deleted.entries.map {
                HistoryModel.Deletion(
                    path: $0.path, last: $0.last, missing: $0.missing, isThereAgain: $0.isThereAgain)
            })
    }

    /// The first ones move something out of a directory and delete it there.
    private static let seeds = TestSeeds.of(
        [
            3_285_049_509, 1_772_817_943, 516_061_246, 4_258_558_244, 730_581_676, 515_600_582, 4_115_358_721,
            3_929_237_850, 367_824_062,
        ] + Array(0..<400))

    @Test("in a random past is what the model says, in every directory", arguments: seeds)
    func model(seed: UInt64) throws {
        let past = RandomPast(seed: seed, foreign: true)
        let store = FakeStore(past.model)
        let directories = past.model.snapshots.flatMap { $0.filter(\.value.kind.isDirectory).map(\.key) }
        for directory in Set(directories + [[]]) {
            let deleted = try DeletedFiles.read(below: directory, from: store, all: true)
            #expect(told(deleted) == past.model.deletions(below: directory), "\(SafeText.line(directory))")
            #expect(deleted.entries.count == told(deleted).count)
            let again = try DeletedFiles.read(below: directory, from: store, history: past.history, all: true)
            // A file that went away and came back between two of Kairos's snapshots is told of by others' alone.
            #expect(told(again).subtracting(told(deleted)).isEmpty, "\(SafeText.line(directory))")
            let missed = told(deleted).subtracting(told(again))
            #expect(
                missed.allSatisfy { $0.missing.map(past.foreign.contains) ?? false },
                "\(missed) below \(SafeText.line(directory))")
        }
    }

    @Test("a directory is one line, with what went with it")
    func folding() throws {
        var model = HistoryModel()
        func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
        model.apply(.mkdir(bytes("d")))
        model.apply(.mkdir(bytes("d/e")))
        for name in ["d/1", "d/2", "d/e/3", "d/early", "stays", "x"] { model.apply(.write(bytes(name), [1, 2, 3])) }
        model.apply(.write(bytes("d/moves"), [1]))
        model.snapshot()  // 0
        model.apply(.remove(bytes("d/early")))
        model.apply(.remove(bytes("x")))
        model.snapshot()  // 1
        model.apply(.write(bytes("x"), [1]))
        model.apply(.rename(bytes("d/moves"), bytes("moved")))
        model.apply(.remove(bytes("d")))
        model.snapshot()  // 2
        let store = FakeStore(model)
        let deleted = try DeletedFiles.read(below: [], from: store)
        #expect(deleted.entries.map(\.path) == [bytes("d")])
        let entry = try #require(deleted.entries.first)
        #expect(entry.files == 3 && entry.bytes == 9 && entry.before == 1 && entry.last == 1 && entry.missing == 2)
        #expect(entry.status?.kind == .directory)
        let inside = try DeletedFiles.read(below: bytes("d"), from: store)
        #expect(inside.entries.map(\.path) == ["d/1", "d/2", "d/e", "d/early"].map(bytes))
        let since = try DeletedFiles.read(below: [], from: store, since: store.snapshots[2].time)
        #expect(since.entries.map(\.before) == [0] && since.compared == 2)
        #expect(try DeletedFiles.read(below: bytes("nothing"), from: store).entries.isEmpty)
    }

    @Test("sparse files of 8 EiB in a deleted directory are more than 64 bits hold")
    func hugeFiles() throws {
        var model = HistoryModel()
        model.apply(.mkdir(Array("d".utf8)))
        for name in ["d/1", "d/2", "d/3"] { model.apply(.write(Array(name.utf8), [1])) }
        model.snapshot()
        model.apply(.remove(Array("d".utf8)))
        model.snapshot()
        let store = FakeStore(model)
        store.fileSize = UInt64(Int64.max)
        #expect(try DeletedFiles.read(below: [], from: store).entries.map(\.bytes) == [.max])
    }

    @Test("what Kairos wrote down says who did it")
    func who() throws {
        var model = HistoryModel()
        var history = FakeHistory()
        let path = Array("f".utf8)
        model.apply(.write(path, [1]))
        model.snapshot()
        history.note(.remove(path), model, snapshot: "s1", Timestamp(milliseconds: 1_000_059_000))
        model.apply(.remove(path))
        model.snapshot()
        history.known = ["s0": true, "s1": true]
        let store = FakeStore(model)
        let deleted = try DeletedFiles.read(below: [], from: store, history: history)
        #expect(deleted.entries.map(\.path) == [path])
        #expect(deleted.entries.first?.changes.map(\.command) == [Array("test".utf8)])
        // Only the live files are compared, and the newest snapshot: what was done while it was taken is not noted yet.
        #expect(deleted.compared == 2)
        history.isBroken = true
        var told = 0
        let again = try DeletedFiles.read(below: [], from: store, history: history) { _ in told += 1 }
        #expect(told == 1 && again.entries.map(\.path) == [path])
    }

    @Test("of many names that were made again before they were deleted, the trees are compared", arguments: [3, 40])
    func madeAgain(count: Int) throws {
        var model = HistoryModel()
        var history = FakeHistory()
        let paths = (0..<count).map { Array("f\($0)".utf8) }
        for path in paths { model.apply(.write(path, [1])) }
        model.snapshot()
        for path in paths {
            let operations: [HistoryModel.Operation] = [.remove(path), .write(path, [2]), .remove(path)]
            for operation in operations {
                history.note(operation, model, snapshot: "s1", Timestamp(milliseconds: 1_000_059_000))
                model.apply(operation)
            }
        }
        for _ in 0..<2 { model.snapshot() }
        history.known = ["s0": true, "s1": true, "s2": true]
        let deleted = try DeletedFiles.read(below: [], from: FakeStore(model), history: history)
        #expect(Set(deleted.entries.map(\.path)) == Set(paths))
        // The live files, the newest snapshot; and the one that captured the deletions.
        #expect(deleted.compared == (count > 5 ? 3 : 2))
    }

    @Test("a snapshot that cannot be looked at is passed over")
    func passedOver() throws {
        var model = HistoryModel()
        let path = Array("f".utf8)
        model.apply(.write(path, [1]))
        for _ in 0..<3 { model.snapshot() }
        model.apply(.remove(path))
        model.snapshot()
        let store = FakeStore(model)
        store.faults[2] = .gone
        let deleted = try DeletedFiles.read(below: [], from: store)
        #expect(deleted.entries.map(\.last) == [1] && deleted.entries.map(\.missing) == [3])
        #expect(Array(deleted.passedOver.keys) == [2])
    }
}
