import TestSupport
import Testing

@testable import Datasets

@Suite struct TableTests {
    @Test func rows() {
        let text = "tank\tfilesystem\ntank/sp ace\tfilesystem\ntank/vol\tvolume\n"
        let table = ZFSOutput.table(Array(text.utf8), columns: 2)
        #expect(table.rows == [["tank", "filesystem"], ["tank/sp ace", "filesystem"], ["tank/vol", "volume"]])
        #expect(table.malformedLines == 0)
    }

    @Test func malformed() {
        var bytes = Array("tank\nno columns\n\na\tb\tc\td\n".utf8)
        bytes += [0x74, 0xFF, 0x09, 0x78, 0x0A]
        let table = ZFSOutput.table(bytes, columns: 3)
        #expect(table.rows == [["a", "b", "c\td"]])
        #expect(table.malformedLines == 3)
        #expect(ZFSOutput.table([] as [UInt8], columns: 2).rows.isEmpty)
        #expect(ZFSOutput.table(Array("x\n".utf8), columns: 0).rows.isEmpty)
    }
}

@Suite struct PropertiesTests {
    private func parse(_ text: String, _ names: Set<String>) -> ZFSOutput.Properties {
        ZFSOutput.properties(Array(text.utf8), properties: ["kairos:enabled", "kairos:ignore", "guid"]) {
            names.contains($0)
        }
    }

    @Test func asZFSFuseWritesThem() {
        // Real output, with a value of two lines and a tab.
        let text = """
            tank/helper\tkairos:enabled\tlocal\ton
            tank/helper\tkairos:ignore\tlocal\ta\tb
            c d
            tank/helper\tguid\t-\t15803276572900524513
            tank/helper/x\tkairos:enabled\tinherited from tank/helper\ton
            tank/helper/x\tkairos:ignore\t-\t-
            tank/helper/x\tguid\t-\t16008107793257125984

            """
        let parsed = parse(text, ["tank/helper", "tank/helper/x"])
        #expect(parsed.values["tank/helper"]?["kairos:ignore"] == PropertyValue("a\tb\nc d", .local))
        #expect(parsed.values["tank/helper"]?["guid"] == PropertyValue("15803276572900524513", .none))
        #expect(
            parsed.values["tank/helper/x"]?["kairos:enabled"] == PropertyValue("on", .inherited(from: "tank/helper"))
        )
        #expect(parsed.values["tank/helper/x"]?["kairos:ignore"]?.isSet == false)
        #expect(parsed.extraLines == 1)
        #expect(parsed.duplicateRows == 0)
        #expect(!parsed.isClean)
    }

    @Test func forgedRowsAreNoticed() {
        let text = "a\tkairos:ignore\tlocal\tx\nb\tkairos:enabled\tlocal\ton\nb\tkairos:enabled\t-\t-\n"
        let parsed = parse(text, ["a", "b"])
        #expect(parsed.duplicateRows == 1)
        #expect(!parsed.isClean)
        // Asked about alone, the forged row is a line of the value.
        #expect(
            parse("a\tkairos:ignore\tlocal\tx\nb\tkairos:enabled\tlocal\ton\n", ["a"]).values.keys.sorted() == ["a"])
    }

    @Test func emptyLinesAndGarbage() {
        let parsed = parse("garbage\na\tguid\t-\t1\n\n\na\tkairos:enabled\tlocal\t\n", ["a"])
        #expect(parsed.extraLines == 3)
        #expect(parsed.values["a"]?["guid"]?.value == "1\n\n")
        #expect(parsed.values["a"]?["kairos:enabled"] == PropertyValue("", .local))
    }

    @Test func invalidUTF8AndCombiningMarks() {
        var bytes = Array("a\tkairos:ignore\tlocal\t".utf8)
        // U+0301 right after the tab would make one character with it.
        bytes += Array("\u{301}".utf8) + [0xFF, 0x0A]
        let parsed = ZFSOutput.properties(bytes, properties: ["kairos:ignore"]) { $0 == "a" }
        #expect(parsed.values["a"]?["kairos:ignore"]?.value.unicodeScalars.map(\.value) == [0x301, 0xFFFD])
    }

    @Test(arguments: [
        ("local", PropertySource.local), ("default", .default), ("received", .received), ("-", .none),
        ("inherited from tank/a b", .inherited(from: "tank/a b")), ("temporary", .temporary),
        ("héllo", .other("héllo")),
    ])
    func sources(text: String, source: PropertySource) {
        #expect(PropertySource(parsing: text) == source)
        #expect(source.description == text)
    }

    @Test func fuzz() {
        var random = SplitMix64(seed: 3)
        let pieces = [
            "a", "b", "\t", "\n", "guid", "kairos:enabled", "local", "inherited from ", "\u{0}", "é", "\u{301}",
        ]
        for _ in 0..<3000 {
            var bytes: [UInt8] = []
            for _ in 0..<Int.random(in: 0..<40, using: &random) {
                bytes += Array((pieces.randomElement(using: &random) ?? "").utf8)
                if Int.random(in: 0..<20, using: &random) == 0 {
                    bytes.append(UInt8.random(in: 128...255, using: &random))
                }
            }
            let parsed = ZFSOutput.properties(bytes, properties: ["guid", "kairos:enabled"]) {
                ["a", "b"].contains($0)
            }
            let rows = parsed.values.values.reduce(0) { $0 + $1.count }
            var lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false)
            if lines.last?.isEmpty == true { lines.removeLast() }
            #expect(rows + parsed.extraLines + parsed.duplicateRows == lines.count)
            for columns in 0..<4 { _ = ZFSOutput.table(bytes, columns: columns) }
            _ = SafeText.line(bytes)
            _ = DatasetName.fault(in: String(decoding: bytes, as: UTF8.self))
        }
    }
}

