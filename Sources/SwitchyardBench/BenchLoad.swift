import Logging
import NIOCore
import RedisClient
import Switchyard

/// The operations that the benchmark measures, divided among a number of concurrent callers. All callers use one
/// connection, which pipelines their calls.
///
/// Tasks are completed through the functions that a worker calls, but nothing is run. No replica ticks.
struct BenchLoad: Sendable {
    let client: RedisClient
    let queue: String
    /// Tasks in one call.
    let perCall: Int
    let callers: Int
    let handle: SchedulerHandle
    let logger: Logger
    /// The option that its tasks have.
    var option = BenchOption.none
    /// Whether reports carry an exit code and a result of ``resultBytes`` bytes, as those of a command worker do.
    var reportsResults = true

    /// The fewest tasks with which the first pull of every caller's worker is full.
    var fewestTasks: Int { callers * perCall }

    static let payloadBytes = 200
    static let resultBytes = 100
    static let result = ByteBuffer(string: #"{"out":""# + String(repeating: "x", count: resultBytes - 10) + #""}"#)
    /// The payload of every task: JSON, because HTTP requires it.
    static let payload = #"{"x":""# + String(repeating: "x", count: payloadBytes - 8) + #""}"#
    static let request: BuildRequest = {
        var request = BuildRequest()
        request.payload = ByteBuffer(string: payload)
        return request
    }()

    init(client: RedisClient, queue: String, perCall: Int, callers: Int, logger: Logger) throws {
        self.client = client
        self.queue = queue
        self.perCall = perCall
        self.callers = callers
        self.logger = logger
        handle = try SchedulerHandle(queue: queue, client: client, logger: logger)
    }

    /// Sets a queue length that is never reached and leases of an hour, so that no submission is refused and no lease
    /// expires during a measurement.
    static func configure(_ handle: SchedulerHandle) async throws {
        try await handle.configure([
            ("max_queue_length", 100_000_000), ("lease_ms", 3_600_000), ("assign_timeout_ms", 3_600_000),
        ])
    }

    /// Submits `count` tasks.
    /// - Returns: their ids.
    @discardableResult
    func submit(_ count: Int) async throws -> [String] {
        try await share(count) { _, share in
            let size = option.perSubmission ?? perCall
            var ids: [String] = []
            while ids.count < share {
                let tasks = (0..<min(size, share - ids.count)).map { index in
                    var task = QueuedTask(Self.request, priority: .normal)
                    option.apply(to: &task, after: ids.count < size ? nil : ids[ids.count - size + index])
                    return task
                }
                _ = try await handle.addTasks(tasks, batch: option == .batch ? QueuedTask.randomID() : nil)
                ids += tasks.map(\.id)
            }
            return ids
        }.flatMap { $0 }
    }

    /// Calls `body` `count` times, divided among the callers.
    func call(_ count: Int, _ body: @escaping @Sendable (_ index: Int) async throws -> Void) async throws {
        let callers = callers
        try await share(count) { caller, share in
            for index in 0..<share { try await body(index * callers + caller) }
        }
    }

    /// Divides `count` among the callers and runs `body` for each, concurrently.
    /// - Returns: the values of the callers, in their order.
    @discardableResult
    func share<Value: Sendable>(
        _ count: Int, _ body: @escaping @Sendable (_ caller: Int, _ share: Int) async throws -> Value
    ) async throws -> [Value] {
        try await withThrowingTaskGroup(of: (Int, Value).self) { group in
            for caller in 0..<callers {
                let share = count / callers + (caller < count % callers ? 1 : 0)
                group.addTask { (caller, try await body(caller, share)) }
            }
            var values: [(Int, Value)] = []
            for try await value in group { values.append(value) }
            return values.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }
}
