import FoundationEssentials
import TestSupport
import Testing
import Tracing

@testable import Trace

/// Names are chosen by whoever may make a file or a process, and lines go to terminals and parsers of root's.
@Suite("Names of any bytes")
struct HostileNameTests {
    /// Each name as a file's, an old one's and a process's, alone and where it is long and deep.
    private static let events: [(what: String, event: TraceEvent)] = hostileNames.flatMap { name in
        let path = [UInt8(ascii: "/")] + name.bytes
        let long = [UInt8(ascii: "/")] + name.bytes + Array(repeating: UInt8(ascii: "x"), count: 255 - name.bytes.count)
        let deep = (0..<64).flatMap { _ in path }
        return [path, long, deep].map { path in
            let event = TraceEvent.plain(.rename) {
                $0.path = path
                $0.oldPath = path + path
                $0.command = CommandName(name.bytes)
            }
            return (name.what, event)
        }
    }

    /// No terminal takes these for more than a character: neither bytes below a blank, nor DEL, nor C1 in UTF-8 or out of it.
    private func isHarmless(_ line: [UInt8]) -> Bool {
        guard let text = String(validating: line, as: UTF8.self) else { return false }
        return text.unicodeScalars.allSatisfy { scalar in
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .unassigned, .privateUse: false
            default: true
            }
        }
    }

    @Test("one line each, of printable characters only, in both forms")
    func harmless() {
        for (what, event) in Self.events {
            for columns in [nil, 80, 200, 9000] {
                let lines = tableLines([event]) { $0.columns = columns }
                #expect(lines.count == 1, "\(what)")
                #expect(lines.allSatisfy(isHarmless), "\(what): \(lines.map(text))")
            }
            let lines = jsonLines([event])
            #expect(lines.count == 1, "\(what)")
            #expect(lines.allSatisfy(isHarmless), "\(what): \(lines.map(text))")
        }
    }

    @Test("the summary's names, too")
    func summary() {
        var summary = TraceSummary()
        for (_, event) in Self.events { summary.add(event) }
        for row in summary.topProcesses(1000) + summary.topDirectories(1000) {
            #expect(isHarmless(Array(row.name.utf8)), "\(row.name)")
        }
    }

    /// By key: the text's bytes, or those in base64.
    private func name(_ key: String, in line: [UInt8]) throws -> [UInt8]? {
        let value = try JSONValue(parsing: line)
        let (plain, raw) = (value[key], value[key + "_raw"]?.string)
        if let raw {
            #expect(plain == .null)
            let data = try #require(Data(base64Encoded: raw))
            #expect(String(validating: data, as: UTF8.self) == nil, "what is UTF-8 needs no base64")
            return Array(data)
        }
        return plain?.string.map { Array($0.utf8) }
    }

    @Test("JSON gives back the exact bytes")
    func exact() throws {
        for (what, event) in Self.events {
            let line = jsonLine(event)
            #expect(try name("path", in: line) == event.path, "\(what)")
            #expect(try name("old_path", in: line) == event.oldPath, "\(what)")
            #expect(try name("comm", in: line) == event.command.bytes, "\(what)")
        }
    }

    @Test("random bytes come back, too", arguments: seeds)
    func random(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        for _ in 0..<500 {
            let path = (0..<Int.random(in: 1...40, using: &random)).map { _ in UInt8.random(in: 1...255, using: &random)
            }
            // Mostly ASCII, so that much of it is UTF-8.
            let mild = path.map { random.chance(90) ? $0 & 0x7F | 1 : $0 }
            for path in [path, mild] {
                let event = TraceEvent.sample { $0.path = path }
                let line = jsonLine(event)
                #expect(try name("path", in: line) == path, "seed \(hex(seed))")
                #expect(
                    isHarmless(line) && tableLines([event]).allSatisfy(isHarmless), "seed \(hex(seed)): \(text(line))")
            }
        }
    }

    /// The tests' own parser has to read as others do.
    @Test("another parser reads the same")
    func otherParser() throws {
        struct Line: Decodable {
            var path: String?
            var comm: String?
        }
        for (what, event) in Self.events {
            let line = jsonLine(event)
            let (other, own) = (try JSONDecoder().decode(Line.self, from: Data(line)), try JSONValue(parsing: line))
            #expect(other.path.map { Array($0.utf8) } == own["path"]?.string.map { Array($0.utf8) }, "\(what)")
            #expect(other.comm.map { Array($0.utf8) } == own["comm"]?.string.map { Array($0.utf8) }, "\(what)")
        }
    }
}
