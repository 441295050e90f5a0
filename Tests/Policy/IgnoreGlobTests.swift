@testable import Policy
import TestSupport
import Testing

@Suite("Ignore globs")
struct IgnoreGlobTests {
    @Test(
        "Patterns and paths",
        arguments: [
            // A name at any depth, and what is below a directory of that name.
            ("*.tmp", ["a.tmp", "d/a.tmp", ".tmp", "x.tmp/y", "/a.tmp", "d//a.tmp"], ["a.tmpx", "tmp", "", "/"]),
            ("cache", ["cache", "cache/a", "d/cache", "d/cache/e/f"], ["cached", "d/xcache", "cach"]),
            ("cache/", ["cache/a", "d/cache/e/f", "cache/"], ["cache", "d/cache", "cached/a"]),
            // From the root.
            ("/cache", ["cache", "cache/a"], ["d/cache", "d/cache/a"]),
            ("/cache/", ["cache/a", "cache/"], ["cache", "d/cache/a"]),
            ("a/b", ["a/b", "a/b/c"], ["d/a/b", "a/bc", "a", "b", "a/"]),
            // Single stars stop at a slash, double ones do not.
            ("a/*", ["a/b", "a/b/c"], ["a", "a/"]),
            ("a/*/c", ["a/b/c", "a/b/c/d"], ["a/c", "a/b/b/c"]),
            ("a/**/c", ["a/c", "a/b/c", "a/b/b/c"], ["ac", "a/bc", "a/b/xc"]),
            ("a/**/**/c", ["a/c", "a/b/c", "a/b/b/c"], ["ac", "a/xc"]),
            ("**/c", ["c", "a/c", "a/b/c"], ["xc", "a/xc"]),
            ("a/**", ["a/b", "a/b/c"], ["a", "a/", "b/a"]),
            ("**/b/**", ["b/c", "a/b/c"], ["b", "a/b", "ab/c"]),
            ("/a**c", ["ac", "abc", "a/b/c", "abb/c"], ["xac", "ab"]),
            ("a**c", ["ac", "x/a/b/c"], ["xac/d/b", "x"]),
            ("*", ["a", "a/b"], [""]),
            ("**", ["a", "a/b"], [""]),
            ("**/", ["a/b", "a/"], ["a", ""]),
            // Single bytes.
            ("a?c", ["abc", "d/axc"], ["ac", "a/c", "abbc"]),
            ("/a?c", ["abc"], ["a/c"]),
            ("[a-c]x", ["ax", "cx"], ["dx", "x", "-x"]),
            ("[!a-c]x", ["dx", "!x"], ["ax", "d/a/cx"]),
            ("/a[!b]c", ["axc"], ["a/c", "abc"]),
            ("[]]", ["]"], ["[]"]),
            ("[!]]", ["a"], ["]"]),
            ("[[]x", ["[x"], ["x"]),
            ("[a-]", ["a", "-"], ["b"]),
            ("[-a]", ["a", "-"], ["b"]),
            ("[a-c-e]", ["b", "-", "e"], ["d"]),
            ("[*]", ["*"], ["a"]),
            ("a]", ["a]"], ["a"]),
            ("\\*", ["\\a"], ["*"]),
            ("é?", ["éa"], ["é", "e"]),
            // Lists.
            ("*.o, cache/ ,/x", ["a.o", "d/cache/e", "x"], ["cache", "d/x", "a.c"]),
            ("[,],b", [",", "b"], ["a"]),
            ("", [], ["a"]),
            ("  ", [], ["a"]),
            ("a b", ["a b"], ["a", "b"]),
        ] as [(String, [String], [String])])
    func table(list: String, ignored: [String], kept: [String]) throws {
        let rules = try IgnoreRules(parsing: list)
        for path in ignored {
            #expect(rules.ignores(path: path.utf8), "\(list) should ignore \(path)")
        }
        for path in kept {
            #expect(!rules.ignores(path: path.utf8), "\(list) should not ignore \(path)")
        }
    }

    @Test(
        "Malformed patterns, and why",
        arguments: [
            (",", "", .empty), ("a,", "", .empty), ("a,,b", "", .empty), ("/", "/", .namesNothing),
            ("//", "//", .namesNothing), ("a//b", "a//b", .emptyComponent), ("a//", "a//", .emptyComponent),
            ("///", "///", .emptyComponent), ("./a", "./a", .dotComponent), ("a/..", "a/..", .dotComponent),
            ("a\0b", "a\0b", .nul), ("[abc", "[abc", .unclosedClass), ("[", "[", .unclosedClass),
            ("[]", "[]", .unclosedClass), ("[!]", "[!]", .unclosedClass), ("x[,b", "x[", .unclosedClass),
            ("[z-a]", "[z-a]", .reversedRange), ("[a/b]", "[a/b]", .slashInClass),
            ("[é]", "[é]", .wideCharacterInClass),
        ] as [(String, String, IgnoreSyntaxError.Reason)])
    func malformed(list: String, pattern: String, reason: IgnoreSyntaxError.Reason) {
        #expect(throws: IgnoreSyntaxError(pattern: pattern, reason: reason)) { try IgnoreRules(parsing: list) }
    }

    @Test("The message names the pattern and the reason")
    func message() {
        let message = IgnoreSyntaxError(pattern: "x[", reason: .unclosedClass).description
        #expect(message.contains("\"x[\""))
        #expect(message.contains("no ]"))
    }

    @Test("No pattern: empty, equal, and nothing is ignored")
    func emptyRules() throws {
        #expect(IgnoreRules().isEmpty)
        #expect(try IgnoreRules(parsing: "") == IgnoreRules())
        #expect(try !IgnoreRules(parsing: "a").isEmpty)
        #expect(try IgnoreRules(parsing: "a , b").patterns == ["a", "b"])
        #expect(!IgnoreRules().ignores(path: "a".utf8))
    }