@Suite struct SafeTextTests {
    @Test func control() {
        #expect(SafeText.line("a\u{1B}[31m\n\u{202E}é\u{7F}") == #"a\u{1B}[31m\u{A}\u{202E}é\u{7F}"#)
        #expect(SafeText.line([0x61, 0xFF, 0x0D]) == "a\u{FFFD}\\u{D}")
        #expect(SafeText.line("abcdef", limit: 3) == "abc…")
        #expect(SafeText.commandLine(["get", "tank/sp ace", "", "x;y"]) == "get 'tank/sp ace' '' 'x;y'")
    }
}

@Suite struct DatasetNameTests {
    @Test(arguments: [
        "tank", "tank/a", "tank/sp ace", "t/A_b-c.d:e", "t/...", "t/-x", String(repeating: "a", count: 255),
    ])
    func legal(name: String) {
        #expect(DatasetName.fault(in: name) == nil)
    }

    @Test(arguments: [
        ("", DatasetName.Fault.empty), ("/", .emptyComponent), ("/tank", .emptyComponent), ("tank/", .emptyComponent),
        ("tank//a", .emptyComponent), ("tank/..", .dots), ("./a", .dots), ("tank/a@b", .character("@")),
        ("tank/é", .character("é")), ("tank/\n", .character("\n")), ("tank/$(x)", .character("$")),
        ("-r", .noLetterFirst), ("1tank", .noLetterFirst), (" tank", .noLetterFirst),
        (String(repeating: "a", count: 256), .tooLong(256)),
    ])
    func illegal(name: String, fault: DatasetName.Fault) {
        #expect(DatasetName.fault(in: name) == fault)
        #expect(fault.description.unicodeScalars.allSatisfy(SafeText.isPrintable))
    }

    @Test func relations() {
        #expect(DatasetName.pool(of: "tank/a/b") == "tank")
        #expect(DatasetName.pool(of: "tank@x") == "tank")
        #expect(DatasetName.isBelow("tank/a/b", "tank/a"))
        #expect(!DatasetName.isBelow("tank/ab", "tank/a"))
        #expect(!DatasetName.isBelow("tank/a", "tank/a"))
    }
}
