import Datasets
import SystemPackage

/// The files that change together with what is replaced, such as a database's logs: those that leave their names, and those that come.
///
/// A database without its log lacks transactions or is damaged, and several names cannot change in one call. So a note in the stage says
/// what is about to move before the first file moves. If the restore is killed, the next one in the directory reads the note:
///
/// - The name still has what stood there: the files that left return to their names.
/// - The name has what the restore built: the files that come get their names.
///
/// Neither happens to a file that a program wrote to since, because a log belongs to one state of its database. Nothing is overwritten.
struct Companions: Equatable {
    /// A file in one of its states.
    struct Stamp: Hashable {
        var inode: UInt64
        var size: Int64
        /// When its content changed last: seconds since 1970, nanoseconds.
        var modified: [Int64]

        init(_ status: Status) {
            (inode, size, modified) = (status.identity.inode, status.size, status.modified)
        }

        fileprivate var text: String { "\(inode) \(size) \(modified[0]) \(modified[1])" }

        fileprivate init?(parsing fields: some Collection<Substring>) {
            let fields = Array(fields)
            guard fields.count == 4, let inode = UInt64(fields[0]), let size = Int64(fields[1]),
                let seconds = Int64(fields[2]), let nanoseconds = Int64(fields[3])
            else { return nil }
            (self.inode, self.size, modified) = (inode, size, [seconds, nanoseconds])
        }
    }

    /// What they go with.
    var name: [UInt8]
    /// What stands there; nil: nothing.
    var old: Stamp?
    /// What the restore built.
    var new: Stamp
    /// The names of those that leave; the stage has them as `Stage.outgoing`, by number.
    var outgoing: [[UInt8]] = []
    /// The names of those that come; the stage has them as `Stage.incoming`, by number.
    var incoming: [[UInt8]] = []

    // MARK: The note

    private static let note = Array("companions".utf8)

    private var text: [UInt8] {
        var lines = ["name \(name.hex)", "new \(new.text)"]
        if let old { lines.append("old \(old.text)") }
        lines += outgoing.map { "outgoing \($0.hex)" } + incoming.map { "incoming \($0.hex)" }
        return Array((lines.joined(separator: "\n") + "\n").utf8)
    }

