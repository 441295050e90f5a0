/// Bytes on their way out, in memory that is used again and again.
///
/// An array would do, and took 1.0 µs more for each event: it checks for uniqueness and calls through generic code at each
/// of the some sixty pieces of a line.
public struct ByteBuffer: ~Copyable {
    private var base: UnsafeMutablePointer<UInt8>
    private var capacity: Int
    public private(set) var count = 0
    /// 10 to the power of 0 to 19. Not static: a static's first use is looked for at every use.
    private let powers: InlineArray<20, UInt64>
    /// `000102...99`.
    private let pairs: UnsafePointer<UInt8>

    public init(capacity: Int = 1 << 17) {
        self.capacity = max(capacity, 64)
        base = .allocate(capacity: self.capacity)
        var powers = InlineArray<20, UInt64>(repeating: 1)
        for place in 1..<20 { powers[place] = powers[place - 1] * 10 }
        self.powers = powers
        let pairs = UnsafeMutablePointer<UInt8>.allocate(capacity: 200)
        for number in 0..<100 {
            pairs[2 * number] = UInt8(ascii: "0") + UInt8(number / 10)
            pairs[2 * number + 1] = UInt8(ascii: "0") + UInt8(number % 10)
        }
        self.pairs = UnsafePointer(pairs)
    }

    deinit {
        base.deallocate()
        pairs.deallocate()
    }

    public var isEmpty: Bool { count == 0 }
    public var bytes: [UInt8] { Array(UnsafeBufferPointer(start: base, count: count)) }

    public func withBytes(_ body: (RawSpan) -> Void) { body(UnsafeRawBufferPointer(start: base, count: count).bytes) }

    public mutating func clear() { count = 0 }
    mutating func truncate(to count: Int) { self.count = min(count, self.count) }

    /// Makes room for so many more.
    @inline(__always) private mutating func reserve(_ more: Int) {
        if count + more > capacity { grow(more) }
    }

    @inline(never) private mutating func grow(_ more: Int) {
        let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: max(capacity * 2, count + more))
        larger.update(from: base, count: count)
        base.deallocate()
        capacity = max(capacity * 2, count + more)
        base = larger
    }

    @inline(__always) public mutating func append(_ byte: UInt8) {
        reserve(1)
        base[count] = byte
        count += 1
    }

    @inline(__always) mutating func append(_ more: UnsafeBufferPointer<UInt8>) {
        guard let start = more.baseAddress else { return }
        reserve(more.count)
        (base + count).update(from: start, count: more.count)
        count += more.count
    }

    public mutating func append(_ more: [UInt8]) { more.withUnsafeBufferPointer { append($0) } }
    public mutating func append(_ text: String) { for byte in text.utf8 { append(byte) } }

    @inline(__always) mutating func append(_ text: StaticString) {
        append(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    mutating func append(repeating byte: UInt8, count times: Int) {
        guard times > 0 else { return }
        reserve(times)
        (base + count).update(repeating: byte, count: times)
        count += times
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

    /// In decimal; with leading zeros up to `digits`, at most 20.
    mutating func append(_ value: UInt64, digits: Int = 1) {
        var width = digits
        while width < 20, value >= powers[width] { width += 1 }
        reserve(width)
        var rest = value
        var at = count + width
        let start = count
        count = at
        // Two digits at a time: a division costs more than all else here.
        while at - start >= 2 {
            at -= 2
            let next = rest / 100
            let pair = Int(truncatingIfNeeded: rest &- next &* 100) &* 2
            base[at] = pairs[pair]
            base[at &+ 1] = pairs[pair &+ 1]
            rest = next
        }
        if at > start { base[start] = UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: rest) }
    }

    /// Appends text of printable ASCII that JSON need not escape. False, with nothing appended, where it is not.
    mutating func appendPlain(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        reserve(text.count)
        var at = count
        for byte in text {
            if byte < 0x20 || byte >= 0x7F || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { return false }
            base[at] = byte
            at += 1
        }
        count = at
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
