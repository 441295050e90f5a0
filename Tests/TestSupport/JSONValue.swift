/// JSON of RFC 8259, read strictly: what passes here, passes everywhere. Numbers stay text, since some are beyond 2^53.
package indirect enum JSONValue: Hashable, Sendable {
    case null
    case bool(Bool)
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    package struct SyntaxError: Error, Hashable, CustomStringConvertible {
        package let what: String
        package let offset: Int
        package var description: String { "\(what) at byte \(offset)" }
    }

    /// One value, with nothing but white space around it.
    package init(parsing bytes: [UInt8]) throws(SyntaxError) {
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw SyntaxError(what: "not UTF-8", offset: 0)
        }
        var parser = Parser(bytes: bytes)
        self = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.at == bytes.count else { throw parser.failure("more behind the value") }
    }

    package subscript(key: String) -> JSONValue? {
        if case .object(let members) = self { members[key] } else { nil }
    }

    package var string: String? { if case .string(let text) = self { text } else { nil } }
    package var integer: Int128? { if case .number(let text) = self { Int128(text) } else { nil } }
    package var array: [JSONValue]? { if case .array(let items) = self { items } else { nil } }
    package var object: [String: JSONValue]? { if case .object(let members) = self { members } else { nil } }
}

private struct Parser {
    let bytes: [UInt8]
    var at = 0

    func failure(_ what: String) -> JSONValue.SyntaxError { .init(what: what, offset: at) }

    private var next: UInt8? { at < bytes.count ? bytes[at] : nil }

    mutating func skipSpace() {
        while let byte = next, [0x20, 0x09, 0x0A, 0x0D].contains(byte) { at += 1 }
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: character) else { return false }
        at += 1
        return true
    }

    mutating func value(depth: Int) throws(JSONValue.SyntaxError) -> JSONValue {
        guard depth < 64 else { throw failure("nested too deeply") }
        skipSpace()
        switch next.map({ Character(Unicode.Scalar($0)) }) {
        case "{": return try object(depth)
        case "[": return try array(depth)
        case "\"": return .string(try string())
        case "t": return try word("true", .bool(true))
        case "f": return try word("false", .bool(false))
        case "n": return try word("null", .null)
        default: return .number(try number())
        }
    }

    private mutating func word(_ text: String, _ value: JSONValue) throws(JSONValue.SyntaxError) -> JSONValue {
        guard bytes[at...].starts(with: text.utf8) else { throw failure("no value") }
        at += text.utf8.count
        return value
    }

    private mutating func object(_ depth: Int) throws(JSONValue.SyntaxError) -> JSONValue {
        at += 1
        var members: [String: JSONValue] = [:]
        skipSpace()
        if take("}") { return .object(members) }
        repeat {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw failure("no key") }
            let key = try string()
            skipSpace()
            guard take(":") else { throw failure("no colon") }
            guard members.updateValue(try value(depth: depth + 1), forKey: key) == nil else {
                throw failure("the key \(key) twice")
            }
            skipSpace()
        } while take(",")
        guard take("}") else { throw failure("the object does not end") }
        return .object(members)
    }

    private mutating func array(_ depth: Int) throws(JSONValue.SyntaxError) -> JSONValue {
        at += 1
        var items: [JSONValue] = []
        skipSpace()
        if take("]") { return .array(items) }
        repeat {
            items.append(try value(depth: depth + 1))
            skipSpace()
        } while take(",")
        guard take("]") else { throw failure("the array does not end") }
        return .array(items)
    }

    private mutating func number() throws(JSONValue.SyntaxError) -> String {
        let start = at
        _ = take("-")
        if !take("0") { try digits() }
        if take(".") { try digits() }
        if take("e") || take("E") {
            if !take("+") { _ = take("-") }
            try digits()
        }
        return String(decoding: bytes[start..<at], as: UTF8.self)
    }

    private mutating func digits() throws(JSONValue.SyntaxError) {
        let start = at
        while let byte = next, (0x30...0x39).contains(byte) { at += 1 }
        guard at > start else { throw failure("no digit") }
    }

    private mutating func string() throws(JSONValue.SyntaxError) -> String {
        at += 1
        var text: [UInt8] = []
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                at += 1
                return String(decoding: text, as: UTF8.self)
            case 0..<0x20: throw failure("a raw control character")
            case UInt8(ascii: "\\"): text += try escape().utf8
            default:
                text.append(byte)
                at += 1
            }
        }
        throw failure("the string does not end")
    }

    private mutating func escape() throws(JSONValue.SyntaxError) -> String {
        at += 1
        let simple: [UInt8: String] = [
            0x22: "\"", 0x5C: "\\", 0x2F: "/", 0x62: "\u{8}", 0x66: "\u{C}", 0x6E: "\n", 0x72: "\r", 0x74: "\t",
        ]
        guard let byte = next else { throw failure("the string does not end") }
        if let text = simple[byte] {
            at += 1
            return text
        }
        guard byte == UInt8(ascii: "u") else { throw failure("no such escape") }
        var units = [try unit()]
        if UTF16.isLeadSurrogate(units[0]), next == UInt8(ascii: "\\"), at + 1 < bytes.count, bytes[at + 1] == byte {
            at += 1
            units.append(try unit())
        }
        // An unpaired half is legal JSON, and read differently by everybody.
        guard let text = String(validating: units, as: UTF16.self) else { throw failure("half a surrogate pair") }
        return text
    }

    /// `uXXXX`.
    private mutating func unit() throws(JSONValue.SyntaxError) -> UInt16 {
        let digits = bytes[min(at + 1, bytes.count)...].prefix(4)
        let text = String(decoding: digits, as: UTF8.self)
        guard digits.count == 4, !text.hasPrefix("+"), !text.hasPrefix("-"), let unit = UInt16(text, radix: 16) else {
            throw failure("no four hexadecimal digits")
        }
        at += 5
        return unit
    }
}
