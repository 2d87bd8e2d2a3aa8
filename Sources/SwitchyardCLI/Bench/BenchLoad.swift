import Logging
import NIOCore
import RedisClient
import Switchyard

/// The operations that are measured, each a number of callers that share the work. All callers share one connection,
/// where their calls are pipelined.
///
/// Tasks are completed as a worker does it, through the same functions; only nothing is run. No replica ticks.
struct BenchLoad: Sendable {
    let client: RedisClient
    let queue: String
    /// Tasks in one call: 1 to 100.
    let perCall: Int
    let callers: Int
    private let handle: SchedulerHandle
    private let logger: Logger
    /// What every task carries, to be passed through untouched.
    private let request: BuildRequest

    static let payloadBytes = 200
    /// The most attempts that one worker may hold.
    private static let slots = 1000

    init(client: RedisClient, queue: String, perCall: Int, concurrency: Int, logger: Logger) throws {
        self.client = client
        self.queue = queue
        self.perCall = perCall
        // As many tasks on their way at once, whatever the size of a call; two, so that Redis always has work.
        self.callers = max(concurrency / perCall, min(concurrency, 2))
        self.logger = logger
        handle = try SchedulerHandle(queue: queue, client: client, logger: logger)
        var request = BuildRequest()
        request.payload = ByteBuffer(string: #"{"x":""# + String(repeating: "x", count: Self.payloadBytes - 8) + #""}"#)
        self.request = request
    }

    /// Nothing is refused or taken back while it runs: no length limit that matters, and long leases.
    func prepare() async throws {
        try await handle.configure([
            ("max_queue_length", 100_000_000), ("lease_ms", 3_600_000), ("assign_timeout_ms", 3_600_000),
        ])
    }

    /// Tasks in the queue that have not ended: none before and after each run.
    func liveTasks() async throws -> Int {
        let stats = try await handle.getStats()
        return stats.pending + stats.assigned + stats.running
    }

    func submit(_ count: Int) async throws {
        try await share(count) { _, share in
            var rest = share
            while rest > 0 {
                let tasks = (0..<min(perCall, rest)).map { _ in QueuedTask(request, priority: .normal) }
                _ = try await handle.addTasks(tasks)
                rest -= tasks.count
            }
        }
    }

    /// A worker with what it holds.
    struct Holder: Sendable {
        let link: WorkerProtocol
        var reports: [WorkerProtocol.Report] = []
    }

    /// Enough workers to hold `count` tasks, so many that each caller has as many as the next.
    func register(holding count: Int) async throws -> [[Holder]] {
        let each = max(1, ((count + callers - 1) / callers + Self.slots - 1) / Self.slots)
        var holders: [[Holder]] = []
        for caller in 0..<callers {
            var own: [Holder] = []
            for index in 0..<each {
                let link = try WorkerProtocol(
                    worker: "bench-\(caller)-\(index)", queue: queue, client: client, logger: logger)
                _ = try await link.register(.init(slots: Self.slots))
                own.append(Holder(link: link))
            }
            holders.append(own)
        }
        return holders
    }

    /// Pulls and starts `count` tasks, which stay with their workers.
    func pull(_ count: Int, by holders: [[Holder]]) async throws -> [[Holder]] {
        try await share(count) { caller, share in
            var own = holders[caller]
            var rest = share
            for index in own.indices {
                while rest > 0, own[index].reports.count < Self.slots {
                    let held = own[index].reports.count
                    let pulled = try await own[index].link.pull(
                        max: min(perCall, rest, Self.slots - held), holding: held)
                    guard !pulled.isEmpty else { throw Failure(.error, "bench: a pull found nothing, \(rest) to go") }
                    own[index].reports += pulled.map(Self.report)
                    rest -= pulled.count
                }
            }
            return own
        }
    }

    /// Reports `count` tasks completed, each call pulling as many as it reports, from what `holders` hold on.
    func finishAndPull(_ count: Int, by holders: [[Holder]]) async throws {
        _ = try await share(count) { caller, share in
            guard let holder = holders[caller].first else { return }
            var held = holder.reports
            var unpulled = share - held.count
            while !held.isEmpty {
                let answer = try await holder.link.finish(held, pull: min(held.count, unpulled), holding: 0)
                for state in answer.states { _ = try state.get() }
                let pulled = answer.assignments
                guard !pulled.isEmpty || unpulled == 0 else {
                    throw Failure(.error, "bench: a pull found nothing, \(unpulled) to go")
                }
                unpulled -= pulled.count
                held = pulled.map(Self.report)
            }
        }
    }

    /// Reports everything that is held, and leaves.
    func finishAll(_ holders: [[Holder]]) async throws {
        for holder in holders.joined() {
            var rest = holder.reports[...]
            while !rest.isEmpty {
                let some = rest.prefix(100)
                rest = rest.dropFirst(some.count)
                for state in try await holder.link.finish(Array(some), pull: 0, holding: rest.count).states {
                    _ = try state.get()
                }
            }
            try await holder.link.deregister()
        }
    }

    private static func report(_ assignment: WorkerProtocol.Assignment) -> WorkerProtocol.Report {
        .init(taskID: assignment.id, attempt: assignment.attempt, outcome: .completed)
    }

    /// How many of `count` each caller gets.
    func shares(_ count: Int) -> [Int] {
        (0..<callers).map { count / callers + ($0 < count % callers ? 1 : 0) }
    }

    @discardableResult
    private func share<Value: Sendable>(
        _ count: Int, _ body: @escaping @Sendable (_ caller: Int, _ share: Int) async throws -> Value
    ) async throws -> [Value] {
        try await withThrowingTaskGroup(of: (Int, Value).self) { group in
            for (caller, share) in shares(count).enumerated() {
                group.addTask { (caller, try await body(caller, share)) }
            }
            var values: [(Int, Value)] = []
            for try await value in group { values.append(value) }
            return values.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }
}
