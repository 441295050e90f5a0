import CLinux
import Datasets
import Glibc
import Testing
import Tracing

/// What of OpenZFS this machine has.
enum OpenZFS {
    /// Whether it is in the kernel: zfs-fuse has no volumes.
    static var isInKernel: Bool { KernelSupport.zfsModule != nil }

    /// Whether this set can be taken here.
    static func takes(_ set: ProbeSet) -> Bool {
        do throws(ProbeError) {
            _ = try Probes(set, mode: .watch, ringBytes: 1 << 16)
            return true
        } catch {
            return false
        }
    }

    /// The sets that can be taken here, the best one first.
    static let sets = ProbeSet.allCases.filter(takes)

    /// `make test` is to be done within 25 minutes, and the virtual machines are slow: what takes long is done with the best set
    /// alone there, and with every set by `make test-vm` and `make coverage`.
    static let isBrief = getenv("KAIROS_BRIEF") != nil

    static let chosen = isBrief ? Array(sets.prefix(1)) : sets

    /// The block device of a volume, as soon as there is one: OpenZFS makes it after the volume.
    static func device(of volume: String) async throws -> String {
        var found: String?
        _ = await wait(for: KairosProcess.patience) {
            found = (0..<64).map { "/dev/zd\($0 * 16)" }.first { name(of: $0) == volume }
            return found != nil
        }
        return try #require(found, "\(volume) has no block device")
    }

    private static func name(of device: String) -> String? {
        guard let file = try? OpenFile(device, O_RDONLY) else { return nil }
        var name = [CChar](repeating: 0, count: Int(kairos_volume_name_size))
        guard kairos_volume_name(file.raw, &name) == 0 else { return nil }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
