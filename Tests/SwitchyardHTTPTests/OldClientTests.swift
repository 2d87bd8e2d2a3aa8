import Switchyard
import Testing

@testable import SwitchyardHTTP

/// Clients of HTTP/1.0, and numbers in queries that nobody means.
@Suite struct OldClientTests {
    /// A response of known length, one of unknown length (an event stream that ends at once), and a large one.
    @Test(arguments: ["", "Connection: keep-alive\r\n"]) func aClientOfHTTP10GetsABodyAndTheEnd(header: String)
        async throws
    {
        let world = try await World.shared
        let queue = world.newQueue()
        let id = try await world.submit(#"{"repo":"r"}"#, queue: queue)
        _ = try await world.ask(.DELETE, "/scheduler/task/\(id)?queue=\(queue)")
        for (path, part) in [
            ("/livez", "status"), ("/scheduler/task/\(id)?queue=\(queue)", id), ("/dashboard.js", "function"),
            ("/scheduler/task/\(id)/log?follow=1&queue=\(queue)", "event: end"), ("/nothing", "NotFound"),
        ] {
            let client = try await RawClient(world)
            try await client.send("GET \(path) HTTP/1.0\r\nHost: localhost\r\n\(header)\r\n")
            try await eventually("\(path) ends: \(client.text)", within: .seconds(30)) { client.isClosed }
            #expect(client.text.contains(part), "\(client.text.prefix(500))")
            let head = client.text.prefix { $0 != "{" }.lowercased()
            #expect(head.hasPrefix("http/1.0 ") && head.contains("connection: close"), "\(head.prefix(500))")
            #expect(!client.text.lowercased().contains("transfer-encoding"), "\(head.prefix(500))")
            await client.close()
        }
        let post = try await RawClient(world)
        let body = #"{"repo":"r"}"#
        let lines = [
            "POST /scheduler/task?queue=\(queue) HTTP/1.0", "Host: localhost", "Content-Length: \(body.utf8.count)",
        ]
        try await post.send(lines.map { $0 + "\r\n" }.joined() + "\r\n" + body)
        try await eventually("the submission ends", within: .seconds(30)) { post.isClosed }
        #expect(post.text.contains(" 201 "))
    }

    @Test func aClientOfHTTP11KeepsItsConnection() async throws {
        let client = try await RawClient(try await World.shared)
        for count in 1...3 {
            try await client.ask("/livez")
            try await eventually("response \(count)", within: .seconds(30)) {
                client.text.components(separatedBy: "HTTP/1.1 200").count == count + 1
            }
        }
        #expect(!client.isClosed)
        try await client.send("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: Close\r\n\r\n")
        try await eventually("it is closed", within: .seconds(30)) { client.isClosed }
    }

    static let values = [
        "99999999999999999999", "-1", "0", "nan", "inf", "-inf", "1e308", "1e999", "", "%D9%A3", "9223372036854775807",
        "-9223372036854775808", "0x10", "1.5", "9223372036854775807-9223372036854775807", "0-0", "%00", "%0D%0A",
        "99999999999999999999-1", String(repeating: "9", count: 2000),
    ]

    /// A trap ends this process.
    @Test func noNumberInAQueryTraps() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let id = try await world.submit(#"{"repo":"r"}"#, queue: queue)
        _ = try await world.ask(.DELETE, "/scheduler/task/\(id)?queue=\(queue)")
        for value in Self.values {
            for path in [
                "/scheduler/tasks?limit=\(value)", "/scheduler/tasks?cursor=\(value)",
                "/scheduler/task/\(id)?wait=\(value)", "/scheduler/task/\(id)/log?format=json&limit=\(value)",
                "/scheduler/task/\(id)/log?format=json&after=\(value)", "/scheduler/task/\(id)/log?after=\(value)",
                "/scheduler/autoscale?class=a&slots=\(value)", "/scheduler/task/\(value)", "/scheduler/batch/\(value)",
            ] {
                let answer = try await world.ask(.GET, path + (path.contains("?") ? "&" : "?") + "queue=\(queue)")
                #expect([200, 400, 404, 405].contains(answer.status), "\(path.prefix(100)): \(answer.status)")
            }
        }
        for value in ["1e999", "-1e308", "1e308", "1e18", "99999999999999999999", "-0", "null", "true", "\"1\"", "[1]"]
        {
            for field in [
                "timeout_seconds", "max_retries", "delay_seconds", "fairness_weight", "concurrency_limit",
                "rate_per_second", "rate_burst", "unique_for_seconds",
            ] {
                let body = #"{"repo":"r","fairness_key":"f","\#(field)":\#(value)}"#
                let answer = try await world.ask(.POST, "/scheduler/task?queue=\(queue)", json: body)
                #expect([201, 400].contains(answer.status), "\(body): \(answer.status)")
            }
            let resources = #"{"repo":"r","resources":{"cpu":\#(value),"memory_mb":\#(value),"gpu":\#(value)}}"#
            let answer = try await world.ask(.POST, "/scheduler/task?queue=\(queue)", json: resources)
            #expect([201, 400].contains(answer.status), "\(resources): \(answer.status)")
            for setting in QueueSetting.all {
                let path = "/scheduler/queue/\(queue)x"
                let changed = try await world.ask(.PATCH, path, json: #"{"\#(setting.field)":\#(value)}"#)
                #expect([200, 400, 404, 409].contains(changed.status), "\(setting.field) \(value): \(changed.status)")
            }
        }
    }

    @Test func aVariableIsCheckedByItsBytes() async throws {
        let world = try await World.shared
        let path = "/scheduler/task?queue=\(world.newQueue())"
        // By Character the name has no "=": the combining mark belongs to it.
        for name in [#"A=\u0301"#, "=", "A=B", #"A\u0000"#, #"\u0000\u0301"#, ""] {
            try await world.ask(.POST, path, json: #"{"command":["env"],"env":{"\#(name)":"x"}}"#)
                .expectProblem(400, code: "BadRequest")
        }
    }
}
