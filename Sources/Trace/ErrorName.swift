import CLinux

/// `ENOENT` and its like: the word that manual pages use.
enum ErrorName {
    static func of(_ errno: Int32) -> String {
        kairos_errno_name(errno).map { String(cString: $0) } ?? "E\(errno)"
    }
}
