import Testing

@testable import Daemon

@Suite struct SplitNameTests {
    private func split(_ text: String) -> [String] {
        let name = SplitName(Array(text.utf8), isWhole: false, followsLast: false)
        return [String(decoding: name.directory, as: UTF8.self), String(decoding: name.last, as: UTF8.self)]
    }

    @Test(arguments: [
        ("a", ["", "a"]), ("a/b", ["a/", "b"]), ("/a", ["/", "a"]), ("/a/b/c", ["/a/b/", "c"]),
        ("a/b/", ["a/", "b"]), ("a//b///", ["a//", "b"]), ("../a", ["../", "a"]), ("./a", ["./", "a"]),
        ("a/../b", ["a/../", "b"]),
    ])
    func aNameIsTakenApartAtItsLastSlash(text: String, parts: [String]) {
        #expect(split(text) == parts)
    }

    @Test func directoriesAreAlwaysFollowedFilesOnlyWhenAsked() {
        #expect(SplitName(Array("a/b".utf8), isWhole: false, followsLast: false).followsLast)
        #expect(!SplitName(Array("a/b".utf8), isWhole: true, followsLast: false).followsLast)
        #expect(SplitName(Array("a/b".utf8), isWhole: true, followsLast: true).followsLast)
        #expect(SplitName(Array("a/b".utf8), isWhole: true, followsLast: true).directory == Array("a/b".utf8))
    }

    @Test func belowAStartItIsOnePath() {
        let rest = SplitName(Array("../x/y".utf8), isWhole: false, followsLast: false)
        let whole = SplitName(start: Array("/mnt/a".utf8), rest)
        #expect(whole.directory == Array("/mnt/a/../x/".utf8))
        #expect(whole.last == Array("y".utf8))
    }
}
