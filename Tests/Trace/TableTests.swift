import Datasets
import Glibc
import TestSupport
import Testing
import Tracing

@testable import Trace

@Suite("The table")
struct TableTests {
    private let head = "2026-11-22T09:05:00.123456789Z    4711 vim             "

    private func header(_ times: TraceTable.Times) -> String {
        var style = TraceTable.Style()
        style.times = times
        var out = ByteBuffer()
        TraceTable(style, start: nil).appendHeader(to: &out)
        return text(out.bytes)
    }

    @Test("a write, whole, and where its columns stand")
    func write() {
        #expect(
            header(.absolute)
                == "TIME                               PID COMM            OP      BYTES FS               PATH\n")
        #expect(
            tableLine(.sample())
                == "2026-11-22T09:05:00.123456789Z    4711 vim             W         512 ext4             /srv/notes.txt"
        )
    }

    @Test(
        "every operation by its letters",
        arguments: [
            ("create", "C "), ("write", "W "), ("truncate", "T "), ("store", "S "), ("mkdir", "Cd"), ("unlink", "D "),
            ("rmdir", "Dd"), ("rename", "R "), ("link", "L "), ("attr", "A "), ("map", "M "), ("close", "c "),
            ("sync", "s "),
        ])
    func operation(name: String, letters: String) throws {
        let operation = try #require(Operations.named.first { $0.name == name }).operation
        #expect(tableLine(.plain(operation)) == head + letters + "          - ext4             /srv/notes.txt")
        #expect(
            tableLine(.plain(operation) { $0.bytes = 512 }) == head + letters
                + "        512 ext4             /srv/notes.txt")
        #expect(TraceTable.letters.contains { $0.operation == operation })
    }

    @Test("a directory's, and what failed, stand out")
    func marks() {
        #expect(tableLine(.plain(.attr) { $0.flags = .directory }).hasPrefix(head + "Ad          - ext4"))
        #expect(tableLine(.plain(.mkdir) { $0.flags = .directory }).hasPrefix(head + "Cd          - ext4"))
        #expect(tableLine(.failed(.unlink, 2)) == head + "D!          - ext4             /srv/notes.txt ENOENT")
        #expect(tableLine(.failed(.rmdir, 39)) == head + "Dd!         - ext4             /srv/notes.txt ENOTEMPTY")
    }

    @Test("a rename, a path that lost its beginning, one that is not known, a dataset")
    func paths() {
        let rest = "R           - ext4             "
        #expect(tableLine(.renamed) == head + rest + "/srv/a -> /srv/b")
        let renamed = TraceEvent.renamed
        #expect(tableLine(renamed.with { $0.path = nil }) == head + rest + "/srv/a -> ?")
        let truncated = renamed.with {
            ($0.path, $0.oldPath) = (ascii("y/b"), ascii("y/a"))
            $0.flags = .truncated
        }
        #expect(tableLine(truncated) == head + rest + "…/y/a -> …/y/b")
        #expect(tableLine(.sample { $0.path = nil }).hasSuffix(" ext4             ?"))
        let dataset = TraceEvent.sample { $0.place = TracePlace(name: ascii("tank/home"), isDataset: true) }
        #expect(tableLine(dataset).hasSuffix("W         512 tank/home        /srv/notes.txt"))
        let long = TraceEvent.sample { $0.place = TracePlace(name: ascii("tank/a/very/long/name"), isDataset: true) }
        #expect(tableLine(long).hasSuffix("W         512 tank/a/very/long/name /srv/notes.txt"))
    }

    @Test("columns keep apart when something is too wide")
    func wide() {
        let event = TraceEvent.sample {
            ($0.pid, $0.bytes, $0.command) = (4_194_304, .max, CommandName(ascii("123456789012345")))
        }
        #expect(
            tableLine(event)
                == "2026-11-22T09:05:00.123456789Z 4194304 123456789012345 W  18446744073709551615 ext4             "
                + "/srv/notes.txt")
    }

    /// In a process of its own: nobody else may look at the environment while it changes.
    @Test("local time of day to the millisecond, with summer time")
    func localTimes() async {
        #expect(header(.local).hasPrefix("TIME             PID COMM"))
        await #expect(processExitsWith: .success) {
            // Central European time, by its rules and not by a file that may be missing.
            setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1)
            tzset()
            let times: [(wall: Int64, wanted: String)] = [
                (1_795_338_300_123_999_999, "10:05:00.123"), (1_782_907_200_000_000_000, "14:00:00.000"),
                // The change to summer time, and back.
                (1_774_745_999_999_999_999, "01:59:59.999"), (1_774_746_000_000_000_000, "03:00:00.000"),
                (1_792_889_999_000_000_000, "02:59:59.000"), (1_792_890_000_000_000_000, "02:00:00.000"),
                (-1, "01:00:00.000"),
            ]
            for (wall, wanted) in times {
                let line = tableLine(.sample { $0.wall = wall }) { $0.times = .local }
                #expect(line.hasPrefix(wanted + "    4711 vim"), "\(line)")
            }
        }
    }

    @Test("seconds since the beginning, or since the first event")
    func relativeTimes() {
        let events = [5_000_000_000, 5_000_001_999, 3_605_123_456_789, 4_000_000_000].map { (time: UInt64) in
            TraceEvent.sample { $0.time = time }
        }
        let shown = { (start: UInt64?) in
            tableLines(events, start: start) { $0.times = .relative }.map { text($0).prefix(13) }
        }
        #expect(shown(nil) == ["     0.000000", "     0.000001", "  3600.123456", "     0.000000"])
        #expect(shown(4_500_000_000) == ["     0.500000", "     0.500001", "  3600.623456", "     0.000000"])
        #expect(header(.relative).hasPrefix("TIME              PID COMM"))
    }

    @Test("colours on a terminal, and not a byte of them elsewhere")
    func colours() {
        let colour = { (event: TraceEvent) in tableLine(event) { $0.hasColours = true } }
        #expect(colour(.sample()) == head + "\u{1B}[33mW\u{1B}[0m         512 ext4             /srv/notes.txt")
        #expect(
            colour(.failed(.unlink, 2))
                == head + "\u{1B}[31mD!\u{1B}[0m          - ext4             /srv/notes.txt \u{1B}[31mENOENT\u{1B}[0m")
        var random = SplitMix64(seed: 5)
        for _ in 0..<200 {
            let event = random.event()
            #expect(!tableLine(event).utf8.contains(0x1B))
            // A colour takes no room: without them the line is the same.
            #expect(colour(event).replacing(/\u{1B}\[[0-9]+m/, with: "") == tableLine(event))
        }
    }
}

