/// All patterns of a list as one nondeterministic automaton, its states the bits of a bit string (the Shift-And
/// algorithm with gaps: Navarro and Raffinot, "Flexible Pattern Matching in Strings", 4.2-4.3). Nothing is tried twice,
/// so no pattern and no path is slow.
///
/// Each pattern has a run of states: one to begin in, and one more for each byte set to consume. A `*` is no state but
/// a loop on the one before it. `**/` is a loop on every byte, plus a state that is entered by a slash, or for free
/// together with the state that loops: any number of directories, or none.
struct GlobAutomaton: Sendable {
    private let words: Int
    /// For each byte, at `byte * words`: the states that it leads into from the state before.
    private var entries: [UInt64]
    /// The states that a byte other than the slash does not leave.
    private var nameLoops: [UInt64]
    /// The states that no byte leaves.
    private var loops: [UInt64]
    /// The states that are entered together with the next one.
    private var pairs: [UInt64]
    private var starts: [UInt64]
    /// The ends of the patterns, and those of them that ask for a directory.
    private var ends: [UInt64]
    private var directoryEnds: [UInt64]

    init(_ globs: [Glob]) {
        let states = globs.reduce(0) { $0 + 1 + $1.tokens.count }
        words = (states + 63) / 64
        let none = [UInt64](repeating: 0, count: words)
        entries = [UInt64](repeating: 0, count: words * 256)
        (nameLoops, loops, pairs, starts, ends, directoryEnds) = (none, none, none, none, none, none)
        var state = 0
        for glob in globs {
            add(glob, from: &state)
        }
    }

    private mutating func add(_ glob: Glob, from state: inout Int) {
        set(state, in: &starts)
        for token in glob.tokens {
            switch token {
            case .run:
                set(state, in: &nameLoops)
            case .deepRun:
                set(state, in: &nameLoops)
                set(state, in: &loops)
            case .directories:
                set(state, in: &nameLoops)
                set(state, in: &loops)
                set(state, in: &pairs)
                state += 1
                set(state, in: &entries, at: Int(slash) * words)
            case .bytes(let bytes):
                state += 1
                for byte in bytes {
                    set(state, in: &entries, at: Int(byte) * words)
                }
            }
        }
        set(state, in: &ends)
        if glob.isDirectory {
            set(state, in: &directoryEnds)
        }
        state += 1
    }

    private func set(_ state: Int, in bits: inout [UInt64], at offset: Int = 0) {
        bits[offset + state / 64] |= 1 << UInt64(state % 64)
    }

    /// Whether a pattern matches `path` or a directory above it.
    func matches(_ path: some Collection<UInt8>) -> Bool {
        var active = starts
        addPartners(of: starts, to: &active)
        // A slash is taken only when a name follows it: leading, doubled and trailing ones then need no cases.
        var (sawName, sawSlash) = (false, false)
        for byte in path {
            if byte == slash {
                sawSlash = true
                continue
            }
            if sawSlash, sawName {
                if isAtEnd(active, directory: true) {
                    return true
                }
                step(&active, over: slash)
            }
            (sawName, sawSlash) = (true, false)
            step(&active, over: byte)
        }
        return sawName && isAtEnd(active, directory: sawSlash)
    }

    private func step(_ active: inout [UInt64], over byte: UInt8) {
        let offset = Int(byte) * words
        // What the word before hands on: by consuming a byte, and by a pair of states entered together.
        var (shifted, paired): (UInt64, UInt64) = (0, 0)
        for word in 0..<words {
            let old = active[word]
            let entered = (old << 1 | shifted) & entries[offset + word]
            let pair = entered & pairs[word]
            let looping = old & (byte == slash ? loops[word] : nameLoops[word])
            active[word] = entered | pair << 1 | paired | looping
            (shifted, paired) = (old >> 63, pair >> 63)
        }
    }

    private func addPartners(of entered: [UInt64], to active: inout [UInt64]) {
        var paired: UInt64 = 0
        for word in 0..<words {
            let pair = entered[word] & pairs[word]
            active[word] |= pair << 1 | paired
            paired = pair >> 63
        }
    }

    private func isAtEnd(_ active: [UInt64], directory: Bool) -> Bool {
        for word in 0..<words where active[word] & ends[word] & (directory ? ~0 : ~directoryEnds[word]) != 0 {
            return true
        }
        return false
    }
}
