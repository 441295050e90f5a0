/// Text from outside (names, values, command output) made fit for one line of a message.
///
/// A file name may hold terminal escapes, and a property value a forged log line; neither may reach a terminal raw.
public enum SafeText {
    /// One printable line of at most `limit` scalars of `text`.
    ///
    /// Control, format (bidirectional overrides and zero-width marks) and line-separating scalars come out as `\u{1B}`;
    /// what is cut off is shown as `…`. Unpaired bytes have become U+FFFD already when a `String` was made of them.
    public static func line(_ text: some StringProtocol, limit: Int = 500) -> String {
        var result = ""
        var count = 0
        for scalar in text.unicodeScalars {
            guard count < limit else {
                result += "…"
                break
            }
            count += 1
            if isPrintable(scalar) {
                result.unicodeScalars.append(scalar)
            } else {
                result += "\\u{" + String(scalar.value, radix: 16, uppercase: true) + "}"
            }
        }
        return result
    }

    /// One printable line of raw bytes: as UTF-8, what is not UTF-8 shown as U+FFFD.
    public static func line(_ bytes: some Collection<UInt8>, limit: Int = 500) -> String {
        line(String(decoding: bytes, as: UTF8.self), limit: limit)
    }

    /// Whether a scalar can be printed without moving the cursor, changing direction or being invisible.
    public static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.value >= 0x20, scalar.value < 0x7F { return true }
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: return false
        default: return true
        }
    }

    /// An argument list as a reader would type it: arguments with anything but plain characters in single quotes.
    static func commandLine(_ arguments: [String], limit: Int = 500) -> String {
        let plain: (UInt8) -> Bool = { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: "-_./:@=,+%".utf8.contains(byte)
            }
        }
        let words = arguments.map { argument in
            argument.utf8.allSatisfy(plain) && !argument.isEmpty ? argument : "'" + argument + "'"
        }
        return line(words.joined(separator: " "), limit: limit)
    }
}
