import Testing

@testable import Recovery

@Suite("SHA-256")
struct SHA256Tests {
    private func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    @Test(
        "is that of the standard's examples (FIPS 180-4, and NIST's of long messages), in pieces of any size",
        arguments: [
            ("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
            ),
            ("a", 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
        ])
    func examples(_ text: String, _ count: Int, _ digest: String) {
        let bytes = Array(String(repeating: text, count: count).utf8)
        for piece in [1, 63, 64, 65, 4096, 1 << 20] where count == 1 || piece > 1 {
            var hash = SHA256()
            var rest = bytes[...]
            while !rest.isEmpty {
                hash.update(rest.prefix(piece))
                rest = rest.dropFirst(piece)
            }
            #expect(hexadecimal(hash.finish()) == digest)
        }
    }
}
