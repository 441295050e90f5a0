/// The rules for names of datasets and snapshots: `zfs_namecheck.c` of OpenZFS.
public enum DatasetName {
    /// The longest name, in bytes, with `@` and the snapshot's part (`ZFS_MAX_DATASET_NAME_LEN` less its NUL).
    public static let longest = 255

    /// What is wrong with the name of a file system or volume.
    public enum Fault: Hashable, Sendable, CustomStringConvertible {
        /// Nothing at all.
        case empty
        /// So many bytes, more than `longest`.
        case tooLong(Int)
        /// `a//b`, or a slash at an end.
        case emptyComponent
        /// `.` or `..` as a component.
        case dots
        /// A character that ZFS refuses.
        case character(Unicode.Scalar)
        /// A pool's name begins with a letter.
        case noLetterFirst

        /// What is wrong, as the end of a sentence that begins with the name. Printable.
        public var description: String {
            switch self {
            case .empty: "is empty"
            case .tooLong(let count): "is \(count) bytes long, \(DatasetName.longest) are allowed"
            case .emptyComponent: "has nothing before, between or after its slashes"
            case .dots: "has '.' or '..' for a component"
            case .character(let scalar):
                "holds '\(SafeText.line(String(scalar)))'; letters, digits, '_', '-', '.', ':' and space are allowed"
            case .noLetterFirst: "does not begin with a letter, as the name of a pool does"
            }
        }
    }

    /// What is wrong with the name of a file system or volume, or nil when ZFS takes it.
    ///
    /// What begins with a letter can be no option either: a legal name is safe as an argument of a command.
    public static func fault(in name: String) -> Fault? {
        if name.isEmpty { return .empty }
        if name.utf8.count > longest { return .tooLong(name.utf8.count) }
        for scalar in name.unicodeScalars where scalar != "/" && !isLegal(scalar) { return .character(scalar) }
        for component in name.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false) {
            if component.isEmpty { return .emptyComponent }
            if component.elementsEqual(".".utf8) || component.elementsEqual("..".utf8) { return .dots }
        }
        guard let first = name.utf8.first, isLetter(first) else { return .noLetterFirst }
        return nil
    }

    /// Whether ZFS takes this as the name of a file system or volume.
    public static func isLegal(_ name: String) -> Bool { fault(in: name) == nil }

    /// Whether a character may stand in a component of a name, or in the part after `@`.
    public static func isLegal(_ scalar: Unicode.Scalar) -> Bool {
        guard let byte = UInt8(exactly: scalar.value) else { return false }
        return isLetter(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "_.:- ".utf8.contains(byte)
    }

    /// The pool that a dataset or snapshot is in.
    public static func pool(of name: String) -> String {
        String(name.prefix { $0 != "/" && $0 != "@" })
    }

    /// Whether one dataset is below another, at any depth.
    public static func isBelow(_ name: String, _ ancestor: String) -> Bool {
        name.utf8.count > ancestor.utf8.count && name.utf8.starts(with: Array((ancestor + "/").utf8))
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }
}
