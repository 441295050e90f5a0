import CTestSupport
import Foundation
import Testing

/// Classifies each system call and io_uring request of the installed headers: whether it changes files, and which program sees it.
/// Newer headers with an unclassified call fail the test.
@Suite("System calls", .enabled(if: Headers.areThere, "without the kernel's headers"))
struct SystemCallTests {
    /// Calls that change files, by the program of the set `vfs` that sees the change; the set `syscalls` has them all in bpf/calls.h.
    private static let changing: [(names: String, seenBy: String)] = [
        ("open creat openat openat2 open_by_handle_at", "kairos_vfs_open kairos_vfs_setattr"),
        ("write pwrite64 writev pwritev pwritev2", "kairos_vfs_write kairos_vfs_writev"),
        ("sendfile sendfile64 splice", "kairos_vfs_splice"), ("copy_file_range", "kairos_vfs_copy"),
        ("io_submit", "kairos_vfs_aio"),
        ("fallocate madvise process_madvise", "kairos_vfs_fallocate"),
        ("ioctl", "kairos_vfs_ioctl kairos_vfs_ioctl_compat kairos_vfs_clone kairos_vfs_fallocate kairos_vfs_fileattr"),
        ("truncate truncate64 ftruncate ftruncate64", "kairos_vfs_setattr"),
        ("unlink unlinkat", "kairos_vfs_unlink kairos_vfs_rmdir"), ("rmdir", "kairos_vfs_rmdir"),
        ("mkdir mkdirat", "kairos_vfs_mkdir"),
        ("rename renameat renameat2", "kairos_vfs_rename"), ("link linkat", "kairos_vfs_link"),
        ("symlink symlinkat", "kairos_vfs_symlink"),
        ("mknod mknodat bind socketcall", "kairos_vfs_mknod"),
        (
            "chmod fchmod fchmodat fchmodat2 chown chown32 lchown lchown32 fchown fchown32 fchownat",
            "kairos_vfs_setattr"
        ),
        ("utime utimes futimesat utimensat utimensat_time64", "kairos_vfs_setattr"),
        ("setxattr lsetxattr fsetxattr setxattrat", "kairos_vfs_setxattr kairos_vfs_set_acl"),
        ("removexattr lremovexattr fremovexattr removexattrat", "kairos_vfs_removexattr kairos_vfs_remove_acl"),
        ("file_setattr", "kairos_vfs_fileattr"),
    ]
    /// Calls that change nothing, and that the programs follow all the same: commit points and mappings.
    private static let followed = "close dup2 dup3 mmap mmap2 fsync fdatasync"
    /// Calls that change no file. What a mapping is written to by is seen at its pages (madvise, ptrace, process_vm_writev, read).
    /// acct makes the kernel write later, which the set `syscalls` is known not to see; memfd_create and mq_open are of file systems
    /// of their own.
    private static let harmless = """
        _llseek _newselect _sysctl accept accept4 access acct add_key adjtimex afs_syscall alarm arch_prctl
        arch_specific_syscall bdflush bpf break brk cachestat capget capset chdir chroot clock_adjtime clock_adjtime64
        clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64
        clock_settime clock_settime64 clone clone3 close_range connect create_module delete_module dup epoll_create
        epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve
        execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fanotify_init fanotify_mark fchdir fcntl
        fcntl64 fgetxattr file_getattr finit_module flistxattr flock fork fsconfig fsmount fsopen fspick fstat fstat64
        fstatat fstatat64 fstatfs fstatfs64 ftime futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake
        get_kernel_syms get_mempolicy get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid
        getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid
        getpmsg getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid
        getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat gtty idle init_module
        inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents
        io_pgetevents_time64 io_setup io_uring_enter io_uring_register io_uring_setup ioperm iopl ioprio_get ioprio_set
        ipc kcmp kexec_file_load kexec_load keyctl kill landlock_add_rule landlock_create_ruleset landlock_restrict_self
        lgetxattr listen listmount listns listxattr listxattrat llistxattr llseek lock lookup_dcookie lseek
        lsm_get_self_attr lsm_list_modules lsm_set_self_attr lstat lstat64 map_shadow_stack mbind membarrier
        memfd_create memfd_secret migrate_pages mincore mlock mlock2 mlockall modify_ldt mount mount_setattr move_mount
        move_pages mprotect mpx mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
        mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap
        name_to_handle_at nanosleep newfstatat nfsservctl nice oldfstat oldlstat oldolduname oldstat olduname open_tree
        open_tree_attr pause perf_event_open personality pidfd_getfd pidfd_open pidfd_send_signal pipe pipe2 pivot_root
        pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64
        process_mrelease process_vm_readv process_vm_writev prof profil pselect6 pselect6_time64 ptrace putpmsg
        query_module quotactl quotactl_fd read readahead readdir readlink readlinkat readv reboot recvfrom recvmmsg
        recvmmsg_time64 recvmsg remap_file_pages request_key restart_syscall riscv_flush_icache riscv_hwprobe rseq
        rseq_slice_yield rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
        rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
        sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
        sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
        seccomp security select semctl semget semop semtimedop semtimedop_time64 sendmmsg sendmsg sendto set_mempolicy
        set_mempolicy_home_node set_robust_list set_thread_area set_tid_address setdomainname setfsgid setfsgid32
        setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 sethostname setitimer setns setpgid setpriority
        setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt
        settimeofday setuid setuid32 sgetmask shmat shmctl shmdt shmget shutdown sigaction sigaltstack signal signalfd
        signalfd4 sigpending sigprocmask sigreturn sigsuspend socket socketpair ssetmask stat stat64 statfs statfs64
        statmount statx stime stty swapoff swapon sync sync_file_range sync_file_range2 syncfs syscalls sysfs sysinfo
        syslog tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
        timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill
        tuxcall ugetrlimit ulimit umask umount umount2 uname unshare uprobe uretprobe uselib userfaultfd ustat vfork
        vhangup vm86 vm86old vmsplice vserver wait4 waitid waitpid
        """
    /// As above, of io_uring.
    private static let changingRequests = """
        WRITEV WRITE_FIXED FALLOCATE OPENAT WRITE MADVISE OPENAT2 SPLICE RENAMEAT UNLINKAT MKDIRAT SYMLINKAT LINKAT FSETXATTR SETXATTR
        FTRUNCATE BIND WRITEV_FIXED
        """
    /// URING_CMD: no file system of files has one that changes a file.
    private static let harmlessRequests = """
        NOP READV FSYNC READ_FIXED POLL_ADD POLL_REMOVE SYNC_FILE_RANGE SENDMSG RECVMSG TIMEOUT TIMEOUT_REMOVE ACCEPT ASYNC_CANCEL
        LINK_TIMEOUT CONNECT CLOSE FILES_UPDATE STATX READ FADVISE SEND RECV EPOLL_CTL PROVIDE_BUFFERS REMOVE_BUFFERS TEE SHUTDOWN
        MSG_RING FGETXATTR GETXATTR SOCKET URING_CMD SEND_ZC SENDMSG_ZC READ_MULTISHOT WAITID FUTEX_WAIT FUTEX_WAKE FUTEX_WAITV
        FIXED_FD_INSTALL LISTEN RECV_ZC EPOLL_WAIT READV_FIXED PIPE NOP128 URING_CMD128
        """

