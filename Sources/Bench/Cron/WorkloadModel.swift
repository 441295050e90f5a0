/// A way in which people and programs change files: small, with every number of it in `parameters`.
public struct WorkloadModel: Sendable {
    public var name: String
    public var parameters: String
    let plan: @Sendable (inout Planner) -> Void

    /// Each by itself, in the order in which help lists them.
    public static let all: [WorkloadModel] = [
        documents, git, build, database, mail, photos, mistake, night, ransomware,
    ]
    /// One dataset that sees all of them, as a day does.
    public static let mixed = WorkloadModel(
        name: "mixed",
        parameters:
            "all of these one after the other, in an order that is drawn, each in a directory of its own for the same share of the time"
    ) { planner in
        let share = planner.length / Double(all.count)
        for (place, model) in planner.shuffled(all).enumerated() {
            planner.nested(model, from: Double(place) * share, length: share)
        }
    }
    /// A dataset that hardly rests.
    public static let crowd = WorkloadModel(
        name: "crowd",
        parameters: "all of these at once, each in a directory of its own: somebody changes something every second"
    ) { planner in
        for model in all { planner.nested(model, from: 0, length: planner.length) }
    }

    /// By itself, and together.
    public static let everything = all + [mixed, crowd]

    public static func named(_ name: String) -> WorkloadModel? { everything.first { $0.name == name } }

    /// - Parameter length: seconds of the model.
    public func script(seed: UInt64, length: Double) throws(Script.Fault) -> Script {
        var planner = Planner(random: SplitMix(state: seed), length: length)
        plan(&planner)
        // Stable: what happens at one time happens in the order in which it was planned.
        let order = planner.actions.indices.sorted {
            (planner.actions[$0].time, $0) < (planner.actions[$1].time, $1)
        }
        return try Script(
            preparation: planner.preparation, actions: order.map { planner.actions[$0] }, length: length)
    }
}

/// Writes a model's actions down, with a cursor that goes on in time.
struct Planner {
    var random: SplitMix
    /// Seconds that the model has.
    private(set) var length: Double
    /// Where they begin.
    private var base = 0.0
    private(set) var preparation: [FileAction] = []
    private(set) var actions: [PlannedAction] = []
    private var prefix = ""
    /// Nil: before the beginning.
    private var now: Double?
    private var sizes: [String: Int] = [:]
    /// What one write call takes.
    static let piece = 65_536

    init(random: SplitMix, length: Double) {
        self.random = random
        self.length = length
    }

    /// Plans another model's actions, in a directory of its own, within this part of the time.
    mutating func nested(_ model: WorkloadModel, from start: Double, length part: Double) {
        let whole = length
        (now, base, length, prefix) = (nil, start, part, "")
        make(directory: model.name)
        prefix = model.name + "/"
        model.plan(&self)
        (base, length) = (0, whole)
    }

    mutating func shuffled<Element>(_ elements: [Element]) -> [Element] { elements.shuffled(using: &random) }

    /// Goes on from here. False when that is behind the end.
    mutating func wait(_ seconds: Double) -> Bool {
        let next = (now ?? 0) + seconds
        // What is last should have time to come to rest.
        guard next < length - 5 else { return false }
        now = next
        return true
    }

    /// Back to the beginning, for what happens at the same time.
    mutating func restart() { now = nil }

    mutating func between(_ range: ClosedRange<Double>) -> Double { Double.random(in: range, using: &random) }
    mutating func between(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &random) }
    mutating func chance(_ share: Double) -> Bool { Double.random(in: 0..<1, using: &random) < share }

    /// Between things that come by chance, so often on average: seconds, exponentially distributed.
    mutating func chancePause(mean: Double) -> Double { -mean * Double.random(in: 1e-9..<1, using: &random).logarithm }

    mutating func make(directory: String) { put(.makeDirectory(prefix + directory)) }
    mutating func remove(directory: String) { put(.removeDirectory(prefix + directory)) }
    mutating func create(_ path: String) {
        put(.create(prefix + path))
        sizes[prefix + path] = 0
    }

    mutating func write(_ path: String, at offset: Int, count: Int) {
        for start in stride(from: offset, to: offset + count, by: Self.piece) {
            let size = min(Self.piece, offset + count - start)
            put(.write(prefix + path, at: start, count: size, seed: random.next()))
        }
        sizes[prefix + path] = max(sizes[prefix + path] ?? 0, offset + count)
    }

    mutating func append(_ path: String, count: Int) { write(path, at: sizes[prefix + path] ?? 0, count: count) }

    /// A new file.
    mutating func make(_ path: String, count: Int) {
        create(path)
        write(path, at: 0, count: count)
    }

    /// By a temporary file and a rename, as careful programs do.
    mutating func save(_ path: String, count: Int, temporary: String? = nil) {
        let new = temporary ?? path + ".new"
        make(new, count: count)
        rename(new, to: path)
    }

    /// In place, as `>` does.
    mutating func overwrite(_ path: String, count: Int) {
        put(.truncate(prefix + path, to: 0))
        write(path, at: 0, count: count)
    }

    mutating func rename(_ old: String, to new: String) {
        put(.rename(prefix + old, to: prefix + new))
        sizes[prefix + new] = sizes.removeValue(forKey: prefix + old)
    }

    mutating func unlink(_ path: String) {
        put(.unlink(prefix + path))
        sizes[prefix + path] = nil
    }

    private mutating func put(_ action: FileAction) {
        guard let now else { return preparation.append(action) }
        actions.append(PlannedAction(time: base + now, action: action))
    }
}
