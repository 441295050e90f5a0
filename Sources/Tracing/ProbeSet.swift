import BPF
import Datasets
import SystemPackage

/// Which programs watch the file systems. See docs/design.md, "Probe sets".
public enum ProbeSet: String, Sendable, Hashable, CaseIterable {
    /// OpenZFS's own word by transaction group, and `vfs` for the detail.
    case zfs
    /// Functions of the kernel.
    case vfs
    /// System calls, by one raw tracepoint.
    case syscalls
}

/// Why no probe set could be put in place.
public enum ProbeError: Error, Sendable, CustomStringConvertible {
    case kernel(ProbeSet, BPFError)
    /// Attached, and yet a test call did not reach these programs.
    case silent(ProbeSet, programs: [String])
    /// Functions that this kernel lacks, or has inlined.
    case functionsMissing(ProbeSet, [String])
    case noBTF
    /// The zfs module is not loaded, or was built without BTF.
    case noModule
    case noModuleBTF

    public var description: String {
        switch self {
        case .noBTF:
            "this kernel has no BTF (\(KernelSupport.btfPath)), which eBPF programs need to find their way in it: "
                + "boot one with CONFIG_DEBUG_INFO_BTF=y"
        case .noModule: "probe set zfs: the kernel has no zfs module loaded"
        case .noModuleBTF:
            "probe set zfs: the zfs module has no BTF (\(KernelSupport.moduleBTFPath)): it was built where there was no "
                + "vmlinux beside the kernel's headers"
        case .kernel(let set, let error) where set != .syscalls && error.errno == .notPermitted:
            "probe set \(set.rawValue): this kernel refuses programs on its own functions (fentry: \(error.errno))"
        case .kernel(let set, let error): "probe set \(set.rawValue): \(error)"
        case .silent(let set, let programs):
            "probe set \(set.rawValue): attached, but these programs do not run (a test call was not seen): "
                + programs.joined(separator: ", ") + "; see kairos doctor"
        case .functionsMissing(let set, let functions):
            "probe set \(set.rawValue): this kernel does not have \(functions.joined(separator: ", "))"
        }
    }

    /// What to do about it, where the failure tells.
    public var hint: String? {
        if case .kernel(.syscalls, let error) = self { error.hint } else { nil }
    }

    /// libbpf's own log, for `--verbose`.
    public var log: String {
        if case .kernel(_, let error) = self { error.log } else { "" }
    }
}

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
        /// A function of the zfs module.
        case module(String)
    }

    var name: String
    var hook: Hook
    /// What is not seen where the kernel lacks the hook. Nil: without it the set cannot be taken.
    var blindSpot: String?

    var function: String? {
        switch hook {
        case .function(let name, _), .module(let name): name
        case .tracepoint: nil
        }
    }
}

extension ProbeSet {
    /// Those that a daemon needs.
    var programs: [ProbeProgram] {
        switch self {
        case .syscalls: Self.systemCalls + [Self.beginnings] + Self.always
        case .vfs: Self.functions + Self.always
        case .zfs: Self.functions + Self.always + Self.module
        }
    }

    /// Those that a trace needs. Transaction groups tell nobody who did what: `zfs` is as `vfs`.
    func programs(for trace: TraceSelection) -> [ProbeProgram] {
        var programs = self == .syscalls ? Self.systemCalls : Self.functions
        programs += self == .syscalls ? [Self.closes] : Self.tracedFunctions
        // What failed has no function of the kernel's that all ways to it have in common.
        if self != .syscalls, trace.showsFailures { programs.append(Self.systemCalls[0]) }
        if trace.operations.contains(.store) { programs.append(Self.always[0]) }
        if !trace.operations.contains(.close) {
            programs.removeAll { ["syscalls__enter", "vfs__fput"].contains($0.name) }
        }
        if trace.followsChildren { programs.append(Self.processes[0]) }
        if !trace.processes.isEmpty { programs.append(Self.processes[1]) }
        return programs
    }

    /// Every program of the object.
    static let everyProgram: Set<String> = Set(
        (allCases.flatMap(\.programs) + [closes] + tracedFunctions + processes).map(\.name))

    /// Without it a change that was done before a snapshot, by a call that ended after it, may make an empty one.
    private static let beginnings = ProbeProgram(name: "syscalls__begin", hook: .tracepoint("sys_enter"), blindSpot: "")