    private static func words(_ text: String) -> Set<String> { Set(text.split { " \n".contains($0) }.map(String.init)) }

    enum Architecture: String, CaseIterable {
        case x86 = "x86-64"
        case i386, x32, arm64

        var header: String {
            switch self {
            case .x86: "x86_64-linux-gnu/asm/unistd_64.h"
            case .i386: "x86_64-linux-gnu/asm/unistd_32.h"
            case .x32: "x86_64-linux-gnu/asm/unistd_x32.h"
            case .arm64: "asm-generic/unistd.h"
            }
        }

        /// In the header, and not to be called or not followed: of the 32-bit architectures that share the generic numbers; the first
        /// mmap of i386, whose arguments are in memory, and whose stores are seen.
        var lacks: Set<String> {
            switch self {
            case .x86, .x32: []
            case .i386: ["mmap"]
            case .arm64: ["utimensat_time64"]
            }
        }

        func isInTable(_ number: Int) -> Bool {
            switch self {
            case .x86, .x32: support_class(number) != 0
            case .i386: support_class_compat(number) != 0
            case .arm64: support_class_arm64(number) != 0
            }
        }
    }

    @Test(
        "each is known to change files or not, and each that does is in the programs' table",
        arguments: Architecture.allCases)
    func calls(of architecture: Architecture) throws {
        let changing = Self.words(Self.changing.map(\.names).joined(separator: " "))
        let (followed, harmless) = (Self.words(Self.followed), Self.words(Self.harmless))
        let calls = try Headers.calls(architecture.header)
        #expect(calls.count > 250, "the header has \(calls.count)")
        for (name, number) in calls where !architecture.lacks.contains(name) {
            let isKnown = [changing, followed, harmless].count { $0.contains(name) } == 1
            #expect(isKnown, "\(name) (\(number)): does it change files?")
            #expect(architecture.isInTable(number) == !harmless.contains(name), "\(name) (\(number))")
        }
    }

