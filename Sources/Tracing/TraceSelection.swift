import CBPFObjects
import Datasets

/// What a trace is to show, as far as the programs can tell: an empty list means all.
public struct TraceSelection: Hashable, Sendable {
    public var operations: Operations = .all
    /// Process numbers, as this PID namespace has them.
    public var processes: [UInt32] = []
    /// Their children, too.
    public var followsChildren = false
    public var users: [UInt32] = []
    public var commands: [CommandName] = []
    /// Nil: no matter where.
    public var trees: [TracedTree]?
    /// Calls that failed, too.
    public var showsFailures = false

    public init() {}

    var choices: UInt32 {
        var choices: UInt32 = 0
        if !processes.isEmpty { choices |= KAIROS_BY_PID.rawValue }
        if !users.isEmpty { choices |= KAIROS_BY_USER.rawValue }
        if !commands.isEmpty { choices |= KAIROS_BY_COMM.rawValue }
        if trees != nil { choices |= KAIROS_BY_TREE.rawValue }
        return choices
    }
}

/// A part of the file systems that is shown, as the programs know it when they come by on the way up from a file.
public struct TracedTree: Hashable, Sendable {
    public enum Extent: Hashable, Sendable {
        /// What lies below the directory with this number.
        case below(inode: UInt64)
        /// Its own name: the directory with this number holds it, and what happens to names in there is to be looked at.
        case named(inParent: UInt64)
        /// All of the superblock.
        case all
        /// All of it as far as the programs go, since they cannot tell: what they send is to be looked at once more.
        case unsure
    }

    /// The superblock's.
    public var device: DeviceNumber
    public var extent: Extent

    public init(device: DeviceNumber, extent: Extent) {
        self.device = device
        self.extent = extent
    }

    var key: (tree: kairos_tree, value: UInt8)? {
        switch extent {
        case .below(let inode): (kairos_tree(inode: inode, device: device.kernel, reserved: 0), UInt8(KAIROS_TREE_ROOT))
        case .named(let parent):
            (kairos_tree(inode: parent, device: device.kernel, reserved: 0), UInt8(KAIROS_TREE_PARENT))
        case .all, .unsure: nil
        }
    }

    /// What the device table says. Where several trees lie in a superblock, the widest one counts.
    var place: Int {
        switch extent {
        case .below, .named: Int(KAIROS_DEVICE_CHECKED)
        case .unsure: Int(KAIROS_DEVICE_UNSURE)
        case .all: Int(KAIROS_DEVICE_WHOLE)
        }
    }
}
