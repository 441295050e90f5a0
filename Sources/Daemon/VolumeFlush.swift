import CLinux
import Datasets
import Glibc
import SystemPackage

/// Hands to OpenZFS what was written to a volume's block device and lies in the kernel's cache of that device.
///
/// Not what a file system on the volume, a virtual machine or an initiator still keeps to itself: to ZFS a volume is a
/// disk, and its snapshot is what that disk would hold after a power cut.
enum VolumeFlush {
    private static let blockDevices = "/sys/class/block"

    /// Writes the cache back and waits until OpenZFS has taken it, into the open transaction group. Not an fsync, which
    /// would also write the intent log: a snapshot needs none.
    ///
    /// Blocks. A volume without a device, as with `volmode=none`, has no cache either.
    /// - Returns: what could not be written, as a warning; nil when all was.
    static func run(_ volume: String) -> String? {
        for name in names(of: volume) {
            guard let descriptor = BlockDevice(name) else { continue }
            if kairos_write_back(descriptor.raw) != 0 {
                return "cannot write back the cache of \(SafeText.line(volume)) (/dev/\(name)): "
                    + "\(Errno(rawValue: kairos_errno_value()))"
            }
        }
        return nil
    }

    /// The volume's device and its partitions: each has a cache of its own.
    private static func names(of volume: String) -> [String] {
        let all = entries(of: blockDevices).filter { $0.hasPrefix("zd") }
        // `zd16`, and its partitions `zd16p1`.
        guard
            let device = all.first(where: { name in
                !name.dropFirst(2).contains("p") && BlockDevice(name)?.volume == volume
            })
        else { return [] }
        return [device] + all.filter { $0.hasPrefix(device + "p") }.sorted()
    }

    private static func entries(of directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            names.append(
                withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
        }
        return names
    }

    /// An open block device, read-only: that neither changes nor claims it.
    private struct BlockDevice: ~Copyable {
        let raw: CInt

        init?(_ name: String) {
            raw = open("/dev/" + name, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
            guard raw >= 0 else { return nil }
        }

        deinit { close(raw) }

        /// The dataset that OpenZFS says is behind it.
        var volume: String? {
            var name = [CChar](repeating: 0, count: Int(kairos_volume_name_size))
            guard kairos_volume_name(raw, &name) == 0 else { return nil }
            return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }
}
