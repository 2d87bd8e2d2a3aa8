import Foundation
import Switchyard
import Testing

@testable import SwitchyardHTTP

/// How many workers of each class the pending and running tasks need.
@Suite struct AutoscaleTests {
    @Test func eachClassIsAskedForByItsOwnTasks() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        _ = try await world.worker(queue, id: "plain", slots: 2)
        let big = try WorkerClient(
            worker: "big", queue: queue, client: world.redis.client, logger: .init(label: "test"))
        var registration = WorkerClient.Registration(slots: 4)
        registration.labels = ["gpu"]
        registration.resources = Resources(cpu: 8, memoryMB: 1024, custom: ["gpu": 2])
        _ = try await big.register(registration)

        let shown = try await world.ask(.GET, "/scheduler/workers?queue=\(queue)")
        let index = shown["workers"][0]["worker_id"].string == "big" ? 0 : 1
        #expect(shown["workers"][index]["class"].string == "gpu,+cpu=8,+gpu=2,+memory_mb=1024")
        #expect(shown["workers"][index]["resources"].text == #"{"cpu":8,"memory_mb":1024,"gpu":2}"#)
        #expect(shown["workers"][1 - index]["class"].string == "os=linux")

        for _ in 0..<5 { _ = try await world.submit(#"{"requires":["gpu"]}"#, queue: queue) }
        for _ in 0..<3 { _ = try await world.submit(#"{"requires":["os=linux"]}"#, queue: queue) }
        _ = try await world.submit(#"{"requires":["mars"]}"#, queue: queue)
        let path = "/scheduler/autoscale?queue=\(queue)"
        let all = try await world.ask(.GET, path)
        // gpu: 5 tasks on workers of 4 slots; os=linux: 3 on workers of 2.
        #expect(all["desired_workers"].int == 4)
        #expect(all["classes"].count == 2)
        #expect(all["classes"][0]["class"].string == "gpu,+cpu=8,+gpu=2,+memory_mb=1024")
        #expect(all["classes"][0]["ready"].int == 5)
        #expect(all["classes"][0]["desired_workers"].int == 2)
        #expect(try await world.ask(.GET, path + "&class=os%3Dlinux")["desired_workers"].int == 2)
        #expect(try await world.ask(.GET, path + "&class=mars&slots=1")["desired_workers"].int == 1)
        // Leased attempts count as well as pending tasks.
        #expect(try await big.pull(max: 4, holding: 0).count == 4)
        #expect(try await world.ask(.GET, path)["desired_workers"].int == 4)
        let stats = try await world.ask(.GET, "/scheduler/stats?queue=\(queue)")
        #expect(stats["desired_workers"].int == 4)
        #expect(stats["unroutable_tasks"].int == 1)
        #expect(stats["classes"][0]["busy"].int == 4)
        #expect(stats["classes"][0]["queue"].string == queue)
        #expect(stats["queues"][queue]["classes"].count == 2)
    }

    @Test func aFarmGrowsFromNothing() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let path = "/scheduler/autoscale?queue=\(queue)"
        #expect(try await world.ask(.GET, path)["desired_workers"].int == 0)
        for _ in 0..<5 { _ = try await world.submit(#"{"requires":["os=linux"],"resources":{"cpu":2}}"#, queue: queue) }
        #expect(try await world.ask(.GET, path)["desired_workers"].int == 5)
        // The order of the words in the class does not matter.
        #expect(try await world.ask(.GET, path + "&class=%2Bcpu%3D8,os%3Dlinux&slots=4")["desired_workers"].int == 2)
        #expect(try await world.ask(.GET, path + "&class=%2Bcpu%3D1,os%3Dlinux")["desired_workers"].int == 0)
        try await world.ask(.GET, path + "&class=%00").expectProblem(400, code: "BadRequest", field: "class")
        try await world.ask(.GET, path + "&slots=0").expectProblem(400, code: "BadRequest", field: "slots")
    }

    /// The URL in the KEDA files returns the field that these files tell KEDA to read.
    @Test func theFilesForKEDAAskForTheirOwnWorkers() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let file = URL(filePath: #filePath).appending(path: "../../../docker/kubernetes/scaledobject.yaml").standardized
        let text = try String(contentsOf: file, encoding: .utf8)
        let line = try #require(text.split(separator: "\n").first { $0.contains("url: ") })
        let path = try #require(
            line.split(separator: "\"").first { $0.hasPrefix("http") }?.split(separator: ":8080").last)
        let url = String(path.replacing("queue=default", with: "queue=\(queue)"))
        #expect(text.contains("valueLocation: desired_workers\n"))
        for _ in 0..<3 {
            _ = try await world.submit(
                #"{"requires":["os=linux"],"resources":{"cpu":1,"memory_mb":4096}}"#, queue: queue)
        }
        #expect(try await world.ask(.GET, url)["desired_workers"].int == 2)
        #expect(try await world.ask(.GET, url)["classes"][0]["class"].string == "os=linux,+cpu=2,+memory_mb=4096")
    }
}