    private static let closes = ProbeProgram(
        name: "syscalls__enter", hook: .tracepoint("sys_enter"),
        blindSpot: "closes: this kernel has no sys_enter tracepoint")

    private static let tracedFunctions = [
        // Where one of them is inlined, what it does is shown twice: as a whole and in its parts.
        ProbeProgram(name: "vfs__splice_entry", hook: .function("iter_file_splice_write"), blindSpot: ""),
        ProbeProgram(name: "vfs__copy_entry", hook: .function("vfs_copy_file_range"), blindSpot: ""),
        ProbeProgram(name: "vfs__mmap", hook: .function("vm_mmap_pgoff"), blindSpot: "mappings: only stores to them"),
    ]

    private static let processes = [
        ProbeProgram(name: "trace__fork", hook: .tracepoint("sched_process_fork")),
        ProbeProgram(name: "trace__free", hook: .tracepoint("sched_process_free")),
    ]

    private static let always = [
        // 5.18 renamed writeback_dirty_page (203a31516616); without it stores to mappings show only at msync.
        ProbeProgram(
            name: "syscalls__dirty_folio", hook: .tracepoint("writeback_dirty_folio"),
            blindSpot: "stores through mappings: this kernel has no writeback_dirty_folio tracepoint"),
        // Without it each command of others counts as one that may have changed something.
        ProbeProgram(name: "syscalls__process_exec", hook: .tracepoint("sched_process_exec"), blindSpot: ""),
        ProbeProgram(
            name: "syscalls__process_exit", hook: .tracepoint("sched_process_exit"),
            blindSpot: "zfs commands of others: changed properties are read at the next mount change or SIGHUP"),
    ]

    private static let systemCalls = [
        ProbeProgram(name: "syscalls__exit", hook: .tracepoint("sys_exit")),
        ProbeProgram(
            name: "syscalls__io_uring", hook: .tracepoint("io_uring_complete"),
            blindSpot: "io_uring: this kernel has no io_uring_complete tracepoint"),
    ]

    private static func dentry(of function: String, nth: Int = 0) -> ProbeProgram.Hook {
        .function(function, [ProbeProgram.Argument(constant: "at_" + function, structure: "dentry", nth: nth)])
    }

    private static let functions = [
        ProbeProgram(name: "vfs__write", hook: .function("vfs_write")),
        ProbeProgram(name: "vfs__writev", hook: .function("vfs_writev")),
        ProbeProgram(name: "vfs__iter_write", hook: .function("vfs_iter_write")),
        ProbeProgram(
            name: "vfs__iocb_write", hook: .function("vfs_iocb_iter_write"), blindSpot: "some writes of overlays"),
        ProbeProgram(
            name: "vfs__kernel_write", hook: .function("__kernel_write_iter"),
            blindSpot: "writes of the kernel's own, such as process accounting"),
        ProbeProgram(name: "vfs__splice", hook: .function("iter_file_splice_write")),
        ProbeProgram(
            name: "vfs__io_uring", hook: .function("io_write"), blindSpot: "writes of io_uring: not in this kernel"),
        ProbeProgram(
            name: "vfs__io_uring_late", hook: .function("io_complete_rw"),
            blindSpot: "writes of io_uring that end late: not in this kernel"),
        ProbeProgram(
            name: "vfs__aio", hook: .function("aio_complete_rw"), blindSpot: "writes of io_submit: not in this kernel"),
        ProbeProgram(
            name: "vfs__kernel_thread", hook: .function("generic_write_checks"), blindSpot: "writes of loop devices"),
        ProbeProgram(name: "vfs__copy", hook: .function("vfs_copy_file_range")),
        ProbeProgram(name: "vfs__clone", hook: .function("vfs_clone_file_range")),
        ProbeProgram(name: "vfs__fallocate_entry", hook: .function("vfs_fallocate")),
        ProbeProgram(name: "vfs__fallocate", hook: .function("vfs_fallocate")),
        ProbeProgram(
            name: "vfs__setattr",
            hook: .function(
                "notify_change",
                [
                    ProbeProgram.Argument(constant: "at_notify_change", structure: "dentry"),
                    ProbeProgram.Argument(constant: "at_notify_change_attr", structure: "iattr"),
                ])),
        ProbeProgram(name: "vfs__open", hook: .function("do_filp_open")),
        ProbeProgram(name: "vfs__create", hook: dentry(of: "vfs_create")),
        ProbeProgram(name: "vfs__mkdir", hook: dentry(of: "vfs_mkdir")),
        ProbeProgram(name: "vfs__mknod", hook: dentry(of: "vfs_mknod")),
        ProbeProgram(name: "vfs__symlink", hook: dentry(of: "vfs_symlink")),
        // Of its two dentries the second is the new one.
        ProbeProgram(name: "vfs__link", hook: dentry(of: "vfs_link", nth: 1)),
        ProbeProgram(name: "vfs__unlink_entry", hook: dentry(of: "vfs_unlink")),
        ProbeProgram(name: "vfs__unlink", hook: dentry(of: "vfs_unlink")),
        ProbeProgram(name: "vfs__rmdir_entry", hook: dentry(of: "vfs_rmdir")),
        ProbeProgram(name: "vfs__rmdir", hook: dentry(of: "vfs_rmdir")),
        ProbeProgram(name: "vfs__rename_entry", hook: renamed),
        ProbeProgram(name: "vfs__rename", hook: renamed),
        ProbeProgram(name: "vfs__setxattr", hook: dentry(of: "vfs_setxattr")),
        ProbeProgram(name: "vfs__removexattr", hook: dentry(of: "vfs_removexattr")),
        // Before 6.2 ACLs are extended attributes like others: nothing is missed.
        ProbeProgram(name: "vfs__set_acl", hook: dentry(of: "vfs_set_acl"), blindSpot: ""),
        ProbeProgram(name: "vfs__remove_acl", hook: dentry(of: "vfs_remove_acl"), blindSpot: ""),
        ProbeProgram(name: "vfs__fileattr", hook: dentry(of: "vfs_fileattr_set"), blindSpot: "chattr"),
        ProbeProgram(name: "vfs__ioctl", hook: .function(ioctl), blindSpot: "chattr on OpenZFS"),
        ProbeProgram(
            name: "vfs__ioctl_compat", hook: .function(compatIoctl), blindSpot: ""),
        ProbeProgram(
            name: "vfs__fput", hook: .function("__fput"), blindSpot: "closes: --commit-quiet does not see them"),
        ProbeProgram(
            name: "vfs__fsync", hook: .function("vfs_fsync_range"),
            blindSpot: "fsync: --commit-quiet does not see it"),
    ]

