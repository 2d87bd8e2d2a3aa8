import Foundation
import JSON
import Logging
import RedisClient
import Switchyard

/// The benchmark: runs its sections one after the other, each on a new redis-server, or all on a given one.
///
/// The floor is measured before each section, so that its spread shows how steady the machine was.
package struct BenchSuite: Sendable {
    private let given: String?
    private let plan: BenchPlan
    private let program: String
    private let logger: Logger
    private let say: @Sendable (String) -> Void

    /// - Parameters:
    ///   - given: the URL of a server; nil starts private servers.
    ///   - program: the path of `switchyard`, which is started as replica and worker.
    ///   - say: reports progress.
    package init(
        given: String?, plan: BenchPlan, program: String, logger: Logger, say: @escaping @Sendable (String) -> Void
    ) {
        self.given = given
        self.plan = plan
        self.program = program
        self.logger = logger
        self.say = say
    }

    package func run() async throws -> BenchReport {
        var floor = FloorMeasurement.Samples()
        var chapters: [BenchReport.Chapter] = []
        var version = ""
        for section in plan.sections {
            let found = try await BenchRedis.using(given: given, queues: [BenchRedis.queue], logger: logger) { redis in
                try await measure(section, on: redis, floor)
            }
            floor = found.floor
            version = found.redisVersion
            chapters.append(.init(title: section.title, figures: found.figures))
        }
        return BenchReport(
            circumstances: circumstances(redisVersion: version),
            chapters: [.init(title: "The machine's floor", figures: floor.figures)] + chapters)
    }

    private struct Found: Sendable {
        var figures: [Figure]
        /// Includes the samples that were taken before the earlier sections.
        var floor: FloorMeasurement.Samples
        var redisVersion: String
    }

    private func measure(
        _ section: BenchSection, on redis: BenchRedis, _ floor: FloorMeasurement.Samples
    ) async throws -> Found {
        let context = BenchContext(
            redis: redis, queue: BenchRedis.queue, plan: plan, program: program, logger: logger
        ) { [say] line in
            say("\(section.rawValue): \(line)")
        }
        var floor = floor
        context.say("the floor")
        try await FloorMeasurement(context: context).run(into: &floor)
        let info = try await RedisUsage.info(redis.client, "server")
        return Found(
            figures: try await figures(of: section, context), floor: floor,
            redisVersion: String(info["redis_version"] ?? "?"))
    }

    private func figures(of section: BenchSection, _ context: BenchContext) async throws -> [Figure] {
        switch section {
        case .submit: try await SubmitMeasurement(context: context).run()
        case .life: try await LifeMeasurement(context: context).run()
        case .options: try await OptionsMeasurement(context: context).run()
        case .drain: try await DrainMeasurement(context: context).run()
        case .latency: try await LatencyMeasurement(context: context).run()
        case .memory: try await MemoryMeasurement(context: context).run()
        case .depth: try await DepthMeasurement(context: context, given: given).run()
        case .partitions: try await PartitionsMeasurement(context: context).run()
        case .idle: try await IdleMeasurement(context: context).run()
        case .bounds: try await BoundsMeasurement(context: context).run()
        }
    }

    private func circumstances(redisVersion: String) -> [String: JSONValue] {
        [
            "redis_version": .string(redisVersion),
            "redis": .string(given == nil ? "private, Unix socket, appendfsync everysec" : "given"),
            "cores": JSONValue(ProcessInfo.processInfo.activeProcessorCount),
            "optimised": .bool(Self.isOptimised),
            "runs": JSONValue(plan.runs), "tasks": JSONValue(plan.tasks),
            "drain_tasks": JSONValue(plan.drainTasks),
            "payload_bytes": JSONValue(BenchLoad.payloadBytes),
            "result_bytes": JSONValue(BenchLoad.resultBytes),
        ]
    }

    package static var isOptimised: Bool {
        #if DEBUG
            false
        #else
            true
        #endif
    }
}

extension BenchSection {
    var title: String {
        switch self {
        case .submit: "Submitting"
        case .life: "The whole life, and each function"
        case .options: "The whole life with options"
        case .drain: "Draining by worker processes"
        case .latency: "From idle to started"
        case .memory: "Memory"
        case .depth: "Depth"
        case .partitions: "One queue on one Redis server, on two, and on a Redis Cluster"
        case .idle: "Idling"
        case .bounds: "The slowest call when much happens at once"
        }
    }
}