    @Test("32-bit programs of ARM have i386's numbers up to 242, and from 403 on, with two exceptions")
    func arm() {
        for number in 0...242 where ![90, 102, 219, 220].contains(number) {
            #expect(support_class_arm64_compat(number) == support_class_compat(number), "\(number)")
        }
        for number in 403..<1024 {
            #expect(support_class_arm64_compat(number) == support_class_compat(number), "\(number)")
        }
        // arch/arm/tools/syscall.tbl: openat, mkdirat, bind, io_submit.
        for number in [322, 323, 282, 246] { #expect(support_class_arm64_compat(number) != 0, "\(number)") }
    }

    @Test("each request of io_uring is known to change files or not, and each that does is looked at by the programs")
    func requests() throws {
        let changing = Self.words(Self.changingRequests)
        let harmless = Self.words(Self.harmlessRequests)
        let programs = try Headers.programs("tracepoints.bpf.c")
        for (name, number) in try Headers.requests() {
            #expect(changing.contains(name) != harmless.contains(name), "\(name) (\(number)): does it change files?")
            guard changing.contains(name) else { continue }
            #expect(programs.contains("URING_\(name) = \(number),"), "\(name) has the number \(number)")
        }
        for name in changing { #expect(programs.contains("case URING_\(name):"), "\(name)") }
    }

    @Test("the programs of the set vfs that see the calls are in bpf/")
    func programs() throws {
        let programs = try ["vfs_contents.bpf.c", "vfs_names.bpf.c"].map(Headers.programs).joined()
        for name in Self.words(Self.changing.map(\.seenBy).joined(separator: " ")) {
            #expect(programs.contains("int \(name)(") || programs.contains("BPF_PROG(\(name),"), "\(name)")
        }
    }
}

/// What the installed headers, and the programs' sources, say.
private enum Headers {
    static var areThere: Bool {
        SystemCallTests.Architecture.allCases.allSatisfy {
            FileManager.default.isReadableFile(atPath: "/usr/include/\($0.header)")
        }
    }

    private static func matches(_ pattern: String, in path: String) throws -> [(name: String, value: String)] {
        let text = try String(contentsOfFile: path, encoding: .utf8)
        let expression = try NSRegularExpression(pattern: pattern, options: .anchorsMatchLines)
        return expression.matches(in: text, range: NSRange(text.startIndex..., in: text)).map { match in
            func group(_ number: Int) -> String {
                Range(match.range(at: number), in: text).map { String(text[$0]) } ?? ""
            }
            return (group(1), match.numberOfRanges > 2 ? group(2) : "")
        }
    }

    /// The names and numbers of system calls. Those that are not made any more on an architecture are in it too.
    static func calls(_ header: String) throws -> [(name: String, number: Int)] {
        let pattern = #"^#define __NR(?:3264)?_([a-z0-9_]+)\s+\(?(?:__X32_SYSCALL_BIT \+ )?(\d+)\)?\s*$"#
        return try matches(pattern, in: "/usr/include/\(header)").compactMap { name, value in
            // Not a call: where those of an architecture begin, and how many there are.
            guard !["arch_specific_syscall", "syscalls"].contains(name) else { return nil }
            return Int(value).map { (name, $0) }
        }
    }

    /// The names of `enum io_uring_op` and their numbers.
    static func requests() throws -> [(name: String, number: Int)] {
        try matches(#"^\s+IORING_OP_([A-Z0-9_]+),"#, in: "/usr/include/linux/io_uring.h").enumerated().compactMap {
            number, match in
            // The last one counts them.
            match.name == "LAST" ? nil : (match.name, number)
        }
    }

    static func programs(_ file: String) throws -> String {
        let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        return try String(contentsOf: here.appendingPathComponent("../../bpf/\(file)"), encoding: .utf8)
    }
}
