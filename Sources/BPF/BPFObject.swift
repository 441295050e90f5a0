import CLibbpf
import SystemPackage

/// A BPF object file: opened, adjusted, then loaded into the kernel. Closing it (the end of its life) unloads what no
/// `Link` holds.
///
/// ```swift
/// var object = try BPFObject(image: elf, name: "syscalls")
/// try object.setConstant("tracing", to: UInt8(1))
/// try object.load()
/// let link = try object.attach(program: "kairos_syscalls_exit")
/// ```
public struct BPFObject: ~Copyable {
    private let object: OpaquePointer
    public let name: String

    /// Reads an ELF object. `bpf_object__open_mem` copies it.
    public init(image: RawSpan, name: String) throws(BPFError) {
        kairos_libbpf_capture()
        kairos_libbpf_log_clear()
        var options = bpf_object_open_opts()
        options.sz = MemoryLayout<bpf_object_open_opts>.size
        let opened = image.withUnsafeBytes { bytes in
            name.withCString { name in
                options.object_name = name
                return bpf_object__open_mem(bytes.baseAddress, bytes.count, &options)
            }
        }
        guard let opened else { throw Self.failure("read", name, Errno(rawValue: systemErrno())) }
        object = opened
        self.name = name
    }

    deinit { bpf_object__close(object) }

    /// Sets a constant of the programs (`const volatile` in C) before `load()`; the verifier then prunes what it rules out.
    public func setConstant<Value: BitwiseCopyable>(_ variable: String, to value: Value) throws(BPFError) {
        guard let place = kairos_bpf_global(object, ".rodata", variable, MemoryLayout<Value>.size) else {
            throw BPFError(
                operation: "set the constant", subject: "\(variable) of \(name)", errno: .noSuchFileOrDirectory, log: ""
            )
        }
        place.storeBytes(of: value, as: Value.self)
    }

    /// As above, an array of bytes.
    public func setConstant(_ variable: String, bytes: [UInt8]) throws(BPFError) {
        guard let place = kairos_bpf_global(object, ".rodata", variable, bytes.count) else {
            throw BPFError(
                operation: "set the constant", subject: "\(variable) of \(name)", errno: .noSuchFileOrDirectory, log: ""
            )
        }
        place.copyMemory(from: bytes, byteCount: bytes.count)
    }

    /// How many entries (for a ring buffer: bytes, a power of two of pages) the map will have. Before `load()`.
    public func setMaxEntries(map: String, to count: UInt32) throws(BPFError) {
        let result = bpf_map__set_max_entries(try find(map: map), count)
        guard result == 0 else { throw Self.failure("resize the map", map, Errno(rawValue: -result)) }
    }

    /// Whether `load()` loads the program; a program that the kernel lacks the hook for is left out. Before `load()`.
    public func setAutoload(program: String, _ autoload: Bool) throws(BPFError) {
        let result = bpf_program__set_autoload(try find(program: program), autoload)
        guard result == 0 else { throw Self.failure("select the program", program, Errno(rawValue: -result)) }
    }

    /// The hook that the program's section names: `vfs_write` of `fexit/vfs_write`.
    public func target(of program: String) throws(BPFError) -> String {
        let section = String(cString: bpf_program__section_name(try find(program: program)))
        return section.split(separator: "/", maxSplits: 1).last.map { String($0) } ?? section
    }

    /// The program attaches to this hook, not to the one that its section names. Before `load()`.
    public func setTarget(of program: String, to hook: String) throws(BPFError) {
        kairos_libbpf_log_clear()
        let result = bpf_program__set_attach_target(try find(program: program), 0, hook)
        guard result == 0 else { throw Self.failure("find the hook \(hook) of", program, Errno(rawValue: -result)) }
    }

    /// The kernel will refuse the program, as one that reads a field which it does not have. Before `load()`. For tests.
    public func poison(program: String) throws(BPFError) {
        let result = kairos_bpf_poison(try find(program: program))
        guard result == 0 else { throw Self.failure("poison the program", program, Errno(rawValue: -result)) }
    }

    /// Creates the maps and has the verifier check and load the programs (`bpf_object__load`).
    public func load() throws(BPFError) {
        kairos_libbpf_log_clear()
        let result = bpf_object__load(object)
        guard result == 0 else { throw Self.failure("load", name, Errno(rawValue: -result)) }
    }

    /// Attaches a loaded program to the hook that its section names (`bpf_program__attach`).
    public func attach(program: String) throws(BPFError) -> Link {
        kairos_libbpf_log_clear()
        guard let link = bpf_program__attach(try find(program: program)) else {
            throw Self.failure("attach the program", program, Errno(rawValue: systemErrno()))
        }
        return Link(link)
    }

