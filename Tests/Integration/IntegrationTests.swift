import Testing

/// Everything that takes root, real eBPF programs and a real pool: one pool for all, one test after the other.
@Suite("On a real pool", .serialized, .pool)
struct IntegrationTests {}
