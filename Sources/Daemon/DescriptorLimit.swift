import Glibc

/// How many files this process may have open: a lock for each dataset, and three more for each `zfs` that runs.
public enum DescriptorLimit {
    /// Enough for every slot, and some hundred commands at once.
    public static let wanted = 16_384

    /// Raises the limit to what Kairos may need, as far as the kernel permits. The usual 1,024 run out at some hundred
    /// datasets. Programs that Kairos starts inherit the limit; `zfs` and `zpool` work with it.
    ///
    /// - Returns: the limit in force. Wraps setrlimit(2), RLIMIT_NOFILE.
    @discardableResult
    public static func raise(to wanted: Int = Self.wanted) -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 0 }
        let target = rlim_t(max(0, wanted))
        guard limit.rlim_cur < target else { return Int(clamping: limit.rlim_cur) }
        // Above the hard limit only with CAP_SYS_RESOURCE, and never above fs.nr_open.
        for hard in [max(limit.rlim_max, target), limit.rlim_max] {
            var new = rlimit(rlim_cur: min(target, hard), rlim_max: hard)
            if setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &new) == 0 { return Int(clamping: new.rlim_cur) }
        }
        return Int(clamping: limit.rlim_cur)
    }
}
