/// Bytes on their way out, in memory that is used again and again.
public struct ByteBuffer: Sendable {
    public private(set) var bytes: [UInt8] = []

    public init() { bytes.reserveCapacity(1 << 17) }

    public var count: Int { bytes.count }
    public var isEmpty: Bool { bytes.isEmpty }

    public mutating func clear() { bytes.removeAll(keepingCapacity: true) }
    mutating func truncate(to count: Int) { bytes.removeLast(bytes.count - count) }

    @inline(__always) public mutating func append(_ byte: UInt8) { bytes.append(byte) }
    public mutating func append(_ more: [UInt8]) { bytes.append(contentsOf: more) }
    public mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }

    @inline(__always) mutating func append(_ text: StaticString) {
        bytes.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// A number, or `null`.
    mutating func append(_ value: UInt64?) {
        if let value { append(value) } else { append("null" as StaticString) }
    }

    mutating func append(_ value: Int64?) {
        guard let value else { return append("null" as StaticString) }
        if value < 0 { append(UInt8(ascii: "-")) }
        append(value.magnitude)
    }

    /// In decimal; with leading zeros up to `digits`.
    mutating func append(_ value: UInt64, digits: Int = 1) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digit in
            var at = 20
            var rest = value
            while rest > 0 || 20 - at < digits {
                at -= 1
                digit[at] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
                rest /= 10
            }
            bytes.append(contentsOf: UnsafeBufferPointer(rebasing: digit[at...]))
        }
    }

    /// Appends text of printable ASCII that JSON need not escape. False, with nothing of use appended, where it is not.
    mutating func appendPlain(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        for byte in text where byte < 0x20 || byte >= 0x7F || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
            return false
        }
        bytes.append(contentsOf: text)
        return true
    }

    /// RFC 4648, with padding.
    mutating func appendBase64(_ data: [UInt8]) {
        let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        for start in stride(from: 0, to: data.count, by: 3) {
            let group = data[start..<min(start + 3, data.count)]
            let word = group.reduce(UInt32(0)) { $0 << 8 | UInt32($1) } << (8 * UInt32(3 - group.count))
            for place in 0..<4 {
                append(
                    place <= group.count ? digits[Int(word >> (18 - 6 * UInt32(place)) & 63)] : UInt8(ascii: "="))
            }
        }
    }
}
