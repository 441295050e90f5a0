import Datasets
import Snapshots
import TestSupport
import Testing

@testable import Retention

@Suite("Snapshots and what protects them")
struct CatalogTests {
    private let newest = "kairos-2026-11-22T09.05.00.123Z"

    /// What ZFS says of a snapshot: a row for each property, and where its trigger comes from.
    private struct Said {
        var rows = ""
        var sources = ""

        static func + (left: Self, right: Self) -> Self {
            Said(rows: left.rows + right.rows, sources: left.sources + right.sources)
        }
    }

    private func said(
        _ name: String, guid: Int = 1, txg: Int? = 10, trigger: String = "local", holds: String = "0",
        clones: String? = "", creation: Int64? = nil, dataset: String = "tank/a"
    ) -> Said {
        let own = SnapshotName(parsing: name)?.time.milliseconds ?? 1_795_300_000_000
        var rows = [("guid", "\(guid)"), ("creation", "\(creation ?? own / 1000)"), ("userrefs", holds)]
        if let txg { rows.append(("createtxg", "\(txg)")) }
        if let clones { rows.append(("clones", clones)) }
        return Said(
            rows: rows.map { "\(dataset)@\(name)\t\($0.0)\t\($0.1)\n" }.joined(),
            sources: "\(dataset)@\(name)\t\(trigger)\n")
    }

    private func read(_ said: Said, bookmarks: String = "") async throws -> [RetainedSnapshot] {
        let zfs = try FakeZFS()
        try zfs.write("rows", said.rows)
        try zfs.write("sources", said.sources)
        try zfs.write("bookmarks", bookmarks)
        try zfs.answer(
            "case \"$*\" in *bookmark*) cat $dir/bookmarks;; *name,source*) cat $dir/sources;; *) cat $dir/rows;; esac")
        return try await SnapshotCatalog(zfs.command()).snapshots(of: "tank/a")
    }

    @Test("name and own property make it Kairos's, nothing else does")
    func own() async throws {
        let others = [
            ("autosnap_1", "local"), (newest, "-"), (newest, "inherited from tank"), (newest, "received"),
            ("kairos-yesterday", "local"),
        ]
        for (name, trigger) in others {
            let read = try await read(said(name, trigger: trigger))
            #expect(read.map(\.protections) == [[.foreign]], "\(name) \(trigger)")
        }
        let ours = try await read(said(newest))
        let time = try #require(SnapshotName(parsing: newest)).time.milliseconds * 1_000_000
        #expect(ours == [RetainedSnapshot(name: newest, time: time, createtxg: 10, guid: 1)])
    }

    @Test("a name that tells of another time than ZFS does is not believed, and none is too large")
    func times() async throws {
        for name in [
            "kairos-2020-01-01T00.00.00.000Z", "kairos-2262-04-12T00.00.00.000Z", "kairos-9999-12-31T23.59.59.999Z",
        ] {
            let read = try await read(said(name, creation: 1_795_300_000))
            #expect(read.map(\.time) == [1_795_300_000_000_000_000], "\(name)")
        }
        // Seconds against milliseconds, and a slow start of the transaction group.
        let late = try await read(said(newest, creation: 1_795_338_320))
        #expect(late.map(\.time) == [1_795_338_300_123_000_000])
        // Ends of time.
        for creation in [Int64.max, Int64.min, 9_223_372_036] {
            let read = try await read(said(newest, creation: creation))
            #expect(read.first?.protections.contains(.unknown) == true, "\(creation)")
        }
    }

    @Test("holds, clones and bookmarks protect")
    func protections() async throws {
        #expect(try await read(said(newest, holds: "2")).first?.protections == [.held])
        #expect(try await read(said(newest, clones: "tank/b,tank/c")).first?.protections == [.cloned])
        #expect(try await read(said(newest, guid: 7), bookmarks: "6\n7\n").first?.protections == [.bookmarked])
        #expect(try await read(said(newest, guid: 7), bookmarks: "6\n").first?.protections == [])
    }

    @Test("what cannot be read protects", arguments: ["creation", "guid", "userrefs", "createtxg", "clones"])
    func unknown(property: String) async throws {
        var said = said(newest)
        said.rows = said.rows.split(separator: "\n").filter { !$0.contains("\t\(property)\t") }.joined(separator: "\n")
        #expect(try await read(said).first?.protections.contains(.unknown) == true)
    }

