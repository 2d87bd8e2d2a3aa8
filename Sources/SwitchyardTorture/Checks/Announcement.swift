import Foundation
import RedisClient
import Switchyard
import Synchronization

/// An end of a task that Redis has published.
struct Announcement: Sendable {
    var task: String
    var state: String
    var attempt: Int
    /// When it was heard.
    var at: Uptime
}

/// Listens to the ends that Redis publishes. It may miss some, when its connection is closed.
final class Listener: Sendable {
    private let heard = Mutex<[Announcement]>([])

    var announcements: [Announcement] { heard.withLock { $0 } }

    /// Listens until it is cancelled.
    /// - Throws: if it cannot begin.
    func run(_ client: RedisClient) async throws {
        let events = try await client.subscribe(to: [Keys(queue: Farm.queue).results])
        for await event in events {
            guard case .message(_, let payload) = event else { continue }
            for line in String(buffer: payload).split(separator: "\n") { try note(line) }
        }
    }

    private func note(_ line: Substring) throws {
        let words = line.split(separator: " ")
        guard words.count == 3, let attempt = Int(words[2]) else {
            throw TortureError("Redis published \"\(line)\": expected a task, a state, an attempt")
        }
        heard.withLock {
            $0.append(Announcement(task: String(words[0]), state: String(words[1]), attempt: attempt, at: .now))
        }
    }
}

/// Notices when this machine gives nobody any time, so that a worker may lose a lease without a fault.
final class StallWatch: Sendable {
    private let noticed = Mutex<[ClosedRange<Uptime>]>([])

    private static let interval: Duration = .milliseconds(50)
    /// In seconds. A worker sends a heartbeat each 0.4 s, and its leases end after 2 s.
    private static let least = 0.5

    var stalls: [ClosedRange<Uptime>] { noticed.withLock { $0 } }

    /// Watches until it is cancelled.
    func run() async {
        var last = Uptime.now
        while !Task.isCancelled {
            // Cancelled: the loop ends.
            try? await Task.sleep(for: Self.interval)
            let now = Uptime.now
            if now - last > Self.least { noticed.withLock { $0.append(last...now) } }
            last = now
        }
    }
}
