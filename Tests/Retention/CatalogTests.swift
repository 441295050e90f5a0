import Datasets
import Snapshots
import TestSupport
import Testing

@testable import Retention

@Suite("Snapshots and what protects them")
struct CatalogTests {
    private let newest = "kairos-2026-11-22T09.05.00.123Z"

    /// A row of `zfs get` for each property.
    private func rows(
        _ name: String, guid: Int = 1, txg: Int? = 10, trigger: (source: String, value: String) = ("local", "quiet"),
        holds: String = "0", clones: String? = "", creation: String = "1795300000"
    ) -> String {
        var rows = [
            ("guid", "-", "\(guid)"), ("creation", "-", creation), ("userrefs", "-", holds),
            ("kairos:trigger", trigger.source, trigger.value),
        ]
        if let txg { rows.append(("createtxg", "-", "\(txg)")) }
        if let clones { rows.append(("clones", "-", clones)) }
        return rows.map { "tank/a@\(name)\t\($0.0)\t\($0.1)\t\($0.2)\n" }.joined()
    }

    private func read(_ text: String, bookmarks: String = "") async throws -> [RetainedSnapshot] {
        let zfs = try FakeZFS()
        try zfs.write("rows", text)
        try zfs.write("bookmarks", bookmarks)
        try zfs.answer("case \"$*\" in *bookmark*) cat $dir/bookmarks;; *) cat $dir/rows;; esac")
        return try await SnapshotCatalog(zfs.command()).snapshots(of: "tank/a")
    }

    @Test("name and own property make it Kairos's, nothing else does")
    func own() async throws {
        let others = [
            ("autosnap_1", ("local", "quiet")), (newest, ("-", "-")), (newest, ("inherited from tank", "quiet")),
            (newest, ("received", "quiet")), ("kairos-yesterday", ("local", "quiet")),
        ]
        for (name, trigger) in others {
            let read = try await read(rows(name, trigger: trigger))
            #expect(read.map(\.protections) == [[.foreign]], "\(name) \(trigger)")
        }
        let ours = try await read(rows(newest))
        let time = try #require(SnapshotName(parsing: newest)).time.milliseconds * 1_000_000
        #expect(ours == [RetainedSnapshot(name: newest, time: time, createtxg: 10)])
    }

    @Test("holds, clones and bookmarks protect")
    func protections() async throws {
        #expect(try await read(rows(newest, holds: "2")).first?.protections == [.held])
        #expect(try await read(rows(newest, clones: "tank/b,tank/c")).first?.protections == [.cloned])
        #expect(try await read(rows(newest, guid: 7), bookmarks: "6\n7\n").first?.protections == [.bookmarked])
        #expect(try await read(rows(newest, guid: 7), bookmarks: "6\n").first?.protections == [])
    }

    @Test("what cannot be read protects", arguments: ["creation", "guid", "userrefs", "createtxg", "clones"])
    func unknown(property: String) async throws {
        let lines = rows(newest).split(separator: "\n").filter { !$0.contains("\t\(property)\t") }
        #expect(
            try await read(lines.joined(separator: "\n") + "\n").first?.protections.contains(.unknown) == true)
    }

    @Test("a value that forges the rows of another snapshot protects all")
    func forged() async throws {
        let forgery = "quiet\ntank/a@kairos-2020-01-01T00.00.00.000Z\tkairos:trigger\tlocal\tquiet"
        let text =
            rows("mine", txg: 5, trigger: ("local", forgery))
            + rows("kairos-2020-01-01T00.00.00.000Z", guid: 2, trigger: ("-", "-"))
        let read = try await read(text)
        #expect(read.count == 2 && read.allSatisfy { $0.protections.contains(.unknown) }, "\(read)")
    }

    @Test("of those below nothing is read, and the order is ZFS's")
    func order() async throws {
        let below = rows("kairos-2026-01-01T00.00.00.000Z").replacing("tank/a@", with: "tank/a/b@")
        let text =
            rows("kairos-2026-01-02T00.00.00.000Z", txg: 30) + rows("kairos-2026-01-03T00.00.00.000Z", txg: 20)
        let read = try await read(text + below)
        #expect(read.map(\.createtxg) == [20, 30] && read.allSatisfy { $0.protections.isEmpty })
    }

    @Test("zfs-fuse knows neither clones nor groups: origins tell, and times order")
    func old() async throws {
        let zfs = try FakeZFS()
        try zfs.write(
            "rows",
            rows("kairos-2026-01-02T00.00.00.001Z", txg: nil, clones: nil)
                + rows("kairos-2026-01-02T00.00.00.000Z", txg: nil, clones: nil)
                + rows("kairos-2026-01-05T00.00.00.000Z", txg: nil, clones: nil, creation: "1700000000")
                + "tank/a\tkairos:trigger\t-\t-\ntank/a/b\tkairos:trigger\t-\t-\n")
        try zfs.write("origins", "-\ntank/a@kairos-2026-01-02T00.00.00.000Z\n")
        try zfs.answer(
            """
            case "$*" in
            get*-t*) echo "invalid option 't'" >&2; exit 2;;
            *createtxg*) echo "bad property list: invalid property 'createtxg'" >&2; exit 2;;
            *origin*) cat $dir/origins;;
            *) cat $dir/rows;;
            esac
            """)
        let read = try await SnapshotCatalog(zfs.command()).snapshots(of: "tank/a")
        #expect(read.map { $0.name.suffix(13) } == ["00.00.00.000Z", "00.00.00.000Z", "00.00.00.001Z"])
        #expect(read.map(\.createtxg) == [1, 2, 3] && read[0].name.contains("01-05"))
        #expect(read.map(\.protections) == [[], [.cloned], []])
    }
}

