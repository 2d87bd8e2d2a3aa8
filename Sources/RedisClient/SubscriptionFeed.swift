/// One subscription: its channels, and the events for its consumer.
final class SubscriptionFeed: Sendable {
    /// About a megabyte of short messages. A consumer further behind than this should read its state again.
    private static let bufferCapacity = 10_000

    let channels: [String]
    let buffer = EventBuffer(capacity: bufferCapacity)
    private let onStop: @Sendable (SubscriptionFeed) -> Void

    /// - Parameter onStop: called each time the feed is stopped.
    init(channels: [String], onStop: @escaping @Sendable (SubscriptionFeed) -> Void) {
        self.channels = channels
        self.onStop = onStop
    }

    /// Ends the sequence of events.
    func stop() {
        buffer.end()
        onStop(self)
    }
}