    @Test("user properties have no say in which snapshots there are, and their values are not asked for")
    func forged() async throws {
        let zfs = try FakeZFS()
        try zfs.write("rows", said("mine").rows)
        try zfs.write("sources", said("mine").sources + said("kairos-2020-01-01T00.00.00.000Z").sources)
        try zfs.answer("case \"$*\" in *name,source*) cat $dir/sources;; *bookmark*) ;; *) cat $dir/rows;; esac")
        let read = try await SnapshotCatalog(zfs.command()).snapshots(of: "tank/a")
        #expect(read.map(\.name) == ["mine"])
        for call in try zfs.calls() where call.contains(where: { $0.contains("kairos:") }) {
            #expect(call.contains("name,source"), "\(call)")
        }
    }

    @Test("of those below nothing is read, and the order is ZFS's")
    func order() async throws {
        let below = said("kairos-2026-01-01T00.00.00.000Z", dataset: "tank/a/b")
        let both = said("kairos-2026-01-02T00.00.00.000Z", txg: 30) + said("kairos-2026-01-03T00.00.00.000Z", txg: 20)
        let read = try await read(both + below)
        #expect(read.map(\.createtxg) == [20, 30] && read.allSatisfy { $0.protections.isEmpty })
    }

    @Test("zfs-fuse has no property clones: the origins of datasets show them; and createtxg orders, not the time")
    func old() async throws {
        let zfs = try FakeZFS()
        let all =
            said("kairos-2026-01-02T00.00.00.001Z", txg: 30, clones: nil)
            + said("kairos-2026-01-02T00.00.00.000Z", txg: 20, clones: nil)
            + said("kairos-2026-01-05T00.00.00.000Z", txg: 40, clones: nil, creation: 1_700_000_000)
        // It tells of the dataset too, and of those below it and theirs.
        try zfs.write("rows", all.rows + "tank/a\tguid\t5\n" + said("kairos-x", dataset: "tank/a/b").rows)
        try zfs.write("sources", all.sources + "tank/a\t-\ntank/a/b\tlocal\n")
        try zfs.write("origins", "-\ntank/a@kairos-2026-01-02T00.00.00.000Z\n")
        try zfs.answer(
            """
            case "$*" in
            get*-t*) echo "invalid option 't'" >&2; exit 2;;
            *clones*) echo "bad property list: invalid property 'clones'" >&2; exit 2;;
            *origin*) cat $dir/origins;;
            *name,source*) cat $dir/sources;;
            *) cat $dir/rows;;
            esac
            """)
        let read = try await SnapshotCatalog(zfs.command()).snapshots(of: "tank/a")
        #expect(read.map { $0.name.suffix(13) } == ["00.00.00.000Z", "00.00.00.001Z", "00.00.00.000Z"])
        #expect(read.map(\.createtxg) == [20, 30, 40] && read[2].name.contains("01-05"))
        #expect(read.map(\.protections) == [[.cloned], [], []])
    }

    @Test("a pool's history: the times of its snapshots, and the groups of its datasets too")
    func history() async throws {
        let zfs = try FakeZFS()
        try zfs.write(
            "rows",
            """
            tank\tcreation\t1000\ntank\tcreatetxg\t1\ntank/a@x\tcreation\t2000\ntank/a@x\tcreatetxg\t7
            tank/a@y\tcreation\t-\ntank/a@y\tcreatetxg\t8\ntank/a@z\tcreation\t3000\n
            """)
        try zfs.answer("cat $dir/rows")
        let history = try await SnapshotCatalog(zfs.command()).history(ofPool: "tank")
        #expect(history.times == [2_000_000_000_000, 3_000_000_000_000])
        #expect(
            history.moments == [
                PoolMoment(createtxg: 1, time: 1_000_000_000_000), PoolMoment(createtxg: 7, time: 2_000_000_000_000),
            ])
    }
}

@Suite("Destroying")
struct PrunerTests {
    private let names = (0..<251).map { "kairos-2026-01-01T00.00.00.\(String($0 + 1000).dropFirst())Z" }

    /// A dataset with those snapshots, of which all but the last are to go.
    private struct Pool {
        let zfs: FakeZFS
        let retention: DatasetRetention
        let names: [String]