    /// The map of that name, mapped into memory: an array created with `BPF_F_MMAPABLE`.
    public func mappedArray(_ map: String) throws(BPFError) -> MappedArray {
        let handle = try find(map: map)
        return try MappedArray(
            descriptor: bpf_map__fd(handle), name: map,
            // The kernel rounds each value up to 8 bytes.
            bytes: Int(bpf_map__max_entries(handle)) * ((Int(bpf_map__value_size(handle)) + 7) & ~7))
    }

    /// A consumer of the ring buffer of that name.
    public func ringBuffer(_ map: String) throws(BPFError) -> RingBuffer {
        try RingBuffer(mapDescriptor: bpf_map__fd(try find(map: map)), name: map)
    }

    /// Sets an entry of a hash map.
    public func update<Key: BitwiseCopyable, Value: BitwiseCopyable>(
        map: String, key: Key, value: Value
    ) throws(BPFError) {
        let handle = try find(map: map)
        let result = withUnsafeBytes(of: key) { key in
            withUnsafeBytes(of: value) { value in
                bpf_map__update_elem(
                    handle, key.baseAddress, key.count, value.baseAddress, value.count, 0)
            }
        }
        guard result == 0 else { throw Self.failure("update the map", map, Errno(rawValue: -result)) }
    }

    /// Takes an entry out of a hash map; none is fine.
    public func remove<Key: BitwiseCopyable>(map: String, key: Key) throws(BPFError) {
        let handle = try find(map: map)
        let result = withUnsafeBytes(of: key) { bpf_map__delete_elem(handle, $0.baseAddress, $0.count, 0) }
        let errno = Errno(rawValue: -result)
        guard result == 0 || errno == .noSuchFileOrDirectory else { throw Self.failure("update the map", map, errno) }
    }

    /// How often the kernel left a run of the program out, because one ran on that CPU already: each is a call unseen.
    /// 0 where the kernel does not count (before 5.12).
    public func recursionMisses(program: String) throws(BPFError) -> UInt64 {
        let misses = kairos_bpf_recursion_misses(bpf_program__fd(try find(program: program)))
        return misses < 0 ? 0 : UInt64(misses)
    }

    private func find(map: String) throws(BPFError) -> OpaquePointer {
        guard let handle = bpf_object__find_map_by_name(object, map) else {
            throw BPFError(
                operation: "find the map", subject: "\(map) in \(name)", errno: .noSuchFileOrDirectory, log: "")
        }
        return handle
    }

    private func find(program: String) throws(BPFError) -> OpaquePointer {
        guard let handle = bpf_object__find_program_by_name(object, program) else {
            throw BPFError(
                operation: "find the program", subject: "\(program) in \(name)", errno: .noSuchFileOrDirectory, log: "")
        }
        return handle
    }

    private static func failure(_ operation: String, _ subject: String, _ errno: Errno) -> BPFError {
        BPFError(operation: operation, subject: subject, errno: errno, log: String(cString: kairos_libbpf_log()))
    }
}

/// The kernel's own types, as `/sys/kernel/btf/vmlinux` describes them.
public struct KernelTypes: ~Copyable {
    private let btf: OpaquePointer

    /// Nil when the kernel has no BTF.
    public init?() {
        kairos_libbpf_capture()
        guard let btf = btf__load_vmlinux_btf() else { return nil }
        self.btf = btf
    }

    deinit { btf__free(btf) }

    /// Whether a `tp_btf` program can attach to this raw tracepoint.
    public func hasTracepoint(_ name: String) -> Bool {
        btf__find_by_name_kind(btf, "btf_trace_" + name, UInt32(BTF_KIND_TYPEDEF)) > 0
    }

    /// Whether `fentry` and `fexit` programs can attach to this function: it was not inlined away.
    public func hasFunction(_ name: String) -> Bool {
        kairos_btf_has_function(btf, name) != 0
    }

    /// Whether a module that is loaded has this function, by its own types.
    public func moduleHasFunction(_ module: String, _ name: String) -> Bool {
        guard let types = btf__load_module_btf(module, btf) else { return false }
        defer { btf__free(types) }
        return kairos_btf_has_function(types, name) != 0
    }

    /// Which parameter of the function, from 0, is the `nth` pointer to this structure; nil when there is none.
    public func parameter(of function: String, pointingTo structure: String, nth: Int = 0) -> Int? {
        let place = kairos_btf_parameter(btf, function, structure, CInt(nth))
        return place < 0 ? nil : Int(place)
    }

    /// Whether the function returns a pointer; false when there is no such function.
    public func returnsPointer(_ function: String) -> Bool { kairos_btf_returns_pointer(btf, function) != 0 }
}
