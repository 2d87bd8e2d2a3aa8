import NIOCore
import RedisClient
import SwitchyardTesting
import Synchronization

/// The way of one process to Redis, through a proxy that delays, loses or cuts.
final class Link: Sendable {
    /// What happens to bytes on the way.
    struct Weather: Sendable {
        /// The most that bytes are delayed in each direction.
        var delay: Duration = .zero
        /// Of how many replies one is lost, with its connection. 0: none.
        var lostReplies = 0
        /// Of how many requests one is lost, with its connection. 0: none.
        var lostRequests = 0
        /// Until when nothing passes in a direction. Then what was held back is passed on, as TCP sends it again.
        var held: (direction: RedisProxy.Direction, until: ContinuousClock.Instant)?
    }

    private struct State {
        var weather = Weather()
        var random: SeededGenerator
    }
    private let state: Mutex<State>
    private let proxy: Mutex<RedisProxy?> = Mutex(nil)

    init(seed: UInt64) { state = Mutex(State(random: SeededGenerator(seed: seed))) }

    /// Opens the proxy to a server's socket.
    /// - Parameter address: the address on which it listens; nil: on a socket of its own.
    func open(to socket: String, on address: String? = nil) async throws -> String {
        let proxy = try await RedisProxy.start(toSocket: socket, on: address) { [self] _, direction in
            fate(direction)
        }
        self.proxy.withLock { $0 = proxy }
        return proxy.url
    }

    private func fate(_ direction: RedisProxy.Direction) -> RedisProxy.Fate {
        state.withLock { state in
            let weather = state.weather
            if let held = weather.held, held.direction == direction {
                return .deliver(after: max(.zero, held.until - .now))
            }
            let odds = direction == .reply ? weather.lostReplies : weather.lostRequests
            if odds > 0, state.random.oneIn(odds) { return .lose }
            guard weather.delay > .zero else { return .deliver(after: .zero) }
            let most = Int(weather.delay / .milliseconds(1))
            return .deliver(after: .milliseconds(Int.random(in: 0...most, using: &state.random)))
        }
    }

    func set(_ weather: Weather) { state.withLock { $0.weather = weather } }
    /// Holds everything back, in both directions, and closes nothing.
    func stall() { proxy.withLock { $0 }?.stall() }
    func resume() { proxy.withLock { $0 }?.resume() }
    func refuse() { proxy.withLock { $0 }?.refuse() }
    func closeAll() { proxy.withLock { $0 }?.closeAll() }
    func close() async { await proxy.withLock { $0 }?.stop() }
}
