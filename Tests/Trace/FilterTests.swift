import Datasets
import Testing
import Tracing

@testable import Trace

@Suite("Which events of a recording are shown")
struct FilterTests {
    private func filter(
        trees: [String]? = nil, datasets: [String] = [], _ change: (inout TraceSelection) -> Void = { _ in }
    ) -> TraceFilter {
        var selection = TraceSelection()
        change(&selection)
        return TraceFilter(selection, trees: trees?.map(ascii), datasets: Set(datasets.map(ascii)))
    }

    private func shows(_ filter: TraceFilter, _ event: TraceEvent) -> Bool {
        var filter = filter
        return filter.shows(event)
    }

    @Test("without a choice everything that succeeded")
    func everything() {
        for (operation, name) in Operations.named { #expect(shows(filter(), .plain(operation)), "\(name)") }
        #expect(shows(filter(), .sample { $0.path = nil }))
        #expect(!shows(filter(), .failed(.write, 28)))
        #expect(shows(filter { $0.showsFailures = true }, .failed(.write, 28)))
        #expect(shows(filter { $0.showsFailures = true }, .sample()))
    }

    @Test(
        "a tree by its path: itself and what is below",
        arguments: [
            ("/srv", "/srv", true), ("/srv", "/srv/a", true), ("/srv", "/srv/a/b", true), ("/srv", "/srvx", false),
            ("/srv", "/srvx/srv/a", false), ("/srv", "/sr", false), ("/srv", "/", false), ("/srv", "/a/srv/b", false),
            ("/", "/a", true), ("/", "/", true), ("/srv/a", "/srv/ab", false), ("/srv/a", "/srv/a/", true),
            ("/srv", "srv/a", false), ("/srv", "", false),
        ])
    func trees(tree: String, path: String, isShown: Bool) {
        #expect(shows(filter(trees: [tree]), .sample { $0.path = ascii(path) }) == isShown)
        #expect(TraceFilter.isBelow(ascii(path), ascii(tree)) == isShown)
    }

    @Test("either path of a rename is enough; without any path nothing tells")
    func renames() {
        let event = TraceEvent.renamed
        #expect(shows(filter(trees: ["/srv/a"]), event))
        #expect(shows(filter(trees: ["/srv/b"]), event))
        #expect(!shows(filter(trees: ["/srv/c"]), event))
        #expect(shows(filter(trees: ["/srv/c", "/srv/b"]), event))
        #expect(!shows(filter(trees: ["/srv"]), .sample { $0.path = nil }))
    }

    @Test("a dataset by its name, and not another file system of that name")
    func datasets() {
        let event = TraceEvent.sample {
            $0.place = TracePlace(name: ascii("tank/home"), isDataset: true)
            $0.path = nil
        }
        #expect(shows(filter(trees: [], datasets: ["tank/home"]), event))
        #expect(!shows(filter(trees: [], datasets: ["tank"]), event))
        #expect(!shows(filter(trees: [], datasets: ["tank/home/a"]), event))
        var other = event
        other.place.isDataset = false
        #expect(!shows(filter(trees: [], datasets: ["tank/home"]), other))
        #expect(shows(filter(trees: ["/srv"], datasets: ["tank"]), .sample()))
    }

    @Test("live, what the programs placed in a tree is in it; what they could not tell goes by its path")
    func live() {
        let filter = filter(trees: ["/srv"])
        #expect(filter.shows(.sample { $0.path = ascii("/elsewhere") }, isBelow: true))
        #expect(filter.shows(.sample(), isBelow: false))
        #expect(!filter.shows(.sample { $0.path = ascii("/srvx") }, isBelow: false))
    }

    @Test("operations, users, names of processes")
    func choices() {
        #expect(shows(filter { $0.operations = [.write, .rename] }, .renamed))
        #expect(!shows(filter { $0.operations = [.write] }, .renamed))
        #expect(shows(filter { $0.users = [0, 1000] }, .sample()))
        #expect(!shows(filter { $0.users = [0] }, .sample()))
        #expect(shows(filter { $0.commands = [CommandName(ascii("vim"))] }, .sample()))
        #expect(!shows(filter { $0.commands = [CommandName(ascii("vi"))] }, .sample()))
        // All that are given have to fit.
        #expect(
            !shows(
                filter {
                    $0.users = [1000]
                    $0.processes = [1]
                }, .sample()))
    }

    @Test("the name of a process counts up to its 15 bytes")
    func longCommand() {
        let event = TraceEvent.sample { $0.command = CommandName(ascii("systemd-journal")) }
        #expect(shows(filter { $0.commands = [CommandName(ascii("systemd-journald"))] }, event))
        #expect(!shows(filter { $0.commands = [CommandName(ascii("systemd-journ"))] }, event))
    }

    @Test("a process, and with follow what descends from it, in the order of the recording")
    func processes() {
        func event(_ pid: UInt32, of parent: UInt32) -> TraceEvent {
            .sample { ($0.pid, $0.parent) = (pid, parent) }
        }
        let events = [
            event(10, of: 1), event(12, of: 11), event(11, of: 10), event(12, of: 11), event(12, of: 1),
            event(13, of: 9),
        ]
        var alone = filter { $0.processes = [10] }
        #expect(events.map { alone.shows($0) } == [true, false, false, false, false, false])
        // The grandchild's first event comes before anything tells that it is one; later it has another parent.
        var followed = filter {
            $0.processes = [10]
            $0.followsChildren = true
        }
        #expect(events.map { followed.shows($0) } == [true, false, true, true, true, false])
    }

    /// Else `kairos trace --replay FILE /srv/`, as a shell completes it, would show nothing.
    @Test(
        "what a replay is asked for: a path, however it is written, or a dataset",
        arguments: [
            ("/srv", "/srv", nil), ("/srv/", "/srv", nil), ("//srv//a//", "/srv/a", nil), ("/", "/", nil),
            ("//", "/", nil),
            ("/srv/./a/..", "/srv", nil), ("tank/home", nil, "tank/home"),
        ] as [(String, String?, String?)])
    func targets(name: String, path: String?, dataset: String?) {
        let target = TraceTarget(replaying: name)
        #expect(target.paths.map(text) == [path].compactMap(\.self))
        #expect(target.dataset == dataset)
    }
}
