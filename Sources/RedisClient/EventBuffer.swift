import DequeModule
import Synchronization

/// Events on their way to a consumer, a bounded number of them. When it is full the oldest make room, and the consumer
/// learns it from a `gap` in their place.
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

    /// What waits is still delivered, then nil.
    func end() {
        let consumer = state.withLock { state in
            state.hasEnded = true
            defer { state.consumer = nil }
            return state.consumer
        }
        consumer?.complete(.success(nil))
    }

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
            // Only cancellation gets here. A consumer left behind would swallow the next event.
            end()
            return nil
        }
    }
}
