import NIOCore

/// The messages of the subscribed channels, in order, for one consumer.
///
/// Redis delivers each message at most once: a message published while the connection is down is lost. The events
/// ``Event/resubscribed`` and ``Event/gap`` say that messages may be missing; a consumer that keeps state should then
/// read it again. The subscription reconnects without limit. It ends when it or the consuming task is cancelled, when
/// it is released, and when the client shuts down.
public struct RedisSubscription: AsyncSequence, Sendable {
    /// A message, or a notice that messages may be missing.
    public enum Event: Sendable, Equatable {
        /// A message was published.
        case message(channel: String, payload: ByteBuffer)
        /// The connection was lost and restored: messages may have been missed.
        case resubscribed
        /// The consumer was too slow: the oldest messages in the buffer were dropped.
        case gap
    }

    /// An event.
    public typealias Element = Event
    /// Iterating never throws.
    public typealias Failure = Never

    private let owner: Owner

    init(feed: SubscriptionFeed) {
        owner = Owner(feed: feed)
    }

    /// Ends the sequence and closes its connection.
    public func cancel() {
        owner.feed.stop()
    }

    /// Creates an iterator. All iterators share the events: only one may be used.
    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(owner: owner)
    }

    /// Receives the events.
    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let owner: Owner

        /// Waits for the next event; returns nil after the end.
        public mutating func next() async -> Event? {
            await owner.feed.buffer.next { [owner] in owner.feed.stop() }
        }

        /// Waits for the next event; returns nil after the end.
        public mutating func next(isolation actor: isolated (any Actor)?) async -> Event? {
            await owner.feed.buffer.next { [owner] in owner.feed.stop() }
        }
    }

    /// Stops the feed when neither the sequence nor an iterator is referenced any more.
    final class Owner: Sendable {
        let feed: SubscriptionFeed

        init(feed: SubscriptionFeed) {
            self.feed = feed
        }

        deinit {
            feed.stop()
        }
    }
}
