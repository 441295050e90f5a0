import CLibbpf
import SystemPackage

/// An attached program. The end of its life detaches it (`bpf_link__destroy`).
public struct Link: ~Copyable {
    private let link: OpaquePointer

    init(_ link: OpaquePointer) { self.link = link }

    deinit { bpf_link__destroy(link) }
}

/// errno, captured before anything else can change it.
func systemErrno() -> CInt { kairos_errno() }
