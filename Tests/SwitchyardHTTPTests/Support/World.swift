import AsyncHTTPClient
import Foundation
import JSON
import Logging
import NIOCore
import NIOHTTP1
import RedisClient
import ServiceLifecycle
import Switchyard
import Testing

@testable import SwitchyardHTTP

/// A replica and its HTTP server in front of a Redis, for requests over real HTTP.
final class World: Sendable {
    let redis: RedisForTests
    let scheduler: TaskScheduler
    let port: Int
    private let running: Task<Void, any Error>

    /// The world that all tests share that bring their own queue.
    private static let sharedStart = Task { try await World.start(redis: RedisForTests.start()) }
    static var shared: World { get async throws { try await sharedStart.value } }

    /// Every method and path that the server has a handler for.
    var routes: [String] {
        API(scheduler: scheduler, options: HTTPServerOptions(), logger: Logger(label: "test")).routes.all
    }

    /// - Parameters:
    ///   - others: Further Redis instances over which the queues are spread.
    ///   - clients: What the replica uses instead of the clients of `redis` and `others`.
    ///   - ticks: false: the replica does not tick, and only a test's own requests touch its queues.
    static func start(
        redis: RedisForTests, others: [RedisForTests] = [], clients: [RedisClient]? = nil,
        queues: [String] = ["default"], options: HTTPServerOptions = HTTPServerOptions(), ticks: Bool = false
    ) async throws -> World {
        let scheduler = try TaskScheduler(
            partitions: Partitions(on: clients ?? ([redis] + others).map(\.client)), queues: queues)
        var options = options
        options.port = 0
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let (ports, port) = AsyncStream.makeStream(of: Int.self)
        let server = HTTPServer(scheduler: scheduler, options: options, logger: logger) { port.yield($0) }
        let running = Task {
            let services: [any Service] = ticks ? [scheduler, server] : [server]
            try await ServiceGroup(services: services, logger: logger).run()
        }
        for await port in ports { return World(redis: redis, scheduler: scheduler, port: port, running: running) }
        throw TimedOut(description: "the server did not listen")
    }

    private init(redis: RedisForTests, scheduler: TaskScheduler, port: Int, running: Task<Void, any Error>) {
        self.redis = redis
        self.scheduler = scheduler
        self.port = port
        self.running = running
    }

    func stop() async {
        running.cancel()
        _ = await running.result
    }

    /// The name of a queue that no other test uses.
    func newQueue() -> String { "q-\(QueuedTask.randomID())" }

    func worker(_ queue: String, id: String = "w1", slots: Int = 4) async throws -> WorkerClient {
        let worker = try WorkerClient(
            worker: id, queue: queue, client: redis.client,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        var registration = WorkerClient.Registration(slots: slots)
        registration.labels = ["os=linux"]
        _ = try await worker.register(registration)
        return worker
    }

    func url(_ path: String) -> String { "http://127.0.0.1:\(port)\(path)" }

    /// Sends a request; `json` is the text of its body.
    func ask(
        _ method: HTTPMethod, _ path: String, json: String? = nil, body: [UInt8]? = nil,
        headers: [(String, String)] = []
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: url(path))
        request.method = method
        for (name, value) in headers { request.headers.add(name: name, value: value) }
        if json != nil, !request.headers.contains(name: "Content-Type") {
            request.headers.add(name: "Content-Type", value: "application/json")
        }
        if let bytes = body ?? json.map({ Array($0.utf8) }) { request.body = .bytes(ByteBuffer(bytes: bytes)) }
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(90))
        let answer = Answer(
            status: Int(response.status.code), headers: response.headers,
            body: try await response.body.collect(upTo: 64 << 20))
        if answer.isJSON {
            // Another JSON parser reads our output, because our own could share an error with our writer.
            #expect(throws: Never.self) {
                try JSONSerialization.jsonObject(with: Data(answer.body.readableBytesView))
            }
        }
        return answer
    }

    func submit(_ json: String, queue: String) async throws -> String {
        let answer = try await ask(.POST, "/scheduler/task?queue=\(queue)", json: json)
        #expect(answer.status == 201)
        return try #require(answer["task_id"].string)
    }
}

struct Answer {
    var status: Int
    var headers: HTTPHeaders
    var body: ByteBuffer

    var isJSON: Bool { headers.first(name: "Content-Type")?.hasSuffix("json") ?? false }
    var text: String { String(buffer: body) }
    var json: JSONValue { (try? JSONReader.read(body)) ?? .null }
    subscript(name: String) -> JSONValue { json[name] }

    /// Expects problem+json with all its required fields.
    func expectProblem(
        _ status: Int, code: String, field: String? = nil, _ location: SourceLocation = #_sourceLocation
    ) {
        #expect(self.status == status, "\(text.prefix(300))", sourceLocation: location)
        #expect(headers.first(name: "Content-Type") == "application/problem+json", sourceLocation: location)
        #expect(self["code"].string == code, "\(text.prefix(300))", sourceLocation: location)
        #expect(self["status"].int == status, sourceLocation: location)
        for name in ["type", "title", "detail", "message"] {
            #expect(self[name].string?.isEmpty == false, "\(name)", sourceLocation: location)
        }
        if let field { #expect(self["field"].string == field, "\(text.prefix(300))", sourceLocation: location) }
    }
}

extension JSONValue {
    subscript(name: String) -> JSONValue {
        guard case .object(let members) = self else { return .null }
        return members.last { $0.name == name }?.value ?? .null
    }

    subscript(index: Int) -> JSONValue {
        guard case .array(let values) = self, values.indices.contains(index) else { return .null }
        return values[index]
    }

    var names: [String] {
        if case .object(let members) = self { members.map(\.name) } else { [] }
    }

    var count: Int {
        if case .array(let values) = self { values.count } else { -1 }
    }
}
