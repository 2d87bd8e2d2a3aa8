import ChildProcess
import Foundation
import Switchyard
import Synchronization

/// A `switchyard` process that the benchmark starts: a replica or a worker. It never outlives the benchmark.
final class BenchChild: Sendable {
    private let process: ChildProcess
    private let verb: String
    /// The last 4096 characters of its output.
    private let tail = Mutex("")

    private static let deadline: Duration = .seconds(30)
    private static let grace: Duration = .seconds(10)

    private init(_ arguments: [String], _ context: BenchContext) async throws {
        verb = arguments.first ?? ""
        // The benchmark's own settings must not reach the process.
        var environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("SWITCHYARD_") }
        // In the environment, because the URL may contain a password.
        environment["SWITCHYARD_REDIS"] = context.redis.url
        process = try await ChildProcess.start(
            .init(arguments: [context.program] + arguments, environment: environment))
        let output = process.output
        Task { [weak self] in
            for await chunk in output {
                let text = String(decoding: chunk.bytes, as: UTF8.self)
                self?.tail.withLock { $0 = String(($0 + text).suffix(4096)) }
            }
        }
    }

    /// Starts a replica with HTTP on a free port of this machine.
    /// - Returns: the process and the port, once the replica listens.
    static func serve(_ context: BenchContext) async throws -> (child: BenchChild, port: Int) {
        try await stoppingOnError { children in
            let child = try await BenchChild(
                [
                    "serve", "--listen", "127.0.0.1:0", "--queue", context.queue, "--max-queue-length", "100000000",
                    "--log-level", "notice",
                ], context)
            children.append(child)
            let port = try await child.eventually("it listens") {
                child.tail.withLock { $0.firstMatch(of: #/url="?http://127\.0\.0\.1:(\d+)/#).flatMap { Int($0.1) } }
            }
            return (child, port)
        }
    }

    /// Starts workers that complete every task without running anything, and returns once all are registered.
    static func workers(_ count: Int, slots: Int, _ context: BenchContext) async throws -> [BenchChild] {
        let handle = try SchedulerHandle(queue: context.queue, client: context.client, logger: context.logger)
        return try await stoppingOnError { children in
            for index in 0..<count {
                children.append(
                    try await BenchChild(
                        [
                            "worker", "--no-op", "--slots", "\(slots)", "--queue", context.queue, "--id",
                            "bench-\(index)", "--log-level", "warning",
                        ], context))
            }
            for child in children {
                try await child.eventually("all workers are registered") {
                    try await handle.getStats().totalWorkers >= count ? true : nil
                }
            }
            return children
        }
    }

    /// Runs `body`, which appends the children that it starts. They are stopped if it throws: the caller has no
    /// reference to them yet.
    private static func stoppingOnError<Result: Sendable>(
        _ body: (inout [BenchChild]) async throws -> Result
    ) async throws -> Result {
        var children: [BenchChild] = []
        do {
            return try await body(&children)
        } catch {
            for child in children { await child.stop() }
            throw error
        }
    }

    /// Sends SIGTERM, on which a worker drains, and SIGKILL after 10 s. Returns when the process has ended.
    func stop() async { await process.terminate(grace: Self.grace) }

    /// - Throws: ``BenchError`` if the process has ended by itself.
    func check() throws {
        guard let status = process.exitStatus else { return }
        throw BenchError("bench: switchyard \(verb) ended with \(status)\n\(tail.withLock { $0 })")
    }

    @discardableResult
    private func eventually<Value>(_ what: String, _ body: () async throws -> Value?) async throws -> Value {
        let end = ContinuousClock.now + Self.deadline
        while ContinuousClock.now < end {
            if let value = try await body() { return value }
            try check()
            try await Task.sleep(for: .milliseconds(10))
        }
        throw BenchError(
            "bench: switchyard \(verb): not within \(Self.deadline): \(what)\n\(tail.withLock { $0 })")
    }
}
