import Glibc
import Testing

extension IntegrationTests {
    @Suite(
        "Ignored paths",
        .kairos(
            "a", "b", "c", options: .prompt + ["--ignore", "*.tmp,.cache/"],
            prepare: { fixture in
                for dataset in ["a", "b", "c"] {
                    let directory = fixture.path(dataset) + "/ignore"
                    try makeDirectory(directory + "/.cache")
                    for file in ["old.tmp", ".cache/kept"] { try write("content", to: directory + "/" + file) }
                }
            })
    )
    struct IgnoreTests {
        @Test("changes to them alone make no snapshot, another one does and is told alone")
        func ignored() async throws {
            let fixture = try Fixture.current()
            let kairos = try KairosTrait.current()
            let directory = fixture.path("a") + "/ignore"
            // When a path of some other process cannot be resolved, ZFS is asked, and ZFS knows of no ignored paths.
            let isCheck = { (snapshot: KairosEvent) in snapshot.trigger == "check" && snapshot.changes == [:] }
            let none = try await kairos.snapshots(of: [], in: fixture) {
                let file = try OpenFile(directory + "/new.tmp", O_WRONLY | O_CREAT | O_EXCL)
                try call("write", .descriptor(file.raw), .bytes(Array("text".utf8)), 4)
                try call("truncate", .text(directory + "/old.tmp"), 3)
                try call("renameat2", .here, .text(directory + "/old.tmp"), .here, .text(directory + "/now.tmp"), 0)
                try call("mkdirat", .here, .text(directory + "/.cache/sub"), 0o755)
                _ = try OpenFile(directory + "/.cache/sub/file", O_WRONLY | O_CREAT | O_EXCL)
                try call("unlinkat", .here, .text(directory + "/.cache/kept"), 0)
            }
            #expect(none.allSatisfy(isCheck), "\(kairos.transcript)")
            // A check may capture the change before it has come to rest; then another change is made.
            var made: [String] = []
            var told: KairosEvent?
            while told == nil, made.count < 20 {
                let start = kairos.claim().start
                made.append("ignore/beside-\(made.count)")
                try call("mkdirat", .here, .text(fixture.path("a") + "/" + made[made.count - 1]), 0o755)
                let snapshot = try await kairos.event("a snapshot of the change", from: start) {
                    $0.event == "snapshot" && $0.dataset == fixture.name("a")
                }
                if !isCheck(snapshot) { told = snapshot }
            }
            let snapshot = try #require(told, "only checks\n\(kairos.transcript)")
            #expect(snapshot.changes.map { Array($0.keys) } == ["mkdir"], "\(kairos.transcript)")
            #expect(Set(snapshot.paths ?? []).isSubset(of: made), "\(kairos.transcript)")
            #expect(snapshot.paths?.isEmpty == false)
            try await kairos.rest(in: fixture)
        }

        @Test("a rename out of them is a change")
        func renamedOut() async throws {
            let fixture = try Fixture.current()
            let directory = fixture.path("b") + "/ignore"
            let kairos = try KairosTrait.current()
            let snapshot = try await kairos.onlySnapshot(of: "b", in: fixture) {
                let opened = try OpenFile(directory, O_RDONLY | O_DIRECTORY)
                try call("renameat2", .descriptor(opened.raw), "old.tmp", .descriptor(opened.raw), "kept", 0)
            }
            #expect(snapshot.changes == ["rename": 1], "\(kairos.transcript)")
            #expect(snapshot.paths == ["ignore/kept"])
        }

        @Test("a rename out of them is a change, by paths that are resolved afterwards")
        func renamedOutByPath() async throws {
            let fixture = try Fixture.current()
            let directory = fixture.path("c") + "/ignore"
            let kairos = try KairosTrait.current()
            let snapshot = try await kairos.onlySnapshot(of: "c", in: fixture) {
                try call("renameat2", .here, .text(directory + "/old.tmp"), .here, .text(directory + "/kept"), 0)
            }
            #expect(snapshot.changes == ["rename": 1], "\(kairos.transcript)")
            #expect(snapshot.paths == ["ignore/kept"])
        }
    }
}
