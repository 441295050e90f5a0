import Datasets
import Glibc
import Testing

/// A file name that wants to be more than a name.
struct HostileName: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var bytes: [UInt8]

    init(_ description: String, _ bytes: [UInt8]) {
        testDescription = description
        self.bytes = bytes
    }

    static let all: [HostileName] = [
        HostileName("newline", Array("one\n{\"event\":\"stopped\"}".utf8)),
        HostileName("carriage return and tab", Array("a\r\tb".utf8)),
        HostileName("terminal escape", Array("\u{1B}]0;owned\u{07}\u{1B}[2J".utf8)),
        HostileName("8-bit control", Array("\u{9B}31m".utf8)),
        HostileName("right-to-left override", Array("exe.\u{202E}txt".utf8)),
        HostileName("invalid UTF-8", [0x66, 0xFF, 0xC3, 0x28, 0xED, 0xA0, 0x80]),
        HostileName("quotes and backslashes", Array(#"\"\\'$(reboot)`"#.utf8)),
        HostileName("255 bytes", Array(repeating: UInt8(ascii: "n"), count: 255)),
        HostileName("255 bytes of which each is escaped", Array(repeating: 1, count: 255)),
    ]
}

extension IntegrationTests {
    @Suite("Hostile names are shown, and break no line")
    struct HostileNameTests {
        @Suite("in JSON", .kairos("b", prepare: { try makeDirectory($0.path("b") + "/json") }))
        struct InJSON {
            @Test("of a file and of the process that made it", arguments: HostileName.all)
            func json(_ name: HostileName) async throws {
                let fixture = try Fixture.current()
                let kairos = try KairosTrait.current()
                let lines = kairos.lines.count
                let snapshot = try await kairos.onlySnapshot(of: "b", in: fixture) {
                    let place = Place(directory: fixture.path("b") + "/json", title: name.bytes)
                    try call("mkdirat", .here, .name(name.bytes), 0o755, from: place)
                }
                #expect(snapshot.paths == [SafeText.line(Array("json/".utf8) + name.bytes, limit: 4096)])
                #expect(snapshot.processes?.map(\.comm) == [SafeText.line(name.bytes.prefix(15))])
                for line in kairos.lines.dropFirst(lines) { expectPrintable(line) }
                #expect(kairos.undecoded == 0)
            }
        }

        @Test("in lines for people")
        func text() async throws {
            let fixture = try Fixture.current()
            let directory = fixture.path("b") + "/text"
            try makeDirectory(directory)
            let command = ["run"] + .prompt + [fixture.name("b")]
            let taken = try await fixture.snapshots(of: "b")
            try await KairosProcess.run(command) { kairos in
                try await kairos.message(containing: "watching")
                for (index, name) in HostileName.all.enumerated() {
                    let before = try await fixture.snapshots(of: "b")
                    let place = Place(directory: directory, title: name.bytes)
                    try call("mkdirat", .here, .name(name.bytes), 0o755, from: place)
                    let isTaken = try await wait(for: KairosProcess.patience) {
                        try await fixture.snapshots(of: "b").count > before.count
                    }
                    #expect(isTaken, "\(index): \(kairos.transcript)")
                }
                _ = try await kairos.stop()
                for line in kairos.lines {
                    expectPrintable(line)
                    #expect(String(decoding: line, as: UTF8.self).contains(" \(fixture.name("b"))@kairos-"))
                }
                expectPrintable(Array(kairos.messages.replacing("\n", with: " ").utf8))
                let new = try await fixture.snapshots(of: "b").count - taken.count
                #expect(kairos.lines.count == new, "a line a snapshot\n\(kairos.transcript)")
            }
        }
    }
}

/// Valid UTF-8, and nothing that a terminal would act on.
private func expectPrintable(_ line: [UInt8], sourceLocation: SourceLocation = #_sourceLocation) {
    let text = String(validating: line, as: UTF8.self)
    #expect(text != nil, "not UTF-8: \(line)", sourceLocation: sourceLocation)
    let bad = text?.unicodeScalars.filter { !SafeText.isPrintable($0) } ?? []
    #expect(bad.isEmpty, "\(bad) in \(text ?? "")", sourceLocation: sourceLocation)
}
