import Foundation

/// The allocator of glibc, as a process wants it that runs for months with thousands of connections.
enum Allocator {
    /// Limits how many arenas there are. By default nearly each thread gets one of its own, and each keeps what was
    /// freed in it: a process grows by tens of MiB when a thread is added after days.
    static func limitArenas() {
        // Only glibc has arenas.
        guard let symbol = dlsym(nil, "mallopt") else { return }
        let mallopt = unsafeBitCast(symbol, to: (@convention(c) (CInt, CInt) -> CInt).self)
        // M_ARENA_MAX. If it is refused, nothing is lost but memory.
        _ = mallopt(-8, 2)
    }
}
