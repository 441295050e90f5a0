import Restore
import TestSupport
import Testing

@Suite("The name of a version beside its original")
struct VersionNameTests {
    private static let stamp = "2026-11-22T09.05.00"

    @Test(
        "the extension stays where programs look for it",
        arguments: [
            ("report.odt", "report.S.odt"), ("a.tar.gz", "a.S.tar.gz"), (".bashrc", ".bashrc.S"),
            ("Makefile", "Makefile.S"),
            (".config.json", ".config.S.json"), ("libc.so.6", "libc.so.6.S"), ("song.mp3", "song.S.mp3"),
            ("archive.7z", "archive.S.7z"), ("notes.", "notes..S"), ("...", "....S"), ("a.b c", "a.b c.S"),
            ("mail.averylongextension", "mail.averylongextension.S"), (".tar.gz", ".tar.S.gz"), ("..gz", "..gz.S"),
        ])
    func extensions(original: String, expected: String) {
        let name = VersionName(Array(original.utf8), stamp: "S", isDirectory: false)
        #expect(String(decoding: name.candidate(1), as: UTF8.self) == expected)
    }

    @Test("directories have none, later candidates a number")
    func others() {
        let name = VersionName(Array("photos.d".utf8), stamp: Self.stamp, isDirectory: true)
        #expect(String(decoding: name.candidate(1), as: UTF8.self) == "photos.d.\(Self.stamp)")
        #expect(String(decoding: name.candidate(2), as: UTF8.self) == "photos.d.\(Self.stamp)-2")
        let file = VersionName(Array("report.odt".utf8), stamp: Self.stamp, isDirectory: false)
        #expect(String(decoding: file.candidate(12), as: UTF8.self) == "report.\(Self.stamp)-12.odt")
    }

    @Test("what is too long is cut between characters, and only the stem")
    func cutting() {
        let name = VersionName(
            Array((String(repeating: "ö", count: 125) + ".jpeg").utf8), stamp: Self.stamp, isDirectory: false)
        let bytes = name.candidate(1)
        #expect(bytes.count == 255 || bytes.count == 254)
        #expect(String(validating: bytes, as: UTF8.self)?.hasSuffix("ö.\(Self.stamp).jpeg") == true)
    }

    @Test(
        "whatever the original: a name of 1 to 255 bytes that differs, another one for each number, valid if the original is"
    )
    func property() {
        var random = SplitMix64(seed: 3)
        for _ in 0..<2000 {
            let pool: [UInt8] = [0x2E, 0x61, 0xC3, 0xB6, 0xE2, 0x82, 0xAC, 0xFF, 0x20, 0x31, 0xF0, 0x9F, 0x98, 0x80]
            let length = Int.random(in: 1...255, using: &random)
            let original = (0..<length).map { _ in pool[Int.random(in: 0..<pool.count, using: &random)] }
            let name = VersionName(original, stamp: Self.stamp, isDirectory: Bool.random(using: &random))
            let (first, second) = (name.candidate(1), name.candidate(1000))
            #expect((1...255).contains(first.count) && (1...255).contains(second.count))
            #expect(first != second && first != original && !first.contains(0x2F))
            if String(validating: original, as: UTF8.self) != nil {
                #expect(String(validating: first, as: UTF8.self) != nil)
            }
        }
    }
}
