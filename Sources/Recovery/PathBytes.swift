/// Paths as bytes.
public enum PathBytes {
    static let slash = UInt8(ascii: "/")

    /// `directory/name`; of the root just the name.
    public static func join(_ directory: [UInt8], _ name: [UInt8]) -> [UInt8] {
        directory.isEmpty ? name : name.isEmpty ? directory : directory + [slash] + name
    }

    /// What is before the last slash; empty without one.
    public static func parent(_ path: [UInt8]) -> [UInt8] {
        path.lastIndex(of: slash).map { Array(path[..<$0]) } ?? []
    }

    /// What is behind the last slash.
    public static func name(_ path: [UInt8]) -> [UInt8] {
        path.lastIndex(of: slash).map { Array(path[($0 + 1)...]) } ?? path
    }

    /// Whether a path is another one or lies below it; everything is below the root.
    public static func isWithin(_ path: [UInt8], _ directory: [UInt8]) -> Bool {
        if directory.isEmpty { return true }
        guard path.starts(with: directory) else { return false }
        return path.count == directory.count || path[directory.count] == slash
    }

    /// The directories above a path, the nearest first, without the root.
    static func above(_ path: [UInt8]) -> [[UInt8]] {
        var result: [[UInt8]] = []
        var current = parent(path)
        while !current.isEmpty {
            result.append(current)
            current = parent(current)
        }
        return result
    }

    static func components(_ path: [UInt8]) -> [[UInt8]] { path.split(separator: slash).map { Array($0) } }
}
