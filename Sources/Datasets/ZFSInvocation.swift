/// What a `zfs` or `zpool` command that another program ran may have done to watched datasets, as far as its arguments
/// tell. Monitoring tools list and read all day long, and that must cost nothing.
///
/// Arguments are a hint and no proof: a user to whom `zfs allow` grants rights can call ZFS without the command, or under
/// a forged name. Audits find what such a user hides.
public enum ZFSInvocation: Hashable, Sendable {
    /// It reads, or changes nothing that Kairos follows.
    case harmless
    /// Properties or the set of datasets may have changed. No snapshot was taken, and nothing was rolled back.
    case configures
    /// It may have taken or destroyed snapshots or rolled back, in these datasets and those below them; nil for any.
    case captures(Set<String>?)

    /// From the arguments, the program's name first. Nil or none: not known, so it may have done anything.
    public init(_ arguments: [[UInt8]]?) {
        guard let words = arguments?.map({ String(decoding: $0, as: UTF8.self) }), words.count > 1 else {
            self = .captures(nil)
            return
        }
        let operands = words.dropFirst(2).filter { !$0.hasPrefix("-") }
        switch words[0].split(separator: "/").last {
        case "zfs": self = Self.dataset(words[1], operands)
        case "zpool": self = Self.pool(words[1])
        default: self = .captures(nil)
        }
    }

    /// A property that no dataset has. To inherit it changes nothing, and makes zfs-fuse wait for the open transaction
    /// group, which has no `zpool sync`.
    public static let syncProperty = "kairos:nothing"

    private static func dataset(_ verb: String, _ operands: [String]) -> ZFSInvocation {
        switch verb {
        case "list", "get", "holds", "hold", "release", "bookmark", "send", "userspace", "groupspace", "projectspace",
            "version", "wait", "help", "-?", "-h", "--help", "-V", "--version":
            return .harmless
        case "inherit" where operands.first == syncProperty: return .harmless
        case "set", "inherit", "create", "clone", "mount", "umount", "unmount", "share", "unshare", "load-key",
            "unload-key", "change-key", "upgrade", "allow", "unallow", "redact":
            return .configures
        case "snapshot", "snap", "rollback", "destroy", "receive", "recv", "diff":
            // The values of options are among the operands: a name too many is a check too many at worst.
            let names = operands.map { String($0.prefix { $0 != "@" && $0 != "#" }) }
            return .captures(names.isEmpty || names.contains { $0.hasPrefix("/") } ? nil : Set(names))
        default:
            // `promote`, `rename` and `program` reach datasets that they do not name.
            return .captures(nil)
        }
    }

    private static func pool(_ verb: String) -> ZFSInvocation {
        switch verb {
        case "list", "status", "get", "iostat", "history", "events", "version", "wait", "sync", "scrub", "trim",
            "initialize", "prefetch", "help", "-?", "-h", "--help", "-V", "--version":
            .harmless
        default: .captures(nil)
        }
    }

    /// Whether it may have captured or taken back changes of this dataset.
    public func captures(_ dataset: String) -> Bool {
        switch self {
        case .harmless, .configures: false
        case .captures(nil): true
        case .captures(let names?): names.contains { $0 == dataset || DatasetName.isBelow(dataset, $0) }
        }
    }
}
