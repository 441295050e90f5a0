/// The name of a version that is written beside its original: `report.odt` becomes `report.2026-11-22T09.05.00.odt`.
///
/// - The extension stays at the end, so that the file opens as it used to: what follows the last dot, if it is at most 10
///   ASCII letters and digits with a letter among them, and the `tar` before it. Names like `libc.so.6` and `.profile`, and
///   directories, have none.
/// - At most 255 bytes, which is what Linux takes: the beginning is cut, between characters of UTF-8.
/// - The second and later candidates carry a number: `report.2026-11-22T09.05.00-2.odt`.
public struct VersionName: Hashable, Sendable {
    /// The longest name, bytes.
    public static let longest = 255

    private let stem: [UInt8]
    private let stamp: String
    /// With its dot.
    private let suffix: [UInt8]

    /// - Parameter stamp: the version's time in characters for names, such as `2026-11-22T09.05.00`; at most 100 bytes count.
    public init(_ original: [UInt8], stamp: String, isDirectory: Bool) {
        let cut = isDirectory ? original.count : Self.suffixStart(original)
        stem = Array(original[..<cut])
        suffix = Array(original[cut...])
        self.stamp = String(decoding: stamp.utf8.prefix(100).map { $0 == UInt8(ascii: "/") ? 0x5F : $0 }, as: UTF8.self)
    }

    /// The first, second, ... name to try.
    public func candidate(_ number: Int) -> [UInt8] {
        let middle = Array(".\(stamp)\(number > 1 ? "-\(number)" : "")".utf8)
        return Self.cut(stem, to: Self.longest - middle.count - suffix.count) + middle + suffix
    }

    private static func suffixStart(_ name: [UInt8]) -> Int {
        let dot = UInt8(ascii: ".")
        guard let last = name.lastIndex(of: dot), isExtension(name[(last + 1)...]),
            name[..<last].contains(where: { $0 != dot })
        else { return name.count }
        let tar = Array(".tar".utf8)
        let stem = name[..<last]
        return stem.count > tar.count && stem.suffix(tar.count).elementsEqual(tar) ? last - tar.count : last
    }

    private static func isExtension(_ bytes: some Collection<UInt8>) -> Bool {
        func isLetter(_ byte: UInt8) -> Bool { (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7A }
        return (1...10).contains(bytes.count) && bytes.contains(where: isLetter)
            && bytes.allSatisfy { isLetter($0) || ($0 >= 0x30 && $0 <= 0x39) }
    }

    /// At most so many bytes, without half a character at the end.
    static func cut(_ bytes: [UInt8], to limit: Int) -> [UInt8] {
        guard bytes.count > limit else { return bytes }
        var end = limit
        // A character has three continuation bytes at most; what has more is no UTF-8, and may be cut anywhere.
        while end > 0, limit - end < 3, bytes[end] & 0xC0 == 0x80 { end -= 1 }
        if bytes[end] & 0xC0 == 0x80 { end = limit }
        return Array(bytes[..<end])
    }
}
