import Datasets
import FoundationEssentials
import Glibc
import SystemPackage
import Testing
import Tracing

/// How one operation was seen with one probe set.
private enum Sight: String {
    /// Once: one snapshot, of the right dataset, that holds it; and the record names the right path, and inode where it
    /// names one.
    case seen
    /// As above, but the record could not say which file.
    case unnamed = "seen, not named"
    /// One snapshot that holds it, after a check of ZFS's own figures.
    case checked = "seen by a check"
    /// No probe saw it: the audit is what finds it.
    case audit
    /// The file system does not have it.
    case refused
    case wrong
}

extension IntegrationTests {
    /// Every operation with every probe set that this kernel takes. What comes out of it is docs/coverage.md.
    @Suite("Coverage")
    struct CoverageTests {
        /// What a set is known not to see, and what a file system may refuse, by the beginnings of names. Anything else
        /// that is not seen is a failure; so is one of these that is.
        private static func expected(_ set: ProbeSet, _ call: TracedCall) -> [Sight] {
            switch (set, call.name) {
            // The names are gone when the request has ended, so ZFS is asked.
            case (.syscalls, "io_uring unlinkat"): [.checked]
            // At the end of the call the path is gone, or the descriptor is another file's.
            case (.syscalls, "io_uring bind"), (.syscalls, "io_uring openat(O_CREAT), into the ring's own table"),
                (.syscalls, "splice, while another thread puts another file in the descriptor's place"):
                [.checked]
            default: [.seen]
            }
        }

        /// In brief the best set of each guest; `syscalls` is the native machine's.
        private static let covered = OpenZFS.isBrief ? OpenZFS.chosen : ProbeSet.allCases

        @Test("a virtual machine with OpenZFS takes every set", .enabled(if: exists("/kairos/command")))
        func taken() {
            for set in ProbeSet.allCases {
                #expect(throws: Never.self) { _ = try Probes(set, mode: .watch, ringBytes: 1 << 16) }
            }
        }

