import BPF

/// A program of bpf/, where it attaches, and what has to be known before it loads.
struct ProbeProgram {
    /// An argument whose place differs between kernels.
    struct Argument {
        /// The constant of the program that takes its place.
        var constant: String
        /// It points to this structure; of several, the nth.
        var structure: String
        var nth = 0
    }

    enum Hook {
        /// A raw tracepoint.
        case tracepoint(String)
        /// A function of the kernel.
        case function(String, [Argument] = [])
        /// A function of the zfs module, by its BTF.
        case module(String)
        /// A function of the zfs module, by a kprobe.
        case symbol(String)

        var name: String {
            switch self {
            case .tracepoint(let name), .function(let name, _), .module(let name), .symbol(let name): name
            }
        }

        /// `tracepoint sys_exit`, `vfs_write()`.
        var description: String {
            switch self {
            case .tracepoint(let name): "tracepoint \(name)"
            case .function(let name, _), .module(let name), .symbol(let name): "\(name)()"
            }
        }
    }

    /// What becomes of its set where the kernel does not take the program.
    enum Absence {
        /// The set shows nothing, or the wrong thing, without it: it is not taken.
        case refusesSet
        /// Another set sees what this program would have seen: it is preferred where it loads.
        case prefersOtherSet
        /// Other kernels lack the hook too: the set is as good as any.
        case costsSight
    }

    var name: String
    /// What it attaches to. Kernels name some differently: the first that is there is taken.
    var hooks: [Hook]
    /// What the set does not see without it, as a phrase. Empty: nothing is missed.
    var blindSpot: String
    var absence: Absence
    /// False: a kernel without the hook has nothing that the program would see.
    var isNeededWithoutHook: Bool
    /// A program whose work this one begins: without the other's end it would do harm.
    var end: String?
    /// The constant of the program that is 1 where its function returns a pointer.
    var pointerConstant: String?
    /// A program in whose place this one is attached where that one is not called, or not to be had. `blindSpot` is what is missed
    /// then all the same.
    var standsInFor: String?

    init(
        _ name: String, _ hook: Hook, or others: [Hook] = [], blindSpot: String, absence: Absence = .costsSight,
        isNeededWithoutHook: Bool = true, end: String? = nil, standsInFor: String? = nil
    ) {
        self.name = name
        hooks = [hook] + others
        self.blindSpot = blindSpot
        self.absence = absence
        self.isNeededWithoutHook = isNeededWithoutHook
        self.end = end
        self.standsInFor = standsInFor
    }
}

/// A program of a set that is not in use on this kernel.
public struct LeftOutProgram: Sendable, CustomStringConvertible {
    public enum Reason: Sendable {
        /// The kernel does not have the hook.
        case noHook(String)
        /// The kernel, or libbpf for it, refused to load or attach the program.
        case refused(BPFError)
        /// The program that ends its work is not in use.
        case noEnd(String)
        /// It is attached, and a test call did not reach it: the compiler has put its function into others.
        case silent
    }

    public let program: String
    public let reason: Reason
    /// What is not seen without it, as a phrase. Empty: nothing is missed.
    public let blindSpot: String
    /// Another set sees that.
    let prefersOtherSet: Bool
    /// Another program sees the rest of what this one would.
    let hasStandIn: Bool

    /// Whether a user is to know: something is missed that this set sees on other kernels.
    public var isWorthAWarning: Bool {
        guard !blindSpot.isEmpty, !hasStandIn else { return false }
        return switch reason {
        case .refused, .silent: true
        case .noHook, .noEnd: prefersOtherSet
        }
    }

    public var description: String {
        switch reason {
        case .noHook(let hook): "this kernel has no \(hook) for the program \(program)"
        case .refused(let error): "this kernel refuses the program \(program) (\(error.reason))"
        case .noEnd(let end): "program \(program) needs \(end), which is not in use"
        case .silent: "this kernel does not call the program \(program) (a test call did not reach it)"
        }
    }

    /// `symbolic links: this kernel refuses the program kairos_vfs_symlink (Invalid argument)`
    public var blindSpotAndReason: String { blindSpot + ": " + description }

    /// libbpf's log, for `--verbose`.
    public var log: String { if case .refused(let error) = reason { error.log } else { "" } }
}
