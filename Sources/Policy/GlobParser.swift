/// A parsed pattern: what it matches, counted from the dataset's root.
struct Glob {
    enum Token: Equatable {
        /// One byte of these.
        case bytes([UInt8])
        /// `*`
        case run
        /// `**`
        case deepRun
        /// `**/` as a whole component: any number of directories.
        case directories
    }

    var tokens: [Token]
    /// Written with a trailing slash: matches directories only.
    var isDirectory: Bool
}

/// Every byte but the slash: what `?` matches.
private let nameBytes = (UInt8.min...UInt8.max).filter { $0 != slash }

let slash = UInt8(ascii: "/")

/// Reads one pattern of a list.
struct GlobParser {
    private let text: String
    private let bytes: [UInt8]
    private var position = 0

    init(_ text: String) {
        self.text = text
        bytes = Array(text.utf8)
    }

    /// The patterns of a list, trimmed. A comma inside a class does not separate; in a class that is never closed it
    /// does, so that the error names that pattern alone.
    static func split(_ list: String) -> [String] {
        let bytes = Array(list.utf8)
        var parts: [ArraySlice<UInt8>] = []
        var (start, position) = (0, 0)
        while position < bytes.count {
            if bytes[position] == UInt8(ascii: "["), let end = classEnd(bytes, opening: position) {
                position = end
            } else if bytes[position] == UInt8(ascii: ",") {
                parts.append(bytes[start..<position])
                start = position + 1
            }
            position += 1
        }
        parts.append(bytes[start...])
        let patterns = parts.map { String(decoding: trimmed($0), as: UTF8.self) }
        return patterns == [""] ? [] : patterns
    }

    private static func trimmed(_ part: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let space = UInt8(ascii: " ")
        var rest = part.drop { $0 == space }
        while rest.last == space {
            rest.removeLast()
        }
        return rest
    }

    /// Where the class opened at `opening` has its `]`. One that stands first, after a `!` too, is a member.
    private static func classEnd(_ bytes: [UInt8], opening: Int) -> Int? {
        var first = opening + 1
        if first < bytes.count, bytes[first] == UInt8(ascii: "!") {
            first += 1
        }
        guard first + 1 < bytes.count else { return nil }
        return bytes[(first + 1)...].firstIndex(of: UInt8(ascii: "]"))
    }

    mutating func parse() throws(IgnoreSyntaxError) -> Glob {
        guard !bytes.isEmpty else { throw failure(.empty) }
        guard !bytes.contains(0) else { throw failure(.nul) }
        let isDirectory = bytes.last == slash
        let isAnchored = bytes.first == slash
        let end = isDirectory ? bytes.count - 1 : bytes.count
        position = isAnchored ? 1 : 0
        guard position < end else { throw failure(.namesNothing) }
        try checkComponents(bytes[position..<end])

        var tokens: [Glob.Token] = []
        var hasSlash = isAnchored
        while position < end {
            let token = try next(atComponentStart: position == 0 || bytes[position - 1] == slash, end: end)
            // Twice any number of directories is any number of directories.
            if token != .directories || tokens.last != .directories {
                tokens.append(token)
            }
            hasSlash = hasSlash || token == .directories || token == .bytes([slash])
        }
        if !hasSlash {
            tokens.insert(.directories, at: 0)
        }
        return Glob(tokens: tokens, isDirectory: isDirectory)
    }

    private func checkComponents(_ body: ArraySlice<UInt8>) throws(IgnoreSyntaxError) {
        let dot = UInt8(ascii: ".")
        for component in body.split(separator: slash, omittingEmptySubsequences: false) {
            guard !component.isEmpty else { throw failure(.emptyComponent) }
            guard !component.elementsEqual([dot]), !component.elementsEqual([dot, dot]) else {
                throw failure(.dotComponent)
            }
        }
    }

    private mutating func next(atComponentStart: Bool, end: Int) throws(IgnoreSyntaxError) -> Glob.Token {
        let byte = bytes[position]
        position += 1
        switch byte {
        case UInt8(ascii: "?"):
            return .bytes(nameBytes)
        case UInt8(ascii: "["):
            return .bytes(try byteClass())
        case UInt8(ascii: "*"):
            let begin = position - 1
            while position < end, bytes[position] == UInt8(ascii: "*") {
                position += 1
            }
            guard position - begin > 1 else { return .run }
            guard atComponentStart, position < end, bytes[position] == slash else { return .deepRun }
            position += 1
            return .directories
        default:
            return .bytes([byte])
        }
    }

    private mutating func byteClass() throws(IgnoreSyntaxError) -> [UInt8] {
        guard let end = GlobParser.classEnd(bytes, opening: position - 1) else { throw failure(.unclosedClass) }
        let isNegated = bytes[position] == UInt8(ascii: "!")
        let members = Array(bytes[(isNegated ? position + 1 : position)..<end])
        position = end + 1
        guard !members.contains(slash) else { throw failure(.slashInClass) }
        guard members.allSatisfy({ $0 < 0x80 }) else { throw failure(.wideCharacterInClass) }
        var listed = [Bool](repeating: false, count: 256)
        var index = 0
        while index < members.count {
            let isRange = index + 2 < members.count && members[index + 1] == UInt8(ascii: "-")
            let last = isRange ? members[index + 2] : members[index]
            guard members[index] <= last else { throw failure(.reversedRange) }
            for byte in members[index]...last {
                listed[Int(byte)] = true
            }
            index += isRange ? 3 : 1
        }
        return nameBytes.filter { listed[Int($0)] != isNegated }
    }

    private func failure(_ reason: IgnoreSyntaxError.Reason) -> IgnoreSyntaxError {
        IgnoreSyntaxError(pattern: text, reason: reason)
    }
}