@Suite("Destroying")
struct PrunerTests {
    private let names = (0..<250).map { "kairos-2026-01-01T00.00.00.\(String($0 + 1000).dropFirst())Z" }

    @Test("a hundred a call, one dataset")
    func batches() async throws {
        let zfs = try FakeZFS()
        let outcome = await Pruner(zfs.command()).destroy(names, of: "tank/a")
        #expect(outcome == Pruner.Outcome(destroyed: names, busy: [], failed: [], errors: []))
        let calls = try zfs.calls()
        #expect(calls.map(\.count) == [3, 3, 3] && calls.allSatisfy { $0.prefix(2) == ["zfs", "destroy"] })
        #expect(calls.map { $0[2].split(separator: ",").count } == [100, 100, 50])
        #expect(calls.allSatisfy { $0[2].hasPrefix("tank/a@kairos-") && !$0[2].dropFirst(8).contains("@") })
    }

    @Test("one that is in use holds up no other; one that is gone is gone")
    func busy() async throws {
        let zfs = try FakeZFS()
        try zfs.answer(
            """
            case "$*" in
            *,*) echo "cannot destroy 'tank/a@x': dataset is busy" >&2; exit 1;;
            *.001Z) echo "cannot destroy 'tank/a@x': dataset is busy" >&2; exit 1;;
            *.002Z) echo "cannot destroy 'tank/a@x': snapshot has dependent clones" >&2; exit 1;;
            *.003Z) echo "could not find any snapshots to destroy; check snapshot names." >&2; exit 1;;
            *.004Z) echo "cannot destroy 'tank/a@x': permission denied" >&2; exit 1;;
            esac
            """)
        let outcome = await Pruner(zfs.command()).destroy(Array(names[..<6]), of: "tank/a")
        #expect(outcome.destroyed == [names[0], names[3], names[5]])
        #expect(outcome.busy == [names[1], names[2]] && outcome.failed == [names[4]])
        #expect(outcome.errors.map(\.kind) == [.permission])
    }

    @Test("a pool that does not answer is not asked again")
    func pool() async throws {
        let zfs = try FakeZFS()
        try zfs.answer("echo \"cannot destroy 'tank/a@x': pool I/O is currently suspended\" >&2; exit 1")
        let outcome = await Pruner(zfs.command()).destroy(names, of: "tank/a")
        #expect(outcome.failed == names && outcome.errors.count == 1)
        #expect(try zfs.calls().count == 1)
    }

    @Test("where a comma is not known, it is tried once")
    func single() async throws {
        let zfs = try FakeZFS()
        try zfs.answer(
            "case \"$*\" in *,*) echo \"cannot open 'tank/a@x,y': invalid character ',' in snapshot name\" >&2; exit 1;; esac"
        )
        let outcome = await Pruner(zfs.command()).destroy(names, of: "tank/a")
        #expect(outcome.destroyed == names)
        #expect(try zfs.calls().count == 251)
    }
}