        init(_ names: [String], destroy: String = "") throws {
            zfs = try FakeZFS()
            self.names = names
            let snapshots = names.enumerated().map {
                RetainedSnapshot(name: $1, time: Int64($0), createtxg: UInt64($0 + 1), guid: UInt64($0 + 100))
            }
            let rule = try RetentionRule(parsing: "1s=all")
            let year: Int64 = 31_536_000_000_000_000
            let clock = RetentionClock(now: year, times: (0..<60).map { Int64($0) * year / 60 })
            retention = DatasetRetention(
                dataset: "tank/a", guid: 7, rule: rule, isDefault: false,
                plan: RetentionPlan(snapshots, rule: rule, clock: clock))
            #expect(retention.plan.doomed == snapshots.dropLast())
            try zfs.write("guid", "7\n")
            try show(snapshots)
            try zfs.answer(
                """
                case "$*" in
                *"value guid tank/a") case "$*" in *bookmark*) ;; *) cat $dir/guid;; esac;;
                *name,source*) cat $dir/sources;;
                get*) cat $dir/rows;;
                destroy*) \(destroy.isEmpty ? ":" : destroy);;
                esac
                """)
        }

        func show(_ snapshots: [RetainedSnapshot]) throws {
            var (rows, sources) = ("", "")
            for snapshot in snapshots {
                let name = "tank/a@\(snapshot.name)"
                let holds = snapshot.protections.contains(.held) ? 1 : 0
                for (property, value) in [
                    ("guid", "\(snapshot.guid)"), ("creation", "1767225600"), ("userrefs", "\(holds)"),
                    ("createtxg", "\(snapshot.createtxg)"), ("clones", ""),
                ] { rows += "\(name)\t\(property)\t\(value)\n" }
                sources += "\(name)\tlocal\n"
            }
            try zfs.write("rows", rows)
            try zfs.write("sources", sources)
        }

        func destroyed() throws -> [[Substring]] {
            try zfs.calls().filter { $0[1] == "destroy" }.map { $0[2].dropFirst("tank/a@".count).split(separator: ",") }
        }
    }

    @Test("a hundred a call, one dataset")
    func batches() async throws {
        let pool = try Pool(names)
        let outcome = await Pruner(pool.zfs.command()).destroy(pool.retention)
        #expect(outcome == Pruner.Outcome(destroyed: Array(names.dropLast())))
        #expect(try pool.destroyed().map(\.count) == [100, 100, 50])
        #expect(try pool.destroyed().joined().elementsEqual(names.dropLast().map { Substring($0) }))
    }

    @Test("one that is in use holds up no other; one that is gone is gone, and not destroyed")
    func busy() async throws {
        let pool = try Pool(
            Array(names[..<7]),
            destroy: """
                case "$*" in
                *,*) echo "cannot destroy 'tank/a@x': dataset is busy" >&2; exit 1;;
                *.001Z) echo "cannot destroy 'tank/a@x': dataset is busy" >&2; exit 1;;
                *.002Z) echo "cannot destroy 'tank/a@x': snapshot has dependent clones" >&2; exit 1;;
                *.003Z) echo "could not find any snapshots to destroy; check snapshot names." >&2; exit 1;;
                *.004Z) echo "cannot destroy 'tank/a@x': permission denied" >&2; exit 1;;
                esac
                """)
        let outcome = await Pruner(pool.zfs.command()).destroy(pool.retention)
        #expect(outcome.destroyed == [names[0], names[5]] && outcome.gone == [names[3]])
        #expect(outcome.busy == [names[1], names[2]] && outcome.failed == [names[4]])
        #expect(outcome.errors.map(\.kind) == [.permission])
    }

    @Test("a pool that does not answer is not asked again")
    func suspended() async throws {
        let pool = try Pool(names, destroy: "echo \"cannot destroy 'x': pool I/O is currently suspended\" >&2; exit 1")
        let outcome = await Pruner(pool.zfs.command()).destroy(pool.retention)
        #expect(outcome.failed == names.dropLast() && outcome.errors.count == 1)
        #expect(try pool.destroyed().count == 1)
    }

    @Test("where a comma is not known, it is tried once")
    func single() async throws {
        let pool = try Pool(
            names,
            destroy:
                "case \"$*\" in *,*) echo \"cannot open 'tank/a@x,y': invalid character ',' in snapshot name\" >&2; exit 1;; esac"
        )
        let outcome = await Pruner(pool.zfs.command()).destroy(pool.retention)
        #expect(outcome.destroyed == names.dropLast())
        #expect(try pool.destroyed().count == 251)
    }

