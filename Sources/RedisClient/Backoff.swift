import NIOCore

/// Delays that double up to a limit, each with jitter (50–100 % of its nominal length), so that many clients of a server
/// that comes back do not arrive together.
struct Backoff {
    private var next: Duration
    private let limit: Duration

    init(first: Duration, limit: Duration) {
        next = first
        self.limit = limit
    }

    mutating func nextDelay() -> Duration {
        defer { next = min(next * 2, limit) }
        return next * Double.random(in: 0.5...1)
    }
}

extension NIODeadline {
    static func after(_ duration: Duration) -> NIODeadline {
        .now() + TimeAmount(duration)
    }

    var isPast: Bool { self <= .now() }
}
