/// A list of ignore patterns that cannot be used. The description names the pattern and says what is wrong with it.
public struct IgnoreSyntaxError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What is wrong with a pattern.
    public enum Reason: Hashable, Sendable {
        /// Nothing stands between two commas, or at an end of the list.
        case empty
        /// It consists of slashes only.
        case namesNothing
        /// Two slashes in a row: no path has an empty component.
        case emptyComponent
        /// A component is `.` or `..`: no path below the dataset's root has one.
        case dotComponent
        /// A NUL byte: no name has one.
        case nul
        /// A `[` without its `]`.
        case unclosedClass
        /// A range whose end comes before its begin: `[z-a]`.
        case reversedRange
        /// A class with a slash, which it could never match.
        case slashInClass
        /// A class with a character that is not ASCII: classes match single bytes, and it is several.
        case wideCharacterInClass
    }

    /// The pattern as it was given.
    public let pattern: String
    /// What is wrong with it.
    public let reason: Reason

    /// The message for whoever wrote the list.
    public var description: String {
        "ignore pattern \(String(reflecting: pattern)): \(problem)"
    }

    private var problem: String {
        switch reason {
        case .empty: "it is empty; remove the extra comma"
        case .namesNothing: "it names nothing below the dataset's root; write ** to ignore everything"
        case .emptyComponent: "it has two slashes in a row, which no path has"
        case .dotComponent: "\".\" and \"..\" are never part of a path; write it relative to the dataset's root"
        case .nul: "it contains a NUL byte, which no name does"
        case .unclosedClass: "a [ has no ] after it; write [[] for the character itself"
        case .reversedRange: "a range in [...] ends before it begins"
        case .slashInClass: "[...] never matches a slash"
        case .wideCharacterInClass: "[...] matches one byte, so it can only hold ASCII characters"
        }
    }
}

/// Which paths of a dataset make no snapshot: the value of `kairos:ignore`, a comma-separated list of globs relative to
/// the dataset's root.
///
/// | in a pattern | matches |
/// |---|---|
/// | `*` | any run of bytes, an empty one too, without `/` |
/// | `**` | any run of bytes with `/`; `**/` as a whole component: any number of directories, none included |
/// | `?` | one byte that is not `/` |
/// | `[a-z]` `[!a-z]` | one byte that is (not) in the class, and not `/`; `]` stands first, `-` first or last |
/// | leading `/` | the dataset's root |
///
/// A pattern without a `/` but a trailing one matches a name at any depth; any other one is a path from the root. What
/// names a directory covers everything below it; with a trailing `/` it covers *only* what is below directories (or a
/// path that is itself given with a trailing `/`). There is no escape: write `[*]`, `[,]`. Spaces next to a comma and
/// at the ends are dropped.
///
///     let rules = try IgnoreRules(parsing: "*.tmp, cache/, /var/log/**")
///     rules.ignores(path: "home/ann/cache/x".utf8)   // true
///
/// Paths are bytes: names need not be UTF-8. One pass over the path serves all patterns at once, in time proportional
/// to its length times (pattern bytes / 64), whatever the patterns are.
public struct IgnoreRules: Sendable, Hashable {
    /// The patterns, trimmed, in the order given.
    public let patterns: [String]
    private let automaton: GlobAutomaton

    /// No pattern: nothing is ignored.
    public init() {
        patterns = []
        automaton = GlobAutomaton([])
    }

    /// Reads a comma-separated list. An empty or blank one ignores nothing.
    ///
    /// - Throws: `IgnoreSyntaxError` for the first malformed pattern.
    public init(parsing list: String) throws(IgnoreSyntaxError) {
        let texts = GlobParser.split(list)
        var globs: [Glob] = []
        for text in texts {
            var parser = GlobParser(text)
            globs.append(try parser.parse())
        }
        patterns = texts
        automaton = GlobAutomaton(globs)
    }

    /// Whether there is no pattern at all.
    public var isEmpty: Bool {
        patterns.isEmpty
    }

    /// Whether a change of `path`, relative to the dataset's root, is to be ignored. Leading and doubled slashes do not
    /// count; a trailing one says that it is a directory. The root itself (an empty path) is never ignored.
    public func ignores(path: some Collection<UInt8>) -> Bool {
        !isEmpty && automaton.matches(path)
    }

    /// Two lists are equal when their patterns are: the automaton follows from them.
    public static func == (lhs: IgnoreRules, rhs: IgnoreRules) -> Bool {
        lhs.patterns == rhs.patterns
    }

    /// Agrees with `==`.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(patterns)
    }
}
