/// Where the value of a property comes from: the `source` column of `zfs get`.
public enum PropertySource: Hashable, Sendable, CustomStringConvertible {
    /// Set on the dataset itself.
    case local
    /// Set on this dataset above it. Whether locally or by a receive there only that dataset's own source tells.
    case inherited(from: String)
    /// Came with a stream (`zfs receive`).
    case received
    /// The built-in value.
    case `default`
    /// Neither set nor settable: `-`.
    case none
    /// Only for as long as it is mounted (`zfs mount -o`).
    case temporary
    /// Words that no known ZFS uses.
    case other(String)

    /// From the words of `zfs get -H -o source`.
    public init(parsing text: some StringProtocol) {
        let prefix = "inherited from "
        switch text {
        case "local": self = .local
        case "received": self = .received
        case "default": self = .default
        case "-", "none", "": self = .none
        case "temporary": self = .temporary
        case _ where text.hasPrefix(prefix): self = .inherited(from: String(text.dropFirst(prefix.count)))
        default: self = .other(String(text))
        }
    }

    /// As `zfs get` words it.
    public var description: String {
        switch self {
        case .local: "local"
        case .inherited(let dataset): "inherited from " + dataset
        case .received: "received"
        case .default: "default"
        case .none: "-"
        case .temporary: "temporary"
        case .other(let words): words
        }
    }
}

/// The value of a property and where it comes from.
public struct PropertyValue: Hashable, Sendable {
    /// The value as it is stored: any bytes, as UTF-8 with what is not repaired. Never print it raw.
    public var value: String
    /// Where it comes from.
    public var source: PropertySource

    /// A value from a source.
    public init(_ value: String, _ source: PropertySource) {
        self.value = value
        self.source = source
    }

    /// Whether the property has a value at all: a user property that nobody set has none, and shows as `-`.
    public var isSet: Bool { source != .none }
}

/// Parsers of what the commands write with `-H`. None of them traps, whatever the bytes.
public enum ZFSOutput {
    /// Rows of a table, and how many lines did not fit it.
    public struct Table: Hashable, Sendable {
        /// The rows, each with exactly as many fields as columns were asked for.
        public var rows: [[String]] = []
        /// Lines with fewer fields, or with bytes that are not UTF-8: no dataset name has them.
        public var malformedLines = 0
    }

    /// `zfs list -H -o COLUMN,COLUMN...`: lines of fields with tabs between. A tab beyond the last column's belongs to
    /// the last field.
    public static func table(_ bytes: some Collection<UInt8>, columns: Int) -> Table {
        var table = Table()
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            let fields = line.split(
                separator: UInt8(ascii: "\t"), maxSplits: max(columns - 1, 0), omittingEmptySubsequences: false
            )
            let row = fields.compactMap { String(validating: $0, as: UTF8.self) }
            if row.count == columns {
                table.rows.append(row)
            } else {
                table.malformedLines += 1
            }
        }
        return table
    }

    /// Properties by dataset and name, and what did not fit.
    public struct Properties: Hashable, Sendable {
        /// `values[dataset][property]`.
        public var values: [String: [String: PropertyValue]] = [:]
        /// Lines that belong to no row: the second and later lines of a value, or garbage.
        public var extraLines = 0
        /// Rows for a dataset and property that had one already; the first one counts.
        public var duplicateRows = 0

        /// Whether each line was one row and no row came twice.
        ///
        /// When not, a value holds newlines, and may hold lines that look like the rows of *another* dataset. Whoever
        /// asked about several datasets has to ask again about each alone.
        public var isClean: Bool { extraLines == 0 && duplicateRows == 0 }
    }

    /// `zfs get -H -p -o name,property,source,value PROPERTIES NAMES`.
    ///
    /// The value is the last column, for it may hold tabs and newlines. A line that does not begin with a wanted name
    /// and property continues the value before it.
    public static func properties(
        _ bytes: some Collection<UInt8>, properties: some Sequence<String>, of isWanted: (String) -> Bool
    ) -> Properties {
        let wanted = Set(properties)
        var result = Properties()
        var current: (dataset: String, property: String)?
        var lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        // The newline that ends the last line begins no other.
        if lines.last?.isEmpty == true { lines.removeLast() }
        for line in lines {
            let text = String(decoding: line, as: UTF8.self)
            // Splitting scalars, not characters: a combining mark after a tab would hide the tab.
            let fields = text.unicodeScalars.split(separator: "\t", maxSplits: 3, omittingEmptySubsequences: false)
            if fields.count == 4, wanted.contains(String(fields[1])), isWanted(String(fields[0])) {
                let (dataset, property) = (String(fields[0]), String(fields[1]))
                if result.values[dataset]?[property] != nil {
                    result.duplicateRows += 1
                    current = nil
                } else {
                    let value = PropertyValue(String(fields[3]), PropertySource(parsing: String(fields[2])))
                    result.values[dataset, default: [:]][property] = value
                    current = (dataset, property)
                }
            } else {
                result.extraLines += 1
                if let current {
                    result.values[current.dataset]?[current.property]?.value += "\n" + text
                }
            }
        }
        return result
    }
}
