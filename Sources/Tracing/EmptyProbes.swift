import BPF
import CBPFObjects

/// Programs that do nothing, on the hooks that a probe set has for a write: what the hooks alone cost.
public final class EmptyProbes {
    private var links: [Attached] = []
    private let object: BPFObject

    private final class Attached {
        let link: Link
        init(_ link: consuming Link) { self.link = link }
    }

    /// Attached until the end of its life.
    public init(like set: ProbeSet) throws(ProbeError) {
        let wanted = set == .syscalls ? ["empty__enter", "empty__exit"] : ["empty__write", "empty__checks"]
        do throws(BPFError) {
            var size = 0
            let address = kairos_object_empty(&size)
            object = try BPFObject(image: UnsafeRawBufferPointer(start: address, count: size).bytes, name: "empty")
            for program in ["empty__enter", "empty__exit", "empty__write", "empty__checks"] {
                try object.setAutoload(program: program, wanted.contains(program))
            }
            try object.load()
            for program in wanted { links.append(Attached(try object.attach(program: program))) }
        } catch { throw .kernel(set, error) }
    }
}