    @Test("Paths are bytes: names need not be UTF-8")
    func rawBytes() throws {
        let path: [UInt8] = [0xff, 0xfe, UInt8(ascii: "/"), 0x80, UInt8(ascii: "."), UInt8(ascii: "o")]
        #expect(try IgnoreRules(parsing: "*.o").ignores(path: path))
        #expect(try IgnoreRules(parsing: "/??/?.o").ignores(path: path))
        #expect(try IgnoreRules(parsing: "[!a][!b]").ignores(path: path))
        #expect(try !IgnoreRules(parsing: "?").ignores(path: path))
    }

    @Test(
        "Hostile patterns finish",
        arguments: [
            "*a*a*a*a*a*a*a*b", "**a**a**a**a**b", "**/a/**/a/**/a/**/b", "/*a*/**/*a*/**/*b", "[!b]*[!b]*[!b]*b",
        ])
    func hostile(pattern: String) throws {
        let rules = try IgnoreRules(parsing: pattern)
        let flat = [UInt8](repeating: UInt8(ascii: "a"), count: 100_000)
        let deep = (0..<100_000).map { UInt8(ascii: $0 % 2 == 0 ? "a" : "/") }
        let clock = ContinuousClock()
        let taken = clock.measure {
            #expect(!rules.ignores(path: flat))
            #expect(!rules.ignores(path: deep))
        }
        #expect(taken < .seconds(5))
    }

    @Test("A list longer than one machine word of states works")
    func longList() throws {
        let names = (0..<100).map { "file-number-\($0)-*.tmp/" }
        let rules = try IgnoreRules(parsing: names.joined(separator: ","))
        for number in 0..<100 {
            #expect(rules.ignores(path: "d/file-number-\(number)-x.tmp/y".utf8))
            #expect(!rules.ignores(path: "d/file-number-\(number)-x.tmp".utf8))
        }
        #expect(!rules.ignores(path: "d/file-number-100-x.tmp/y".utf8))
    }

    @Test("Agrees with a naive matcher on random small inputs", arguments: seeds)
    func agreesWithReference(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let pieces = ["a", "a", "b", "/", "/", "*", "**", "**/", "?", "[ab]", "[!a]"]
        let letters = Array("aab//")
        var compared = 0
        while compared < 3_000 {
            let pattern = (0..<Int.random(in: 1...7, using: &random)).map { _ in random.pick(pieces) }.joined()
            guard let rules = try? IgnoreRules(parsing: pattern) else { continue }
            // Padding in front moves the states over the boundary of a machine word.
            let padding = String(repeating: "z", count: Int.random(in: 50...64, using: &random))
            let padded = try? IgnoreRules(parsing: padding + "," + pattern)
            let path = String((0..<Int.random(in: 0...8, using: &random)).map { _ in random.pick(letters) })
            let expected = ReferenceGlob(pattern).ignores(path)
            let comment: Comment = "seed \(hex(seed)): \(pattern) on \(path)"
            #expect(rules.ignores(path: path.utf8) == expected, comment)
            #expect(padded?.ignores(path: path.utf8) == expected, comment)
            compared += 1
        }
    }
}

/// The table in the documentation of `IgnoreRules`, spelled out with recursion and no thought of speed.
private struct ReferenceGlob {
    let body: [Character]
    let isDirectory: Bool
    let isAnchored: Bool

    init(_ pattern: String) {
        var rest = Substring(pattern)
        isDirectory = rest.hasSuffix("/")
        if isDirectory { rest.removeLast() }
        isAnchored = rest.contains("/") || pattern.hasPrefix("/")
        if rest.hasPrefix("/") { rest.removeFirst() }
        body = Array(rest)
    }

    func ignores(_ path: String) -> Bool {
        let components = path.split(separator: "/").map(Array.init)
        for start in components.indices where start == 0 || !isAnchored {
            for end in start..<components.count {
                let isKnownDirectory = end + 1 < components.count || path.hasSuffix("/")
                let text = Array(components[start...end].joined(separator: "/"))
                if isKnownDirectory || !isDirectory, matches(body[...], text[...]) { return true }
            }
        }
        return false
    }

    private func matches(_ pattern: ArraySlice<Character>, _ text: ArraySlice<Character>) -> Bool {
        guard let token = pattern.first else { return text.isEmpty }
        let stars = pattern.prefix { $0 == "*" }.count
        let rest = pattern.dropFirst()
        switch token {
        case "*" where stars > 1:
            let behind = pattern.dropFirst(stars)
            let startsComponent = pattern.startIndex == 0 || body[pattern.startIndex - 1] == "/"
            if startsComponent, behind.first == "/" {
                let starts = text.indices.filter { text[$0] == "/" }.map { $0 + 1 } + [text.startIndex]
                return starts.contains { matches(behind.dropFirst(), text[$0...]) }
            }
            return (text.startIndex...text.endIndex).contains { matches(behind, text[$0...]) }
        case "*":
            if matches(rest, text) { return true }
            return !text.isEmpty && text.first != "/" && matches(pattern, text.dropFirst())
        case "?":
            return !text.isEmpty && text.first != "/" && matches(rest, text.dropFirst())
        case "[" where rest.first == "!":
            return !text.isEmpty && text.first != "/" && text.first != "a"
                && matches(pattern.dropFirst(4), text.dropFirst())
        case "[":
            return (text.first == "a" || text.first == "b") && matches(pattern.dropFirst(4), text.dropFirst())
        default:
            return text.first == token && matches(rest, text.dropFirst())
        }
    }
}