    private static let renamed = ProbeProgram.Hook.function(
        "vfs_rename", [ProbeProgram.Argument(constant: "at_vfs_rename", structure: "renamedata")])

    #if arch(arm64)
    private static let ioctl = "__arm64_sys_ioctl"
    private static let compatIoctl = "__arm64_compat_sys_ioctl"
    #else
    private static let ioctl = "__x64_sys_ioctl"
    private static let compatIoctl = "__ia32_compat_sys_ioctl"
    #endif

    private static let module = [
        ProbeProgram(name: "zfs__dirty", hook: .module("dsl_dataset_dirty")),
        ProbeProgram(name: "zfs__snapshot", hook: .module("dsl_dataset_snapshot_sync_impl")),
        ProbeProgram(
            name: "zfs__swap", hook: .module("dsl_dataset_clone_swap_sync_impl"),
            blindSpot: "rollbacks: one soon after a change makes an empty snapshot"),
        // Without them a volume under constant writes seems to rest between two transaction groups.
        ProbeProgram(name: "zfs__volume_write", hook: .module("zvol_log_write"), blindSpot: ""),
        ProbeProgram(name: "zfs__volume_discard", hook: .module("zvol_log_truncate"), blindSpot: ""),
        // The end first: a thread that began before it was attached would pass for noisy until its next time.
        ProbeProgram(name: "zfs__atime", hook: .function("touch_atime")),
        ProbeProgram(name: "zfs__atime_entry", hook: .function("touch_atime")),
        ProbeProgram(name: "zfs__evict", hook: .function("evict")),
        ProbeProgram(name: "zfs__evict_entry", hook: .function("evict")),
    ]

    /// What the set cannot see on any kernel; what stands in for it is an audit.
    var alwaysBlind: [String] {
        switch self {
        case .syscalls:
            [
                "changes by the kernel's NFS server and by loop devices",
                "changes in an overlay file system whose upper directory lies on a dataset (containers)",
                "the rarer calls of 32-bit programs: links, attributes, splices",
                "a path that another thread of its process rewrites during the call",
            ]
        case .vfs: ["volumes: below the file system, and not watched", "discards of loop devices"]
        case .zfs: []
        }
    }
}
