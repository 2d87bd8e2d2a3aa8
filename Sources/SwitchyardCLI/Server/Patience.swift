/// How long a request that may be repeated is repeated while the server is unreachable: it may be starting again, or
/// another replica may take its place. One rule for submissions, for what only reads, for cancelling, and for following
/// tasks and logs.
struct Patience: Sendable {
    /// The time from the first failure.
    var limit: Duration = .seconds(30)
    private var start: ContinuousClock.Instant?

    init(limit: Duration = .seconds(30)) {
        self.limit = limit
    }

    private static let pause: Duration = .milliseconds(500)
    /// Between two requests, also if the server asks for no pause.
    private static let shortPause: Duration = .milliseconds(100)

    /// Waits before the next try, for as long as the server asked for, and says on stderr why, the first time.
    /// - Throws: `failure`, if it is of another kind or the time is over.
    mutating func wait(after failure: Failure) async throws {
        guard failure.status == .unavailable else { throw failure }
        let now = ContinuousClock.now
        let first = start ?? now
        guard now - first < limit else { throw failure }
        if start == nil {
            start = now
            try Console.error.line("retrying: \(failure.firstLine)")
        }
        let pause = max(failure.retryAfter ?? Self.pause, Self.shortPause)
        try await Task.sleep(for: min(pause, first + limit - now))
    }

    /// The server is there: the next failure is a first one.
    mutating func succeeded() {
        start = nil
    }

    /// Repeats `body` until it succeeds, or fails for another reason.
    static func retrying<Value>(_ body: () async throws -> Value) async throws -> Value {
        try await Patience().retrying(body)
    }

    func retrying<Value>(_ body: () async throws -> Value) async throws -> Value {
        var patience = self
        while true {
            do {
                return try await body()
            } catch let failure as Failure {
                try await patience.wait(after: failure)
            }
        }
    }
}
