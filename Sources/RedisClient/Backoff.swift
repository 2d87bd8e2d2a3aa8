import NIOCore

/// Delays that double up to a limit. Each has jitter (50–100 % of its nominal length), so that the clients of a server
/// that restarts do not all reconnect at the same moment.
package struct Backoff {
    private var next: Duration
    private let limit: Duration

    package init(first: Duration, limit: Duration) {
        next = first
        self.limit = limit
    }

    /// Returns the next delay.
    package mutating func nextDelay() -> Duration {
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
