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
    /// Hooks that the set cannot do without, which this kernel lacks.
    case hooksMissing(ProbeSet, [String])
    /// The set loads, but without programs whose changes another set sees.
    case incomplete(ProbeSet, [LeftOutProgram])
    case noBTF
    /// The kernel takes no program of this process. With libbpf's log.
    case forbidden(KernelSupport.Obstacle, log: String)
    /// The zfs module is not loaded.
    case noModule
    /// It was built without BTF, and nothing keeps it from being replaced while programs are on its functions.
    case noModuleBTF

    public var description: String {
        switch self {
        case .noBTF:
            "this kernel has no BTF (\(KernelSupport.btfPath)), which eBPF programs need to find their way in it: "
                + "boot one with CONFIG_DEBUG_INFO_BTF=y"
        case .forbidden(let obstacle, _): "\(obstacle); \(obstacle.remedy)"
        case .noModule: "probe set zfs: the kernel has no zfs module loaded"
        case .noModuleBTF:
            "probe set zfs: the zfs module has no BTF (\(KernelSupport.moduleBTFPath)), and cannot be kept loaded: "
                + "/dev/zfs cannot be opened"
        case .kernel(let set, let error) where set != .syscalls && error.errno == .notPermitted:
            "probe set \(set.rawValue): this kernel refuses programs on its own functions (fentry: \(error.errno))"
        case .kernel(let set, let error): "probe set \(set.rawValue): \(error)"
        case .silent(let set, let programs):
            "probe set \(set.rawValue): attached, but these programs do not run (a test call was not seen): "
                + programs.joined(separator: ", ") + "; see kairos doctor"
        case .hooksMissing(let set, let hooks):
            "probe set \(set.rawValue): this kernel does not have \(hooks.joined(separator: ", "))"
        case .incomplete(let set, let programs):
            "probe set \(set.rawValue): loads, but does not see "
                + programs.map(\.blindSpotAndReason).joined(separator: "; ")
        }
    }

    /// What to do about it, where the failure tells.
    public var hint: String? {
        if case .kernel(.syscalls, let error) = self { error.hint } else { nil }
    }

    /// libbpf's own log, for `--verbose`.
    public var log: String {
        switch self {
        case .kernel(_, let error): error.log
        case .incomplete(_, let programs): programs.map(\.log).joined()
        case .forbidden(_, let log): log
        default: ""
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

    /// As `programs`, for a zfs module that is read in this way.
    func programs(_ access: ModuleAccess) -> [ProbeProgram] {
        self == .zfs && access.isByLayout
            ? Self.functions + Self.always + Self.moduleByLayout + Self.noise : programs
    }

    /// Those that a trace needs. Transaction groups tell nobody who did what: `zfs` is as `vfs`.
    func programs(for trace: TraceSelection) -> [ProbeProgram] {
        var programs = self == .syscalls ? Self.systemCalls : Self.functions
        programs += self == .syscalls ? [Self.closes] : Self.tracedFunctions
        // What failed has no function of the kernel's that all ways to it have in common.
        if self != .syscalls, trace.showsFailures {
            var failures = Self.systemCalls[0]
            (failures.blindSpot, failures.absence) = ("failed calls", .costsSight)
            programs.append(failures)
        }
        if trace.operations.contains(.store) { programs.append(Self.always[0]) }
        if !trace.operations.contains(.close) {
            programs.removeAll { ["kairos_syscalls_enter", "kairos_vfs_fput"].contains($0.name) }
        }
        if trace.followsChildren { programs.append(Self.processes[0]) }
        if !trace.processes.isEmpty { programs.append(Self.processes[1]) }
        return programs
    }

    /// Every program of the object.
    static let everyProgram: Set<String> = Set(
        (allCases.flatMap(\.programs) + moduleByLayout + [closes] + tracedFunctions + processes).map(\.name))

    /// Without it a change that was done before a snapshot, by a call that ended after it, may make an empty one.
    private static let beginnings = ProbeProgram("kairos_syscalls_begin", .tracepoint("sys_enter"), blindSpot: "")

    private static let closes = ProbeProgram("kairos_syscalls_enter", .tracepoint("sys_enter"), blindSpot: "closes")

    private static let tracedFunctions = [
        // Where one of them is inlined, what it does is shown twice: as a whole and in its parts.
        ProbeProgram(
            "kairos_vfs_splice_entry", .function("iter_file_splice_write"), blindSpot: "", end: "kairos_vfs_splice"),
        ProbeProgram("kairos_vfs_copy_entry", .function("vfs_copy_file_range"), blindSpot: "", end: "kairos_vfs_copy"),
        ProbeProgram("kairos_vfs_mmap", .function("vm_mmap_pgoff"), blindSpot: "mappings, other than stores to them"),
    ]

    private static let processes = [
        ProbeProgram(
            "kairos_trace_fork", .tracepoint("sched_process_fork"), blindSpot: "children of processes",
            absence: .refusesSet),
        ProbeProgram(
            "kairos_trace_free", .tracepoint("sched_process_free"), blindSpot: "ends of processes", absence: .refusesSet
        ),
    ]

    private static let always = [
        // 5.18 renamed writeback_dirty_page (203a31516616); without it stores to mappings show only at msync.
        ProbeProgram(
            "kairos_syscalls_dirty_folio", .tracepoint("writeback_dirty_folio"), blindSpot: "stores through mappings"),
        // Without it each command of others counts as one that may have changed something.
        ProbeProgram("kairos_syscalls_process_exec", .tracepoint("sched_process_exec"), blindSpot: ""),
        ProbeProgram(
            "kairos_syscalls_process_exit", .tracepoint("sched_process_exit"),
            blindSpot: "zfs commands of other programs (properties are re-read only at a mount change or SIGHUP)"),
    ]

    private static let systemCalls = [
        ProbeProgram("kairos_syscalls_exit", .tracepoint("sys_exit"), blindSpot: "system calls", absence: .refusesSet),
        ProbeProgram("kairos_syscalls_io_uring", .tracepoint("io_uring_complete"), blindSpot: "io_uring"),
        // 6.1 has the second.
        ProbeProgram(
            "kairos_syscalls_io_uring_submit", .tracepoint("io_uring_submit_req"),
            or: [.tracepoint("io_uring_submit_sqe")],
            blindSpot: "requests of io_uring without a completion"),
        ProbeProgram("kairos_syscalls_core", .tracepoint("sched_process_exit"), blindSpot: "core dumps"),
    ]

    /// - Parameter constant: `at_` and the function where it is nil.
    private static func dentry(
        of function: String, nth: Int = 0, in constant: String? = nil
    ) -> ProbeProgram.Hook {
        let constant = constant ?? "at_" + function
        return .function(function, [ProbeProgram.Argument(constant: constant, structure: "dentry", nth: nth)])
    }

    /// One that kernels with this set have, and whose changes the set `syscalls` sees too.
    private static func common(
        _ name: String, _ hook: ProbeProgram.Hook, or other: ProbeProgram.Hook? = nil, _ blindSpot: String
    ) -> ProbeProgram {
        ProbeProgram(
            name, hook, or: other.map { [$0] } ?? [], blindSpot: blindSpot, absence: .prefersOtherSet)
    }

    private static let functions = [
        // The first call that must be seen is one of these, and says which process is Kairos.
        ProbeProgram("kairos_vfs_write", .function("vfs_write"), blindSpot: "writes", absence: .refusesSet),
        common("kairos_vfs_writev", .function("vfs_writev"), "writes of several buffers"),
        common("kairos_vfs_iter_write", .function("vfs_iter_write"), "writes of splice(2) and of the NFS server"),
        ProbeProgram("kairos_vfs_iocb_write", .function("vfs_iocb_iter_write"), blindSpot: "some writes of overlays"),
        ProbeProgram(
            "kairos_vfs_kernel_write", .function("__kernel_write_iter"),
            blindSpot: "writes of the kernel's own, such as process accounting"),
        common("kairos_vfs_splice", .function("iter_file_splice_write"), "writes of splice(2) and sendfile(2)"),
        ProbeProgram("kairos_vfs_io_uring", .function("io_write"), blindSpot: "writes of io_uring"),
        ProbeProgram(
            "kairos_vfs_io_uring_late", .function("io_complete_rw"), blindSpot: "writes of io_uring that end late"),
        ProbeProgram("kairos_vfs_aio", .function("aio_complete_rw"), blindSpot: "writes of io_submit(2)"),
        ProbeProgram(
            "kairos_vfs_kernel_thread", .function("generic_write_checks"), blindSpot: "writes of loop devices"),
        common("kairos_vfs_copy", .function("vfs_copy_file_range"), "copy_file_range(2)"),
        common("kairos_vfs_clone", .function("vfs_clone_file_range"), "clones of files"),
        ProbeProgram(
            "kairos_vfs_fallocate_entry", .function("vfs_fallocate"), blindSpot: "", end: "kairos_vfs_fallocate"),
        common("kairos_vfs_fallocate", .function("vfs_fallocate"), "fallocate(2)"),
        common(
            "kairos_vfs_setattr",
            .function(
                "notify_change",
                [
                    ProbeProgram.Argument(constant: "at_notify_change", structure: "dentry"),
                    ProbeProgram.Argument(constant: "at_notify_change_attr", structure: "iattr"),
                ]), "changes of size, mode, owner and times"),
        // 7.0 has the second.
        common("kairos_vfs_open", .function("do_filp_open"), or: .function("do_file_open"), "files that open(2) makes"),
        common("kairos_vfs_create", dentry(of: "vfs_create"), "files that the kernel itself makes"),
        mkdir,
        common("kairos_vfs_mknod", dentry(of: "vfs_mknod"), "new device nodes, FIFOs and sockets"),
        common("kairos_vfs_symlink", dentry(of: "vfs_symlink"), "new symbolic links"),
        // Of its two dentries the second is the new one.
        common("kairos_vfs_link", dentry(of: "vfs_link", nth: 1), "new hard links"),
        // The programs at the end go by what these have noted: without them they see nothing.
        ProbeProgram(
            "kairos_vfs_unlink_entry", dentry(of: "vfs_unlink"), blindSpot: "deletions of files",
            absence: .prefersOtherSet,
            end: "kairos_vfs_unlink"),
        common("kairos_vfs_unlink", dentry(of: "vfs_unlink"), "deletions of files"),
        ProbeProgram(
            "kairos_vfs_rmdir_entry", dentry(of: "vfs_rmdir"), blindSpot: "deletions of directories",
            absence: .prefersOtherSet, end: "kairos_vfs_rmdir"),
        common("kairos_vfs_rmdir", dentry(of: "vfs_rmdir"), "deletions of directories"),
        ProbeProgram(
            "kairos_vfs_rename_entry", renamed, blindSpot: "renames", absence: .prefersOtherSet,
            end: "kairos_vfs_rename"),
        common("kairos_vfs_rename", renamed, "renames"),
        // The inner functions, since the NFS server calls those (5.9, 08b5d5014a27). Linux 6.1 takes no program on the first: it has
        // more arguments than six.
        common(
            "kairos_vfs_setxattr", dentry(of: "__vfs_setxattr_locked", in: "at_vfs_setxattr"),
            "extended attributes that are set"),
        ProbeProgram(
            "kairos_vfs_setxattr_call", dentry(of: "vfs_setxattr", in: "at_vfs_setxattr_call"),
            blindSpot: "extended attributes that clients of the NFS server set", standsInFor: "kairos_vfs_setxattr"),
        common(
            "kairos_vfs_removexattr", dentry(of: "__vfs_removexattr_locked", in: "at_vfs_removexattr"),
            "extended attributes that are removed"),
        ProbeProgram(
            "kairos_vfs_removexattr_call", dentry(of: "vfs_removexattr", in: "at_vfs_removexattr_call"),
            blindSpot: "extended attributes that clients of the NFS server remove",
            standsInFor: "kairos_vfs_removexattr"),
        // Before 6.2 ACLs are extended attributes like others: nothing is missed.
        ProbeProgram(
            "kairos_vfs_set_acl", dentry(of: "vfs_set_acl"), blindSpot: "POSIX ACLs that are set",
            isNeededWithoutHook: false),
        ProbeProgram(
            "kairos_vfs_remove_acl", dentry(of: "vfs_remove_acl"), blindSpot: "POSIX ACLs that are removed",
            isNeededWithoutHook: false),
        ProbeProgram("kairos_vfs_fileattr", dentry(of: "vfs_fileattr_set"), blindSpot: "chattr"),
        ProbeProgram("kairos_vfs_ioctl", .function(ioctl), blindSpot: "chattr on OpenZFS"),
        ProbeProgram(
            "kairos_vfs_ioctl_compat", .function(compatIoctl), blindSpot: "chattr on OpenZFS by 32-bit programs",
            isNeededWithoutHook: false),
        ProbeProgram("kairos_vfs_fput", .function("__fput"), blindSpot: "closes (for --commit-quiet)"),
        ProbeProgram("kairos_vfs_fsync", .function("vfs_fsync_range"), blindSpot: "fsync (for --commit-quiet)"),
        ProbeProgram(
            "kairos_vfs_fsync_call", .function("do_fsync"),
            blindSpot: "fsync by msync(2), io_uring, aio and the NFS server (for --commit-quiet)",
            isNeededWithoutHook: false,
            standsInFor: "kairos_vfs_fsync"),
    ]

    /// 6.15 made it return a dentry.
    private static let mkdir = {
        var program = common("kairos_vfs_mkdir", dentry(of: "vfs_mkdir"), "new directories")
        program.pointerConstant = "vfs_mkdir_gives_dentry"
        return program
    }()

    private static let renamed = ProbeProgram.Hook.function(
        "vfs_rename", [ProbeProgram.Argument(constant: "at_vfs_rename", structure: "renamedata")])

    #if arch(arm64)
    private static let ioctl = "__arm64_sys_ioctl"
    private static let compatIoctl = "__arm64_compat_sys_ioctl"
    #else
    private static let ioctl = "__x64_sys_ioctl"
    private static let compatIoctl = "__ia32_compat_sys_ioctl"
    #endif

    private static let module =
        [
            ProbeProgram("kairos_zfs_dirty", .module("dsl_dataset_dirty"), blindSpot: "changes", absence: .refusesSet),
            ProbeProgram(
                "kairos_zfs_snapshot", .module("dsl_dataset_snapshot_sync_impl"), blindSpot: "snapshots",
                absence: .refusesSet
            ),
            ProbeProgram(
                "kairos_zfs_swap", .module("dsl_dataset_clone_swap_sync_impl"),
                blindSpot: "rollbacks (one soon after a change makes an empty snapshot)"),
            // Without them a volume under constant writes seems to rest between two transaction groups.
            ProbeProgram("kairos_zfs_volume_write", .module("zvol_log_write"), blindSpot: ""),
            ProbeProgram("kairos_zfs_volume_discard", .module("zvol_log_truncate"), blindSpot: ""),
        ] + noise

    /// The same for a module without BTF.
    private static let moduleByLayout = [
        ProbeProgram("kairos_zfs_dirty_by", .symbol("dsl_dataset_dirty"), blindSpot: "changes", absence: .refusesSet),
        ProbeProgram(
            "kairos_zfs_snapshot_by", .symbol("dsl_dataset_snapshot_sync_impl"), blindSpot: "snapshots",
            absence: .refusesSet),
        ProbeProgram(
            "kairos_zfs_swap_by", .symbol("dsl_dataset_clone_swap_sync_impl"),
            blindSpot: "rollbacks (one soon after a change makes an empty snapshot)"),
        ProbeProgram("kairos_zfs_volume_write_by", .symbol("zvol_log_write"), blindSpot: ""),
        ProbeProgram("kairos_zfs_volume_discard_by", .symbol("zvol_log_truncate"), blindSpot: ""),
        // Where the module's structures have their fields. Without it the set would never be relied on.
        ProbeProgram(
            "kairos_zfs_find_dataset", .symbol("dsl_dataset_stats"), blindSpot: "the fields of datasets",
            absence: .refusesSet),
        ProbeProgram(
            "kairos_zfs_find_txg", .symbol("dmu_tx_create_assigned"), blindSpot: "the fields of transactions",
            absence: .refusesSet),
        ProbeProgram(
            "kairos_zfs_find_txg_entry", .symbol("dmu_tx_create_assigned"), blindSpot: "the fields of transactions",
            absence: .refusesSet, end: "kairos_zfs_find_txg"),
    ]

    private static let noise = [
        // A thread whose end is not seen would pass for noisy from then on, and its changes for none.
        ProbeProgram(
            "kairos_zfs_atime", .function("touch_atime"),
            blindSpot: "which changes are access-time updates (a read may make an empty snapshot)"),
        ProbeProgram("kairos_zfs_atime_entry", .function("touch_atime"), blindSpot: "", end: "kairos_zfs_atime"),
        ProbeProgram(
            "kairos_zfs_evict", .function("evict"),
            blindSpot: "which changes only free a deleted file (one may make an empty snapshot)"),
        ProbeProgram("kairos_zfs_evict_entry", .function("evict"), blindSpot: "", end: "kairos_zfs_evict"),
    ]

    /// What the set cannot see on any kernel; what stands in for it is an audit.
    var alwaysBlind: [String] {
        switch self {
        case .syscalls:
            [
                "changes by the kernel itself: its NFS and SMB servers, loop devices, iSCSI and NVMe targets, caches of network "
                    + "file systems, process accounting",
                "changes in an overlay file system whose upper directory lies on a dataset (containers)",
                "a path that another thread of its process rewrites during the call",
                "writes by io_submit(2), and by requests of io_uring without a completion, that a FUSE server does seconds later",
            ]
        case .vfs: ["volumes: below the file system, and not watched", "discards of loop devices"]
        case .zfs: []
        }
    }
}