    private init?(parsing bytes: [UInt8]) {
        var (name, old, new): ([UInt8]?, Stamp?, Stamp?)
        var (outgoing, incoming): ([[UInt8]], [[UInt8]]) = ([], [])
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let fields = line.split(separator: " ")
            let component = [UInt8](hex: fields.last ?? "").flatMap { $0.isComponent ? $0 : nil }
            switch (fields.first, component) {
            case ("old", _): old = Stamp(parsing: fields.dropFirst())
            case ("new", _): new = Stamp(parsing: fields.dropFirst())
            case ("name", let component?): name = component
            case ("outgoing", let component?): outgoing.append(component)
            case ("incoming", let component?): incoming.append(component)
            default: return nil
            }
        }
        guard let name, let new else { return nil }
        self.init(name: name, old: old, new: new, outgoing: outgoing, incoming: incoming)
    }

    init(name: [UInt8], old: Stamp?, new: Stamp, outgoing: [[UInt8]] = [], incoming: [[UInt8]] = []) {
        (self.name, self.old, self.new, self.outgoing, self.incoming) = (name, old, new, outgoing, incoming)
    }

    // MARK: Moving

    /// Moves those that leave into the stage, with which they are removed.
    ///
    /// - Parameters:
    ///   - candidates: the names of those that leave, if they exist.
    ///   - incoming: the names of those that come.
    static func setAside(
        _ candidates: [[UInt8]], for name: [UInt8], incoming: [[UInt8]], _ stage: Stage
    ) throws(CallFailure) -> Companions {
        var companions = Companions(
            name: name, old: try stage.parent.statusIfThere(name).map { Stamp($0) },
            new: Stamp(try stage.directory.status(of: Stage.new)), incoming: incoming)
        for name in candidates {
            guard let status = try stage.parent.statusIfThere(name) else { continue }
            guard status.kind != .directory else {
                throw CallFailure(tried: "set aside", name: name, errno: .isDirectory, side: .destination)
            }
            companions.outgoing.append(name)
        }
        if companions.outgoing.isEmpty && incoming.isEmpty { return companions }
        try stage.announce(companions.text, as: note)
        do throws(CallFailure) {
            for (number, name) in companions.outgoing.enumerated() {
                do throws(CallFailure) {
                    try stage.parent.rename(name, to: stage.directory, as: Stage.outgoing(number))
                } catch { if error.errno != .noSuchFileOrDirectory { throw error } }
            }
        } catch {
            companions.putBack(stage)
            throw error
        }
        return companions
    }

    /// Nothing was replaced: those that left return to their names. The stage keeps those whose names are taken.
    func putBack(_ stage: Stage) {
        let isBack = (try? returnOutgoing(stage.directory, stage.parent).taken.isEmpty) ?? false
        if !isBack { stage.keptFiles = "it holds files of \(SafeText.line(name)) (\(list)); move them out by hand" }
    }

    /// What it belongs to is in place: those that come get their names.
    ///
    /// - Returns: the names that were taken.
    func place(_ stage: Stage) throws(CallFailure) -> (placed: [[UInt8]], taken: [[UInt8]]) {
        let result = try placeIncoming(stage.directory, stage.parent)
        // From here on those that left may go, whatever becomes of the name.
        if !outgoing.isEmpty || !incoming.isEmpty { try? stage.directory.unlink(Self.note) }
        return result
    }

    private func returnOutgoing(
        _ stage: Opened, _ parent: Opened
    ) throws(CallFailure) -> (placed: [[UInt8]], taken: [[UInt8]]) {
        try Self.move(outgoing, Stage.outgoing, stage, parent)
    }

    private func placeIncoming(
        _ stage: Opened, _ parent: Opened
    ) throws(CallFailure) -> (placed: [[UInt8]], taken: [[UInt8]]) {
        try Self.move(incoming, Stage.incoming, stage, parent)
    }

    private static func move(
        _ names: [[UInt8]], _ stored: (Int) -> [UInt8], _ stage: Opened, _ parent: Opened
    ) throws(CallFailure) -> (placed: [[UInt8]], taken: [[UInt8]]) {
        var (placed, taken): ([[UInt8]], [[UInt8]]) = ([], [])
        for (number, name) in names.enumerated() {
            guard let status = try stage.statusIfThere(stored(number)) else { continue }
            if try Publication.putIfFree(stored(number), of: stage, to: parent, as: name) {
                placed.append(name)
            } else if try parent.statusIfThere(name)?.identity == status.identity {
                // Killed between link(2) and unlink(2), where the file system has no flags of rename.
                try stage.unlink(stored(number))
                placed.append(name)
            } else {
                taken.append(name)
            }
        }
        return (placed, taken)
    }

    // MARK: After a kill

    /// What the next restore did with the files of a killed one.
    enum Outcome: Equatable {
        case nothing
        /// These returned to their names.
        case putBack([[UInt8]])
        /// These got their names.
        case placed([[UInt8]])
        /// Printable: why the stage has to stay.
        case left(String)
    }

    /// Finishes or undoes what a killed restore began.
    static func settle(_ stage: Opened, _ parent: Opened) throws(CallFailure) -> Outcome {
        guard try stage.statusIfThere(note) != nil else { return .nothing }
        guard let companions = Companions(parsing: try stage.file(note).read(limit: 1 << 16)) else {
            return .left("its note of which files belong where is damaged: move them out of it by hand")
        }
        return try companions.settle(stage, parent)
    }

    private func settle(_ stage: Opened, _ parent: Opened) throws(CallFailure) -> Outcome {
        let now = try parent.statusIfThere(name).map { Stamp($0) }
        let own = SafeText.line(name)
        if let now, now.inode == new.inode {
            for number in outgoing.indices where try stage.statusIfThere(Stage.outgoing(number)) != nil {
                try stage.unlink(Stage.outgoing(number))
            }
            guard try holds(incoming.count, Stage.incoming, stage) else { return .nothing }
            guard now == new else {
                return .left("\(own) changed before Kairos could restore its log; restore \(own) again")
            }
            let (placed, taken) = try placeIncoming(stage, parent)
            guard let name = taken.first else { return .placed(placed) }
            return .left("\(SafeText.line(name)) exists, and the restored log belongs there; restore \(own) again")
        }
        guard try holds(outgoing.count, Stage.outgoing, stage) else { return .nothing }
        guard now == old else {
            return .left("it holds files of \(own), which changed since (\(list)); move them out by hand")
        }
        // All or none: if a program made one of these files, it has begun a log of its own.
        for (number, name) in outgoing.enumerated() {
            guard let stored = try stage.statusIfThere(Stage.outgoing(number)),
                let status = try parent.statusIfThere(name), status.identity != stored.identity
            else { continue }
            return .left(isTaken(name))
        }
        let (placed, taken) = try returnOutgoing(stage, parent)
        return taken.first.map { .left(isTaken($0)) } ?? .putBack(placed)
    }

    private func isTaken(_ other: [UInt8]) -> String {
        "it holds files of \(SafeText.line(name)) (\(list)), and \(SafeText.line(other)) exists; move them by hand"
    }

    /// Which file in the stage had which name.
    private var list: String {
        outgoing.enumerated().map { "\(SafeText.line(Stage.outgoing($0))) was \(SafeText.line($1))" }
            .joined(separator: ", ")
    }

    private func holds(_ count: Int, _ stored: (Int) -> [UInt8], _ stage: Opened) throws(CallFailure) -> Bool {
        for number in 0..<count where try stage.statusIfThere(stored(number)) != nil { return true }
        return false
    }
}
