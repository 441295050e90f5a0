import CTestSupport
import Glibc
import SystemPackage

/// A system call that failed.
struct CallError: Error, CustomStringConvertible {
    var call: String
    var errno: Errno
    var description: String { "\(call): \(errno)" }
}

/// A child process could not get to where it was to make its call.
struct PlaceError: Error, CustomStringConvertible {
    var errno: Errno
    var description: String { "the child did not get to its place: \(errno)" }
}

/// An argument of a system call.
enum Argument: ExpressibleByIntegerLiteral, ExpressibleByStringLiteral {
    case number(Int)
    /// A string, with a NUL behind it.
    case text(String)
    case name([UInt8])
    /// A buffer: it is passed by its address alone.
    case bytes([UInt8])
    /// An array of 64-bit words, such as many structures are.
    case words([UInt64])
    /// An array of `struct iovec`.
    case vector([String])

    init(integerLiteral value: Int) { self = .number(value) }
    init(stringLiteral value: String) { self = .text(value) }

    static func descriptor(_ raw: CInt) -> Argument { .number(Int(raw)) }
    static func flags(_ raw: CInt) -> Argument { .number(Int(raw)) }
    static var here: Argument { .number(Int(AT_FDCWD)) }
}

/// Where and as whom a child makes a call. See `struct support_place`.
struct Place {
    var ownMounts = false
    var bindFrom: String?
    var bindTo: String?
    var root: String?
    var directory: String?
    /// Removed once the child is in it.
    var removed: String?
    /// What the process calls itself; empty: as it is.
    var title: [UInt8] = []
    var user: uid_t = 0
}

/// Makes exactly this system call, whatever libraries would make of it.
///
/// - Parameter place: in a child process that goes there first and ends right after the call.
@discardableResult
func call(_ name: String, _ arguments: Argument..., from place: Place? = nil) throws -> Int {
    let number = support_number(name)
    guard number >= 0 else { throw CallError(call: name, errno: .noFunction) }
    let memory = Memory()
    var words = arguments.map(memory.word)
    words += Array(repeating: 0, count: 6 - words.count)
    let result: Int
    if let place {
        var there = support_place()
        there.own_mounts = place.ownMounts
        there.bind_from = memory.string(place.bindFrom)
        there.bind_to = memory.string(place.bindTo)
        there.root = memory.string(place.root)
        there.directory = memory.string(place.directory)
        there.removed = memory.string(place.removed)
        there.title = place.title.isEmpty ? nil : memory.bytes(place.title)
        there.user = place.user
        result = support_call_in(&there, number, words)
        if result == -4096 { throw PlaceError(errno: Errno(rawValue: errno)) }
    } else {
        result = support_call(number, words)
    }
    guard result >= -4095, result < 0 else { return result }
    throw CallError(call: name, errno: Errno(rawValue: CInt(-result)))
}

/// Whether this architecture has a call of that name.
func hasCall(_ name: String) -> Bool { support_number(name) >= 0 }

/// What a call's arguments point to, until it has returned.
private final class Memory {
    private var owned: [UnsafeMutableRawPointer] = []

    deinit { owned.forEach { $0.deallocate() } }

    func word(_ argument: Argument) -> Int {
        switch argument {
        case .number(let value): value
        case .text(let text): Int(bitPattern: copy(Array(text.utf8) + [0]))
        case .name(let bytes): Int(bitPattern: copy(bytes + [0]))
        case .bytes(let bytes): Int(bitPattern: copy(bytes))
        case .words(let words): Int(bitPattern: copy(words.withUnsafeBytes { Array($0) }))
        case .vector(let texts): Int(bitPattern: vector(texts))
        }
    }

    func bytes(_ bytes: [UInt8]) -> UnsafePointer<CChar> {
        UnsafePointer(copy(bytes + [0]).assumingMemoryBound(to: CChar.self))
    }

    func string(_ text: String?) -> UnsafePointer<CChar>? {
        text.map { bytes(Array($0.utf8)) }
    }

    private func copy(_ bytes: [UInt8]) -> UnsafeMutableRawPointer {
        let pointer = UnsafeMutableRawPointer.allocate(byteCount: max(bytes.count, 1), alignment: 16)
        pointer.copyMemory(from: bytes, byteCount: bytes.count)
        owned.append(pointer)
        return pointer
    }

    private func vector(_ texts: [String]) -> UnsafeMutableRawPointer {
        let pointer = UnsafeMutableRawPointer.allocate(
            byteCount: max(texts.count, 1) * MemoryLayout<iovec>.stride, alignment: 16)
        owned.append(pointer)
        let vectors = pointer.bindMemory(to: iovec.self, capacity: texts.count)
        for (index, text) in texts.enumerated() {
            vectors[index] = iovec(iov_base: copy(Array(text.utf8)), iov_len: text.utf8.count)
        }
        return pointer
    }
}

/// A descriptor that is closed at the end of its life, by close(2) alone.
struct OpenFile: ~Copyable {
    let raw: CInt

    init(_ path: String, _ flags: CInt, mode: Int = 0o644) throws {
        raw = CInt(try call("openat", .here, .text(path), .flags(flags | O_CLOEXEC), .number(mode)))
    }

    deinit { close(raw) }
}
