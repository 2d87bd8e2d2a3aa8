import NIOCore

/// Messages of the channels that were subscribed to, in order; for one consumer.
///
/// Redis delivers each message at most once: what is published while the connection is down is gone. The sequence says so:
/// after ``Event/resubscribed`` and ``Event/gap``, a consumer who keeps state reads it again. It reconnects for ever; it ends
/// when the consuming task is cancelled, when it is cancelled or released, and when the client shuts down.
public struct RedisSubscription: AsyncSequence, Sendable {
    public enum Event: Sendable, Equatable {
        case message(channel: String, payload: ByteBuffer)
        /// The connection was lost and made again: messages may have been missed.
        case resubscribed
        /// The consumer was too slow: the oldest messages that waited were dropped.
        case gap
    }

    public typealias Element = Event
    public typealias Failure = Never

    private let owner: Owner

    init(feed: SubscriptionFeed) {
        owner = Owner(feed: feed)
    }

    /// Ends the sequence and closes its connection.
    public func cancel() {
        owner.feed.stop()
    }

    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(owner: owner)
    }

    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let owner: Owner

        /// Nil once ended; never throws.
        public mutating func next() async -> Event? {
            await owner.feed.buffer.next { [owner] in owner.feed.stop() }
        }

        public mutating func next(isolation actor: isolated (any Actor)?) async -> Event? {
            await owner.feed.buffer.next { [owner] in owner.feed.stop() }
        }
    }

    /// Stops the feed when neither the sequence nor an iterator is left.
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
