/// How long a request that may be repeated is repeated while the server is unreachable: it may be starting again, or
/// another replica may take its place. One rule for submissions, for following tasks, and for following logs.
struct Patience: Sendable {
    /// The time from the first failure.
    var limit: Duration = .seconds(30)
    private var start: ContinuousClock.Instant?

    init(limit: Duration = .seconds(30)) {
        self.limit = limit
    }

    private static let pause: Duration = .milliseconds(500)

    /// Waits before the next try, and says on stderr why, the first time.
    /// - Throws: `failure`, if it is of another kind or the time is over.
    mutating func wait(after failure: Failure) async throws {
        guard failure.status == .unavailable else { throw failure }
        let now = ContinuousClock.now
        if let start {
            guard now - start < limit else { throw failure }
        } else {
            start = now
            try Console.error.line("the server is unreachable, retrying: \(failure.firstLine)")
        }
        try await Task.sleep(for: min(Self.pause, limit))
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