    @Test("another dataset of that name, or a kept snapshot that is gone: nothing more is destroyed")
    func changed() async throws {
        let pool = try Pool(Array(names[..<4]))
        let all = pool.retention.plan.verdicts.map(\.snapshot)
        try pool.zfs.write("guid", "8\n")
        var outcome = await Pruner(pool.zfs.command()).destroy(pool.retention)
        #expect(outcome.left == Array(names[..<3]) && outcome.destroyed.isEmpty && outcome.why != nil)
        // A rollback: the newest one is gone.
        try pool.zfs.write("guid", "7\n")
        try pool.show(Array(all.dropLast()))
        outcome = await Pruner(pool.zfs.command()).destroy(pool.retention)
        #expect(outcome.left == Array(names[..<3]) && outcome.destroyed.isEmpty && outcome.why != nil)
        // Made anew under its name.
        var again = all
        again[3].guid = 9
        try pool.show(again)
        outcome = await Pruner(pool.zfs.command()).destroy(pool.retention)
        #expect(outcome.left == Array(names[..<3]) && outcome.destroyed.isEmpty)
        #expect(try pool.destroyed().isEmpty)
    }

    @Test("what was held, destroyed or replaced since the plan was made is left out; what came since is no matter")
    func moved() async throws {
        let pool = try Pool(Array(names[..<5]))
        var all = pool.retention.plan.verdicts.map(\.snapshot)
        all[0].protections = [.held]
        all[1].guid = 99
        all.remove(at: 2)
        all.append(RetainedSnapshot(name: names[9], time: 99, createtxg: 99, guid: 999))
        try pool.show(all)
        let outcome = await Pruner(pool.zfs.command()).destroy(pool.retention)
        #expect(outcome.busy == [names[0]] && outcome.gone == [names[1], names[2]])
        #expect(outcome.destroyed == [names[3]])
    }

    @Test("stopped between two calls, the rest stays")
    func stopped() async throws {
        let pool = try Pool(names)
        let zfs = pool.zfs
        let pruner = Pruner(
            pool.zfs.command(), isStopped: { (try? zfs.calls().contains { $0[1] == "destroy" }) ?? true })
        let outcome = await pruner.destroy(pool.retention)
        #expect(
            outcome.destroyed == Array(names[..<100]) && outcome.left == Array(names[100..<250])
                && outcome.why == "stopped")
    }

    @Test("the rule is read when it counts, and a dataset that is another one now is left alone")
    func rounds() async throws {
        let pool = try Pool(Array(names[..<4]))
        try pool.zfs.answer(
            """
            case "$*" in
            *guid,kairos:keep*) printf 'tank/a\\tguid\\t-\\t7\\ntank/a\\tkairos:keep\\tlocal\\t%s\\n' "$(cat $dir/keep)";;
            *name,value*) ;;
            *name,source*) cat $dir/sources;;
            get*bookmark*) ;;
            get*) cat $dir/rows;;
            esac
            """)
        try pool.zfs.write("keep", "all\n")
        var round = PruneRound(pool.zfs.command())
        let now: Int64 = 1_800_000_000_000_000_000
        #expect(try await round.plan(for: "tank/a", guid: 7, now: now).rule == .everything)
        try pool.zfs.write("keep", "1h=al\n")
        var refusal = await #expect(throws: PruneRound.Refusal.self) {
            try await round.plan(for: "tank/a", guid: 7, now: now)
        }
        #expect(refusal?.why.contains("kairos:keep") == true)
        refusal = await #expect(throws: PruneRound.Refusal.self) {
            try await round.plan(for: "tank/a", guid: 8, now: now)
        }
        #expect(refusal?.why.contains("another dataset") == true)
        // A pool that does not answer is asked once in a round.
        try pool.zfs.answer("echo \"cannot open 'tank': pool I/O is currently suspended\" >&2; exit 1")
        let before = try pool.zfs.calls().count
        for name in ["tank/a", "tank/b", "tank/c"] {
            await #expect(throws: PruneRound.Refusal.self) { try await round.plan(for: name, guid: 7, now: now) }
        }
        #expect(try pool.zfs.calls().count == before + 1)
    }
}
