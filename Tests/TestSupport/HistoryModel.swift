/// A tree as it changes, with its snapshots, on paper: what tools that look back are judged by.
///
/// It knows each file by a number of its own that is never used again, and each of its versions. Between two snapshots no file is
/// changed twice, so that the versions can be told apart by their contents alone.
package struct HistoryModel: Sendable {
    package enum Kind: Sendable, Hashable {
        case file([UInt8])
        case directory
        case symlink([UInt8])

        package var isDirectory: Bool { self == .directory }

        package var word: String {
            switch self {
            case .file: "file"
            case .directory: "directory"
            case .symlink: "symlink"
            }
        }
    }

    package struct Node: Sendable, Hashable {
        package var id: Int
        /// Grows with each change of the file itself, its name included.
        package var version: Int
        package var kind: Kind
        package var mode: UInt32
    }

    package enum Operation: Sendable, Hashable {
        /// In place; a new file where there is none.
        case write([UInt8], [UInt8])
        /// By a new file that is renamed onto it.
        case replace([UInt8], [UInt8])
        case mkdir([UInt8])
        case symlink([UInt8], target: [UInt8])
        case chmod([UInt8], UInt32)
        /// With all below it.
        case remove([UInt8])
        case rename([UInt8], [UInt8])
    }

    package typealias Tree = [[UInt8]: Node]

    package private(set) var live: Tree = [:]
    package private(set) var snapshots: [Tree] = []
    private var last = 0
    private var touched: Set<Int> = []
    /// A file's number may be given to the next one, so nothing is made where something was just now.
    private var vacated: Set<[UInt8]> = []

    package init() {}

    private static let slash = UInt8(ascii: "/")

    package static func parent(_ path: [UInt8]) -> [UInt8] {
        path.lastIndex(of: slash).map { Array(path[..<$0]) } ?? []
    }

    private static func isWithin(_ path: [UInt8], _ directory: [UInt8]) -> Bool {
        path == directory || path.starts(with: directory + [slash])
    }

    package mutating func snapshot() {
        snapshots.append(live)
        touched = []
        vacated = []
    }

    package mutating func apply(_ operation: Operation) {
        switch operation {
        case .write(let path, let bytes):
            if live[path] == nil { make(path, .file(bytes)) } else { change(path) { $0.kind = .file(bytes) } }
        case .replace(let path, let bytes):
            live[path] = nil
            make(path, .file(bytes))
        case .mkdir(let path): make(path, .directory)
        case .symlink(let path, let target): make(path, .symlink(target))
        case .chmod(let path, let mode): change(path) { $0.mode = mode }
        case .remove(let path):
            for key in live.keys where Self.isWithin(key, path) {
                live[key] = nil
                vacated.insert(key)
            }
            change(Self.parent(path)) { _ in }
        case .rename(let from, let to):
            for (key, node) in live where Self.isWithin(key, from) {
                live[key] = nil
                vacated.insert(key)
                live[to + key[from.count...]] = node
            }
            change(to) { _ in }
            change(Self.parent(from)) { _ in }
            change(Self.parent(to)) { _ in }
        }
    }

    private mutating func make(_ path: [UInt8], _ kind: Kind) {
        last += 1
        live[path] = Node(id: last, version: 0, kind: kind, mode: kind.isDirectory ? 0o755 : 0o644)
        touched.insert(last)
        change(Self.parent(path)) { _ in }
    }

    private mutating func change(_ path: [UInt8], _ body: (inout Node) -> Void) {
        guard var node = live[path] else { return }
        node.version += 1
        body(&node)
        live[path] = node
        touched.insert(node.id)
    }

    // MARK: Random ones

    /// Names that want to be more than names.
    package static let names: [[UInt8]] = [
        Array("a".utf8), Array("b".utf8), Array("notes.txt".utf8), Array("-rf".utf8), Array("two\nlines".utf8),
        Array("\u{1B}[2J".utf8), [0x66, 0xFF, 0xC3, 0x28], Array("tab\tand space ".utf8), Array("ünï→".utf8),
        Array("'; reboot '".utf8), Array(repeating: UInt8(ascii: "n"), count: 255), Array("...".utf8),
        // Every byte that a name may have.
        (1...255).filter { $0 != slash },
    ]

    /// A change that can be made now, or nil.
    package func random(_ generator: inout some RandomNumberGenerator) -> Operation? {
        let free = live.filter { !touched.contains($0.value.id) }
        let directories =
            [[]] + live.filter(\.value.kind.isDirectory).map(\.key).sorted { $0.lexicographicallyPrecedes($1) }
        let paths = free.keys.sorted { $0.lexicographicallyPrecedes($1) }
        func place() -> [UInt8]? {
            guard let directory = directories.randomElement(using: &generator), directory.count < 600,
                let name = Self.names.randomElement(using: &generator)
            else { return nil }
            let path = directory.isEmpty ? name : directory + [Self.slash] + name
            return live[path] == nil && !vacated.contains(path) ? path : nil
        }
        func bytes() -> [UInt8] {
            Array("content \(last) \(UInt32.random(in: 0..<10_000, using: &generator) + 10_000)\n".utf8)
        }
        let some = paths.randomElement(using: &generator)
        switch Int.random(in: 0..<12, using: &generator) {
        case 0...2: return place().map { .write($0, bytes()) }
        case 3: return place().map { .mkdir($0) }
        case 4: return place().map { .symlink($0, target: bytes()) }
        case 5, 6:
            guard let some, case .file? = live[some]?.kind else { return nil }
            return Bool.random(using: &generator) ? .write(some, bytes()) : .replace(some, bytes())
        case 7:
            guard let some, let node = live[some], !node.kind.isDirectory, case .file = node.kind else { return nil }
            return .chmod(some, node.mode == 0o644 ? 0o600 : 0o644)
        case 8, 9:
            // Everything below it is gone too: none of it may have been changed just now.
            guard let some, live.allSatisfy({ !Self.isWithin($0.key, some) || !touched.contains($0.value.id) }) else {
                return nil
            }
            return .remove(some)
        default:
            guard let some, let to = place(), !Self.isWithin(to, some),
                live.allSatisfy({ !Self.isWithin($0.key, some) || !touched.contains($0.value.id) })
            else { return nil }
            return .rename(some, to)
        }
    }

    // MARK: What is to be told of it

    package struct Version: Hashable, Sendable, CustomStringConvertible {
        package var path: [UInt8]
        package var first: Int
        package var last: Int
        package var renamedFrom: [UInt8]?
        package var isLive: Bool

        package init(path: [UInt8], first: Int, last: Int, renamedFrom: [UInt8]?, isLive: Bool) {
            self.path = path
            self.first = first
            self.last = last
            self.renamedFrom = renamedFrom
            self.isLive = isLive
        }

        package var description: String {
            "\(String(decoding: path, as: UTF8.self)) \(first)...\(last)\(isLive ? " live" : "")"
                + (renamedFrom.map { " from \(String(decoding: $0, as: UTF8.self))" } ?? "")
        }
    }

    package struct Gone: Hashable, Sendable {
        package var path: [UInt8]
        package var last: Int
        /// Nil: the live files.
        package var missing: Int?
        package var renamedTo: [UInt8]?

        package init(path: [UInt8], last: Int, missing: Int?, renamedTo: [UInt8]?) {
            self.path = path
            self.last = last
            self.missing = missing
            self.renamedTo = renamedTo
        }
    }

    package struct Log: Hashable, Sendable {
        package var versions: [Version] = []
        package var gone: [Gone] = []
        package var isUnsaved = false

        package init() {}
    }

    /// What a log of a path has to say.
    package func log(_ path: [UInt8]) -> Log {
        var log = Log()
        trace(path, 0...snapshots.count, path, &log)
        log.versions.sort {
            $0.first == $1.first ? $0.path.lexicographicallyPrecedes($1.path) : $0.first < $1.first
        }
        log.gone.sort { $0.last < $1.last }
        return log
    }

    private func state(_ place: Int) -> Tree { place == snapshots.count ? live : snapshots[place] }

    private func trace(_ path: [UInt8], _ places: ClosedRange<Int>, _ own: [UInt8], _ log: inout Log) {
        var start = places.lowerBound
        if path != own {
            start = places.upperBound
            while start > 0, state(start - 1)[path] != nil { start -= 1 }
        }
        var current: (version: Version, node: Node)?
        for place in max(start - (path == own ? 0 : 1), 0)...places.upperBound {
            guard let node = state(place)[path] else {
                if let (version, node) = current {
                    log.versions.append(version)
                    let to = state(place).first { $0.value.id == node.id }?.key
                    if path == own {
                        log.gone.append(
                            Gone(
                                path: path, last: version.last, missing: place == snapshots.count ? nil : place,
                                renamedTo: to))
                    }
                }
                current = nil
                continue
            }
            if let (_, before) = current, before == node {
                if place == snapshots.count { current?.version.isLive = true } else { current?.version.last = place }
                continue
            }
            var from: [UInt8]?
            if let (version, _) = current {
                log.versions.append(version)
            } else if place > 0 {
                from = state(place - 1).first { $0.value.id == node.id }?.key
                if let from, from != own { trace(from, 0...(place - 1), own, &log) }
            }
            current = nil
            if place == snapshots.count {
                log.isUnsaved = true
            } else {
                current = (Version(path: path, first: place, last: place, renamedFrom: from, isLive: false), node)
            }
        }
        if let (version, _) = current { log.versions.append(version) }
    }

    package struct Deletion: Hashable, Sendable {
        package var path: [UInt8]
        package var last: Int
        /// Nil: the live files.
        package var missing: Int?
        package var isThereAgain: Bool

        package init(path: [UInt8], last: Int, missing: Int?, isThereAgain: Bool) {
            self.path = path
            self.last = last
            self.missing = missing
            self.isThereAgain = isThereAgain
        }
    }

    /// Every file that went away, each time, below a directory.
    package func deletions(below directory: [UInt8]) -> Set<Deletion> {
        var result: Set<Deletion> = []
        for place in snapshots.indices {
            let (old, new) = (state(place), state(place + 1))
            let ids = Dictionary(new.map { ($0.value.id, $0.key) }, uniquingKeysWith: { first, _ in first })
            var left: [(path: [UInt8], counterpart: [UInt8]?)] = [
                (directory, new[directory]?.kind.isDirectory ?? directory.isEmpty ? directory : nil)
            ]
            // A directory that is asked about by a name that it has lost is compared with nothing.
            while let (path, counterpart) = left.popLast() {
                for (child, node) in old where child != path && Self.parent(child) == path && !child.isEmpty {
                    let name = path.isEmpty ? child : Array(child[(path.count + 1)...])
                    let same = counterpart.map { $0.isEmpty ? name : $0 + [Self.slash] + name }
                    if let same, let there = new[same], there.kind.word == node.kind.word {
                        if node.kind.isDirectory { left.append((child, same)) }
                    } else if let moved = ids[node.id] {
                        if node.kind.isDirectory { left.append((child, moved)) }
                    } else {
                        result.insert(
                            Deletion(
                                path: child, last: place, missing: place + 1 == snapshots.count ? nil : place + 1,
                                isThereAgain: live[child] != nil))
                        if node.kind.isDirectory { left.append((child, nil)) }
                    }
                }
            }
        }
        return result
    }
}