@Suite("The table on a terminal")
struct TerminalTests {
    /// A path of so many components of ten bytes.
    private func deep(_ count: Int) -> [UInt8] { (0..<count).flatMap { ascii("/directory\($0)") } }

    private func line(_ event: TraceEvent, columns: Int?) -> String { tableLine(event) { $0.columns = columns } }

    @Test("long paths lose their middle, and keep more of their end; without a terminal nothing goes")
    func middle() {
        let event = TraceEvent.sample {
            $0.path = ascii("/home/somebody/projects/kairos/Sources/Trace/TraceTable.swift")
        }
        #expect(line(event, columns: nil).hasSuffix(text(event.path ?? [])))
        #expect(line(event, columns: 148).hasSuffix(" " + text(event.path ?? [])))
        #expect(line(event, columns: 117).hasSuffix(" /home/some…ce/TraceTable.swift"), "\(line(event, columns: 117))")
    }

    @Test("a line never is wider than the terminal")
    func width() {
        let events = [
            TraceEvent.sample { $0.path = self.deep(20) },
            .failed(.create, 131).with { $0.path = self.deep(20) },
            .failed(.create, 2).with { $0.path = ascii("/a") },
            .renamed.with { ($0.path, $0.oldPath) = (self.deep(20), self.deep(19)) },
            .renamed.with { ($0.path, $0.oldPath) = (self.deep(20), ascii("/a")) },
            .renamed.with { ($0.path, $0.oldPath, $0.result) = (self.deep(20), self.deep(19), -18) },
            .renamed.with {
                ($0.path, $0.oldPath) = (Array(self.deep(20).dropFirst()), Array(self.deep(20).dropFirst()))
                $0.flags = .truncated
            },
            .sample { $0.path = ascii(String(repeating: "/ä\u{1B}é", count: 40)) },
        ]
        for event in events {
            for columns in 125...400 {
                let line = line(event, columns: columns)
                #expect(line.unicodeScalars.count <= columns, "\(columns): \(line)")
            }
        }
    }

    @Test("both ends of every path stay, however narrow the terminal is", arguments: [0, 1, 40, 80, 100])
    func narrow(columns: Int) {
        let event = TraceEvent.renamed.with { ($0.path, $0.oldPath) = (self.deep(20), self.deep(19)) }
        let line = line(event, columns: columns)
        #expect(line.hasSuffix("ry19"), "\(line)")
        #expect(line.contains(" /di"), "\(line)")
        #expect(line.contains("ry18 -> "), "\(line)")
    }

    @Test("a path that fits is whole")
    func fits() {
        for count in 1...20 {
            let event = TraceEvent.sample { $0.path = self.deep(count) }
            let whole = line(event, columns: nil)
            // Below that the columns before it are narrower.
            guard whole.count >= 110 else { continue }
            #expect(line(event, columns: whole.count + 1) == whole)
        }
    }

    @Test("on a narrow terminal the columns before the path give way, and names in them are cut")
    func narrowColumns() {
        let event = TraceEvent.sample {
            $0.command = CommandName(ascii("a-long-command"))
            $0.place = TracePlace(name: ascii("tank/home/somebody"), isDataset: true)
            $0.path = ascii("/home/somebody/notes.txt")
        }
        let line = tableLine(event) {
            $0.columns = 80
            $0.times = .local
        }
        #expect(line.contains(" a-long-co… W      512 tank/… /home/somebody/notes.txt"), "\(line)")
        #expect(line.unicodeScalars.count <= 80, "\(line)")
    }
}
