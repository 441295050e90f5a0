import Datasets
import TestSupport
import Testing
import Tracing

@testable import Trace

@Suite("docs/trace-schema.json")
struct SchemaTests {
    private let schema: JSONSchema

    init() throws { schema = try JSONSchema.ofTrace() }

    @Test("random events fit it", arguments: seeds)
    func events(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        for _ in 0..<400 {
            let line = jsonLine(random.event())
            #expect(schema.problems(line: line) == [], "seed \(hex(seed)): \(text(line))")
        }
    }

    @Test("it has each operation, flag and probe")
    func words() throws {
        for (operation, name) in Operations.named {
            #expect(schema.problems(line: jsonLine(.plain(operation))) == [], "\(name)")
        }
        for (flag, name) in TraceFlags.named {
            #expect(schema.problems(line: jsonLine(.sample { $0.flags = flag })) == [], "\(name)")
        }
        for index in 0...Probe.names.count {
            let line = jsonLine(.sample { $0.probe = Probe(rawValue: UInt32(index)) })
            #expect(schema.problems(line: line) == [], "\(text(line))")
        }
    }

    @Test("of the version that is written")
    func version() {
        let line = text(jsonLine(.sample())).replacing("\"v\":1,", with: "\"v\":2,", maxReplacements: 1)
        #expect(JSONLines.version == 1)
        #expect(schema.problems(line: ascii(line)) != [])
    }

