import DequeModule
import Synchronization

/// A bounded buffer of events for one consumer. When it is full, the oldest event is dropped, and the consumer receives
/// a `gap` before the next event.
final class EventBuffer: Sendable {
    typealias Event = RedisSubscription.Event

    private struct State {
        var events: Deque<Event> = []
        var hasGap = false
        var hasEnded = false
        var consumer: OneShot<Event?>?

        mutating func takeNext() -> Event? {
            if hasGap {
                hasGap = false
                return .gap
            }
            return events.popFirst()
        }
    }

    private let capacity: Int
    private let state = Mutex(State())

    init(capacity: Int) {
        self.capacity = capacity
    }

    func add(_ event: Event) {
        let consumer = state.withLock { state -> OneShot<Event?>? in
            if state.hasEnded { return nil }
            if let consumer = state.consumer {
                state.consumer = nil
                return consumer
            }
            if state.events.count == capacity {
                state.events.removeFirst()
                state.hasGap = true
            }
            state.events.append(event)
            return nil
        }
        consumer?.complete(.success(event))
    }

    /// Ends the sequence: the consumer receives the events in the buffer, then nil.
    func end() {
        let consumer = state.withLock { state in
            state.hasEnded = true
            defer { state.consumer = nil }
            return state.consumer
        }
        consumer?.complete(.success(nil))
    }

    /// Returns the next event, or waits for it; nil at the end. Cancelling the task ends the sequence.
    func next(onCancel: @escaping @Sendable () -> Void) async -> Event? {
        let consumer = OneShot<Event?>()
        do {
            return try await consumer.wait(
                start: {
                    let ready = state.withLock { state -> Event?? in
                        if let event = state.takeNext() { return .some(event) }
                        if state.hasEnded { return .some(nil) }
                        precondition(state.consumer == nil, "a RedisSubscription has one consumer")
                        state.consumer = consumer
                        return .none
                    }
                    if let ready { consumer.complete(.success(ready)) }
                }, onCancel: onCancel)
        } catch {
            // Only cancellation leads here. A consumer left registered would swallow the next event.
            end()
            return nil
        }
    }
}