        @Test("each operation is seen exactly once, by each probe set", arguments: covered)
        func coverage(set: ProbeSet) async throws {
            let fixture = try Fixture.current()
            do throws(ProbeError) {
                _ = try Probes(set, mode: .watch, ringBytes: 1 << 16)
            } catch {
                // Which sets a kernel takes is its own affair; that there is one is another test's.
                CoverageReport.add(set, "-", "not here", error.description)
                return
            }
            let calls = TracedCall.all + TracedCall.further
            for call in calls { try call.prepare(in: fixture, below: set.rawValue) }
            let names = (TracedCall.targets + [Fixture.sentinel]).map(fixture.name)
            let options = ["run", "--json", "--changes", "--probes", set.rawValue, "--audit", "off"] + .prompt
            try await KairosProcess.run(options + names) { kairos in
                try await kairos.ready()
                for call in calls {
                    try await kairos.rest(in: fixture)
                    let (sight, detail) = try await see(call, set, kairos, fixture)
                    CoverageReport.add(set, call.name, sight.rawValue, detail)
                    #expect(
                        sight == .refused || Self.expected(set, call).contains(sight),
                        "\(set.rawValue), \(call.name): \(sight.rawValue) \(detail)\n\(kairos.transcript.suffix(4000))")
                }
                for call in TracedCall.unseen {
                    let directory = fixture.path(call.dataset) + "/" + set.rawValue + call.directory
                    try makeDirectory(directory)
                    try await kairos.rest(in: fixture)
                    let before = try await fixture.snapshots(of: call.dataset).count
                    let held = try call.act(TracedCall.Site(directory: directory, descriptor: -1)) ?? -1
                    defer { if held >= 0 { close(CInt(held)) } }
                    // The creation and the deletion are changes; what follows is none.
                    _ = before
                    try await kairos.rest(in: fixture)
                    let snapshots = try await kairos.snapshots(of: [], in: fixture) {
                        _ = write(CInt(held), "content", 7)
                        ftruncate(CInt(held), 3)
                    }
                    #expect(
                        snapshots.isEmpty,
                        "\(set.rawValue), \(call.name): \(snapshots)\n\(kairos.transcript.suffix(4000))")
                    CoverageReport.add(set, call.name, snapshots.isEmpty ? "no snapshot, rightly" : "wrong", "")
                }
                _ = kairos.claim()
            }
        }

        private func see(
            _ call: TracedCall, _ set: ProbeSet, _ kairos: KairosProcess, _ fixture: Fixture
        ) async throws -> (Sight, String) {
            let directory = fixture.path(call.dataset) + "/" + set.rawValue + call.directory
            let start = kairos.claim().start
            var refusal: String?
            let snapshots = try await kairos.snapshots(of: [], in: fixture) {
                let file: CInt =
                    if let flags = call.opened { open(directory + "/file", flags | O_CLOEXEC) } else { -1 }
                var returned: Int?
                defer { for descriptor in [file, CInt(returned ?? -1)] where descriptor >= 0 { close(descriptor) } }
                do {
                    returned = try call.act(TracedCall.Site(directory: directory, descriptor: file))
                } catch let error as CallError where Self.means(error.errno) {
                    refusal = "\(error)"
                }
                // What comes of a path that is resolved later, or of a check, may be behind the sentinel.
                if refusal == nil {
                    _ = await wait(for: .seconds(15)) {
                        kairos.events.dropFirst(start).contains {
                            $0.event == "snapshot" && $0.dataset == fixture.name(call.dataset)
                        }
                    }
                }
            }
            if let refusal { return (.refused, refusal) }
            let name = fixture.name(call.dataset)
            guard let snapshot = snapshots.first else { return (.audit, "") }
            guard snapshots.count == 1, snapshot.dataset == name else {
                return (.wrong, "snapshots of \(snapshots.map(\.fullName))")
            }
            let below = set.rawValue + call.directory
            let tree = try await SnapshotReader(fixture: fixture).tree(of: snapshot.fullName, below: below)
            guard tree.entries == call.expected else { return (.wrong, "the snapshot holds \(tree.entries)") }
            var changes: [KairosEvent] {
                kairos.events.dropFirst(start).filter { $0.event == "change" && $0.dataset == name }
            }
            if snapshot.changes == [:] {
                guard snapshot.trigger != "check" else { return (.checked, "") }
                // OpenZFS reports it before the call has ended, and on a busy machine the quiet time passes meanwhile: the record
                // comes behind the snapshot.
                guard await wait(for: .seconds(15), until: { !changes.isEmpty }) else { return (.unnamed, "") }
            } else {
                guard snapshot.changes?[call.kind] == 1 else { return (.wrong, "told as \(snapshot.changes ?? [:])") }
            }
            guard let change = changes.first(where: { $0.op == call.kind }) else { return (.wrong, "no record of it") }
            // The name that is there after the call, else the one that was there before.
            let paths = [change.newPath, change.path].compactMap(\.self)
            guard let path = paths.first, path.hasPrefix(below + "/") else { return (.wrong, "told of \(paths)") }
            if let inode = change.inode, let status = try? status(of: fixture.path(call.dataset) + "/" + path),
                status.st_ino != inode
            {
                return (.wrong, "told of inode \(inode) and not \(status.st_ino)")
            }
            return (.seen, "")
        }

        /// That the file system or the architecture does not have the operation.
        private static func means(_ errno: Errno) -> Bool {
            [.notSupported, .noFunction, .invalidArgument, .notPermitted, .improperLink, .inappropriateIOCTLForDevice]
                .contains(errno)
        }
    }
}

/// The rows of the table, for `Tests/coverage`.
enum CoverageReport {
    static func add(_ set: ProbeSet, _ operation: String, _ sight: String, _ detail: String) {
        ReportRows.add("KAIROS_COVERAGE", [set.rawValue, operation, sight, detail])
    }
}