    /// A line and what is put in the place of what in it.
    @Test(
        "it refuses what is wrong",
        arguments: [
            (#""ts_ns":5000000000,"#, ""),
            (#""ts_ns":5000000000"#, #""ts_ns":5000000000.5"#),
            (#""ts_ns":5000000000"#, #""ts_ns":18446744073709551616"#),
            (#""ts_ns":5000000000"#, #""ts_ns":"5000000000""#),
            (#""ts_ns":5000000000"#, #""ts_ns":-1"#),
            (#""ts_ns":5000000000"#, #""ts_ns":null"#),
            (#""time":"2026-11-22T09:05:00.123456789Z""#, #""time":"2026-11-22T09:05:00.123Z""#),
            (#""time":"2026-11-22T09:05:00.123456789Z""#, #""time":"2026-11-22 09:05:00.123456789Z""#),
            (#""op":"write""#, #""op":"read""#),
            (#""op":"write""#, #""op":"""#),
            (#""flags":[]"#, #""flags":null"#),
            (#""flags":[]"#, #""flags":["call"]"#),
            (#""flags":[]"#, #""flags":["early","early"]"#),
            (#""pid":4711"#, #""pid":4294967296"#),
            (#""pid":4711"#, #""pid":true"#),
            (#""comm":"vim""#, #""comm":null"#),
            (#""comm":"vim""#, #""comm":"vim","comm_raw":"/w==""#),
            (#""comm":"vim""#, #""comm":null,"comm_raw":"/w=""#),
            (#""comm":"vim""#, #""comm":null,"comm_raw":"""#),
            (#""dev":"8:1""#, #""dev":"801""#),
            (#""inode":42"#, #""inode":null"#),
            (#""generation":7"#, #""generation":null"#),
            (#""dataset":null"#, #""dataset":"""#),
            (#""dataset":null"#, #""dataset":"tank""#),
            (#""fs":"ext4""#, #""fs":null"#),
            (#""path":"/srv/notes.txt""#, #""path":"""#),
            (#""path":"/srv/notes.txt""#, #""path":"/srv","path_raw":"L/8=""#),
            (#""old_path":null"#, #""old_path":"/srv/a""#),
            (#""old_path":null"#, #""old_path":null,"old_path_raw":"L/8=""#),
            (#""bytes":512"#, #""bytes":-512"#),
            (#""offset":1024"#, #""offset":1e3"#),
            (#""ret":512"#, #""ret":"512""#),
            (#""errno":null"#, #""errno":"ENOENT ""#),
            (#""errno":null"#, #""errno":2"#),
            (#""probe":"vfs_write""#, #""probe":"""#),
            (#""probe":"vfs_write""#, #""probe":"vfs_write","more":1"#),
            (#""probe":"vfs_write"}"#, #""probe":"vfs_write""#),
            (#""uid":1000"#, #""uid":1000,"uid":1000"#),
        ])
    func refuses(piece: String, other: String) {
        let line = text(jsonLine(.sample()))
        #expect(line.contains(piece), "the test itself: \(piece)")
        #expect(schema.problems(line: ascii(line)) == [])
        #expect(schema.problems(line: ascii(line.replacing(piece, with: other, maxReplacements: 1))) != [], "\(other)")
    }

    @Test("it takes what may be null as null", arguments: ["path", "bytes", "offset", "ret", "epoch", "probe"])
    func nulls(field: String) throws {
        var members = try #require(try JSONValue(parsing: jsonLine(.sample())).object)
        members[field] = .null
        #expect(schema.problems(.object(members)) == [])
        members[field] = nil
        #expect(schema.problems(.object(members)) == ["$.\(field) is missing"])
    }
}

@Suite("The tests' own validator")
struct JSONSchemaTests {
    @Test(
        "each keyword accepts and refuses",
        arguments: [
            (#"{"type":"integer"}"#, "1", "1.5"), (#"{"type":["string","null"]}"#, "null", "false"),
            (#"{"type":"number"}"#, "1.5", "\"1\""), (#"{"type":"boolean"}"#, "true", "null"),
            (#"{"type":"object"}"#, "{}", "[]"), (#"{"type":"array"}"#, "[]", "{}"),
            (#"{"enum":["a",null]}"#, "null", "\"b\""), (#"{"const":1}"#, "1", "2"),
            (#"{"minimum":0}"#, "0", "-1"),
            (#"{"maximum":18446744073709551615}"#, "18446744073709551615", "18446744073709551616"),
            (#"{"minLength":2}"#, "\"é!\"", "\"é\""), (#"{"pattern":"^a+$"}"#, "\"aa\"", "\"ab\""),
            (#"{"items":{"type":"null"}}"#, "[null]", "[null,1]"), (#"{"uniqueItems":true}"#, "[1,2]", "[1,1]"),
            (#"{"required":["a"]}"#, #"{"a":1}"#, #"{"b":1}"#),
            (#"{"properties":{"a":{"const":1}}}"#, #"{"b":2}"#, #"{"a":2}"#),
            (#"{"properties":{"a":false}}"#, #"{"b":2}"#, #"{"a":2}"#),
            (#"{"properties":{"a":true},"additionalProperties":false}"#, #"{"a":2}"#, #"{"b":2}"#),
            (#"{"dependentSchemas":{"a":{"required":["b"]}}}"#, #"{"c":1}"#, #"{"a":1}"#),
            (#"{"allOf":[{"minimum":1},{"maximum":2}]}"#, "2", "3"),
            (#"{"anyOf":[{"const":1},{"const":2}]}"#, "2", "3"),
            (##"{"$ref":"#/$defs/n","$defs":{"n":{"type":"null"}}}"##, "null", "1"),
        ])
    func keyword(schema: String, valid: String, invalid: String) throws {
        let schema = try JSONSchema(ascii(schema))
        #expect(schema.problems(line: ascii(valid)) == [])
        #expect(schema.problems(line: ascii(invalid)) != [])
    }

    @Test(
        "a schema with what it does not know is refused",
        arguments: [
            #"{"maxLength":3}"#, #"{"properties":{"a":{"format":"date"}}}"#, #"{"$defs":{"a":{"oneOf":[]}}}"#, "[]",
            #"{"pattern":"("}"#, #"{"anyOf":[{"not":{}}]}"#,
        ])
    func unknownKeyword(schema: String) { #expect(throws: (any Error).self) { try JSONSchema(ascii(schema)) } }

    @Test("a reference that leads nowhere is a problem")
    func reference() throws { #expect(try JSONSchema(ascii(##"{"$ref":"#/$defs/x"}"##)).problems(.null) != []) }

    @Test(
        "what is no JSON is not taken for it",
        arguments: [
            "", "{", "[1,]", "{\"a\":1,}", "01", "+1", "1.", ".5", "nul", "\"a\nb\"", "\"\\x\"", "\"\\u12\"",
            "\"\\ud800\"",
            "1 2", "{\"a\":1,\"a\":2}", "'a'", "\"a", "{a:1}", "\"\\u+123\"", "-",
        ])
    func syntax(line: String) { #expect(throws: JSONValue.SyntaxError.self) { try JSONValue(parsing: ascii(line)) } }

    @Test("what is JSON is read")
    func values() throws {
        let value = try JSONValue(parsing: ascii(#" { "a" : [ -1.5e+3, true, null, "\u00e9\ud83e\udde8\/" ] } "#))
        #expect(value["a"]?.array == [.number("-1.5e+3"), .bool(true), .null, .string("é🧨/")])
        #expect(throws: JSONValue.SyntaxError.self) { try JSONValue(parsing: [0x22, 0xFF, 0x22]) }
        #expect(throws: JSONValue.SyntaxError.self) {
            try JSONValue(parsing: Array(repeating: UInt8(ascii: "["), count: 100_000))
        }
    }
}
