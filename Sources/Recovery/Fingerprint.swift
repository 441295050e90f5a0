import Glibc
import SystemPackage

/// What tells two contents apart where times do not.
enum Fingerprint {
    /// Of a file its bytes, of a directory its names and their inodes, of a link its target; nil of others.
    static func of(_ path: [UInt8], _ kind: FileKind, in tree: any FileTree) throws(TreeFault) -> [UInt8]? {
        switch kind {
        case .file:
            guard let file = try tree.open(path) else { return nil }
            defer { try? file.close() }
            return try SHA256.digest(of: file, path) { () throws(TreeFault) in try tree.checkStopped() }
        case .directory:
            guard let entries = try tree.entries(of: path) else { return nil }
            var digest = SHA256()
            for entry in entries.sorted(by: { $0.name.lexicographicallyPrecedes($1.name) }) {
                digest.update(entry.name + [0])
                digest.update(withUnsafeBytes(of: entry.inode) { Array($0) })
            }
            return digest.finish()
        case .symlink: return try tree.target(of: path)
        default: return nil
        }
    }
}

/// FIPS 180-4. Own code: the library that has it, swift-crypto, builds all of BoringSSL for it.
public struct SHA256: Sendable {
    private var state: [UInt32] = [
        0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
    ]
    private var rest: [UInt8] = []
    private var count: UInt64 = 0

    private static let constants: [UInt32] = [
        0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
        0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
        0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
        0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
        0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
        0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
        0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
        0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
    ]

    public init() {}

    public mutating func update(_ bytes: some Collection<UInt8>) {
        count &+= UInt64(bytes.count)
        rest += bytes
        let whole = rest.count / 64 * 64
        guard whole > 0 else { return }
        rest.withUnsafeBytes { bytes in
            for start in stride(from: 0, to: whole, by: 64) { Self.compress(&state, bytes, start) }
        }
        rest.removeFirst(whole)
    }

    /// The 32 bytes.
    public mutating func finish() -> [UInt8] {
        let bits = count &* 8
        let zeros = (119 - Int(count % 64)) % 64
        update([0x80] + [UInt8](repeating: 0, count: zeros) + withUnsafeBytes(of: bits.bigEndian) { Array($0) })
        return state.flatMap { word in withUnsafeBytes(of: word.bigEndian) { Array($0) } }
    }

    private static func compress(_ state: inout [UInt32], _ bytes: UnsafeRawBufferPointer, _ start: Int) {
        func rotate(_ value: UInt32, _ by: UInt32) -> UInt32 { value >> by | value << (32 - by) }
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 64) { words in
            for index in 0..<16 {
                words[index] = UInt32(
                    bigEndian: bytes.loadUnaligned(fromByteOffset: start + index * 4, as: UInt32.self))
            }
            for index in 16..<64 {
                let (two, fifteen) = (words[index - 2], words[index - 15])
                let first = rotate(fifteen, 7) ^ rotate(fifteen, 18) ^ fifteen >> 3
                let second = rotate(two, 17) ^ rotate(two, 19) ^ two >> 10
                words[index] = words[index - 16] &+ first &+ words[index - 7] &+ second
            }
            var (a, b, c, d) = (state[0], state[1], state[2], state[3])
            var (e, f, g, h) = (state[4], state[5], state[6], state[7])
            for index in 0..<64 {
                let mixed = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)
                let one = h &+ mixed &+ (e & f ^ ~e & g) &+ constants[index] &+ words[index]
                let two = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) &+ (a & b ^ a & c ^ b & c)
                (h, g, f, e, d, c, b, a) = (g, f, e, d &+ one, c, b, a, one &+ two)
            }
            for (index, word) in [a, b, c, d, e, f, g, h].enumerated() { state[index] &+= word }
        }
    }

    /// Of an open file, from its beginning.
    ///
    /// - Parameters:
    ///   - path: for a message.
    ///   - check: called before each piece is read; what it throws ends it.
    public static func digest(
        of file: FileDescriptor, _ path: [UInt8], check: () throws(TreeFault) -> Void
    ) throws(TreeFault) -> [UInt8] {
        var digest = SHA256()
        var buffer = [UInt8](repeating: 0, count: 256 << 10)
        var offset: off_t = 0
        while true {
            try check()
            let count = buffer.withUnsafeMutableBytes { pread(file.rawValue, $0.baseAddress, $0.count, offset) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw TreeReader.fault("read", path) }
            if count == 0 { return digest.finish() }
            digest.update(buffer[..<count])
            offset += off_t(count)
        }
    }
}
