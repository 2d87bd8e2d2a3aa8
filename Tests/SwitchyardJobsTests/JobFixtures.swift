import Foundation
import ServiceLifecycle
import Switchyard
import SwitchyardJobs
import SwitchyardTesting
import Testing

struct Image: Codable, Sendable, Equatable {
    var width: Int
    var pixels: Data
}

struct Render: Job {
    static let kind = "render"
    var scene: String
    typealias Result = Image
}

struct Encode: Job {
    static let kind = "encode:h264"
    var title: String
    var frames: [JobID<Render>] = []
    typealias Result = String
}

struct Clean: Job {
    static let kind = "clean"
    var path = "/tmp"
}

struct DiskFull: Error {}

/// Runs `body` with a queue on a server of its own.
func withJobs(_ body: (JobQueue, TestRedis) async throws -> Void) async throws {
    try await TestRedis.run { redis in
        try await body(try await JobQueue("jobs", client: redis.client), redis)
    }
}

/// Runs the worker while `body` runs. A worker that does not end is ended.
func running(_ worker: JobWorker, _ body: () async throws -> Void) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await worker.run() }
        try await body()
        group.cancelAll()
        while let result = await group.nextResult() {
            if case .failure(let error) = result, !(error is CancellationError) { throw error }
        }
    }
}
