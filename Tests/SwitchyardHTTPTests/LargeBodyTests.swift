import Foundation
import JSON
import NIOCore
import Switchyard
import Testing

@testable import SwitchyardHTTP

/// Bodies that are large, or that need much memory for their size.
@Suite struct LargeBodyTests {
    private static func split(_ text: String, by size: Int) throws -> (tasks: [String], head: String) {
        var splitter = BatchSplitter()
        var tasks: [String] = []
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            for found in try splitter.feed(rest.prefix(size)) {
                switch found {
                case .task(let bytes): tasks.append(String(decoding: bytes, as: UTF8.self))
                case .newList: tasks = []
                }
            }
            rest = rest.dropFirst(size)
        }
        return (tasks, String(decoding: splitter.head, as: UTF8.self))
    }

    @Test(
        arguments: [
            ("[]", [], "[]"), (" [ {\"a\":1} , 2 ] ", ["{\"a\":1} ", " 2 "], " [] "),
            (#"{"tasks":[{"x":"],}\"\\"},[[1],[2]]]}"#, [#"{"x":"],}\"\\"}"#, "[[1],[2]]"], #"{"tasks":[]}"#),
            (
                #"{"batch_id":"tasks","tasks" : [1],"on_complete":{"tasks":[3]}}"#, ["1"],
                #"{"batch_id":"tasks","tasks" : [],"on_complete":{"tasks":[3]}}"#
            ),
            (#"{"\u0074asks":[1]}"#, ["1"], #"{"\u0074asks":[]}"#),
            (
                #"{"tasks":[1,2],"tasks":[3]}"#, ["3"],
                #"{"tasks":[],"tasks":[]}"#
            ), (#"{"a":"tasks","b":[1]}"#, [], #"{"a":"tasks","b":[1]}"#),
        ] as [(String, [String], String)])
    func tasksAreFoundInPiecesOfAnySize(text: String, tasks: [String], head: String) throws {
        for size in [1, 2, 3, 5, 1000] {
            let found = try Self.split(text, by: size)
            #expect(found.head == head, "in pieces of \(size)")
            let trimmed = found.tasks.map { $0.trimmingCharacters(in: .whitespaces) }
            #expect(trimmed == tasks.map { $0.trimmingCharacters(in: .whitespaces) }, "in pieces of \(size)")
        }
    }

    /// The reader of the whole text and the splitter must accept the same texts, and find the same tasks.
    @Test func theSplitterAgreesWithTheReader() throws {
        let pieces = [
            "[", "]", "{", "}", ",", ":", "\"tasks\"", "\"a\"", "1", "{}", "\"]\"", "\"\\\"\"", " ", "[]", "null",
        ]
        var random = SystemRandomNumberGenerator()
        var valid = 0
        for _ in 0..<20_000 {
            let text =
                ["[", "{\"tasks\":[", ""].randomElement(using: &random)!
                + (0..<Int.random(in: 0...8)).map { _ in pieces.randomElement(using: &random)! }.joined()
                + ["]", "]}", ""].randomElement(using: &random)!
            let whole = try? JSONReader.read(Array(text.utf8))
            let expected: [JSONValue]? = whole?.array ?? whole.flatMap { value -> JSONValue? in value["tasks"] }?.array
            let found = try? Self.split(text, by: 1)
            let tasks = found.flatMap { found in
                try? found.tasks.map { try JSONReader.read(Array($0.utf8)) }
            }
            let head = found.flatMap { try? JSONReader.read(Array($0.head.utf8)) }
            let isAccepted = tasks != nil && (head?.array != nil || head?["tasks"].array != nil)
            #expect(isAccepted == (expected != nil), "\(text)")
            if let expected {
                valid += 1
                #expect(tasks == expected, "\(text)")
            }
        }
        #expect(valid > 500, "\(valid)")
    }

    @Test func aRepetitionMayOrderTheMembersInAnotherWay() async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let key = [("Idempotency-Key", "order")]
        let path = "/scheduler/tasks?queue=\(queue)"
        let first = #"{"batch_id":"b","tasks":[{"id":"a","repo":"r"},{"repo":"s"}],"on_complete":{"repo":"t"}}"#
        let again = #"{"on_complete":{"repo":"t"},"tasks":[{"repo":"r","id":"a"}, {"repo":"s"}],"batch_id":"b"}"#
        let other = #"{"batch_id":"b","tasks":[{"id":"a","repo":"r"},{"repo":"x"}],"on_complete":{"repo":"t"}}"#
        #expect(try await world.ask(.POST, path, json: first, headers: key).status == 201)
        #expect(try await world.ask(.POST, path, json: again, headers: key).status == 200)
        try await world.ask(.POST, path, json: other, headers: key).expectProblem(409, code: "TaskExists")
        // An array and lines are the same batch.
        let lines = "{\"repo\":\"r\"}\n{\"repo\":\"s\"}"
        let twice = [("Idempotency-Key", "forms")]
        #expect(try await world.ask(.POST, path, json: #"[{"repo":"r"},{"repo":"s"}]"#, headers: twice).status == 201)
        let repeated = try await world.ask(
            .POST, path, json: lines, headers: twice + [("Content-Type", "application/x-ndjson")])
        #expect(repeated.status == 200)
    }

    @Test func aBatchThatIsNoJSONNamesTheTask() async throws {
        let world = try await World.shared
        let path = "/scheduler/tasks?queue=\(world.newQueue())"
        for (body, field) in [
            (#"[{"repo":"a"},{"repo":1e999}]"#, "tasks[1]"), (#"[{"repo":"a"},]"#, "body"), ("[{},,{}]", "body"),
            (#"{"tasks":[{"repo":"a"]]}"#, "tasks[0]"), (#"[{"repo":"a"}"#, "body"), ("7", "body"), ("[] []", "body"),
            (#"{"tasks":[{"repo":"a"}],"tusks":1}"#, "tusks"),
            (#"{"tasks":[{"payload":[1e400]}]}"#, "tasks[0]"),
        ] {
            try await world.ask(.POST, path, json: body).expectProblem(400, code: "BadRequest", field: field)
        }
    }

    /// The text is refused where it becomes too much, not after it has been read.
    @Test func whatNeedsMuchMemoryIsRefused() async throws {
        var options = HTTPServerOptions()
        options.maxBodyBytes = 100_000
        let world = try await World.start(redis: try await World.shared.redis, options: options)
        let path = "/scheduler/tasks?queue=\(world.newQueue())"
        let arrays = "[" + String(repeating: "[0],", count: 60_000) + "[0]]"
        try await world.ask(.POST, path, json: arrays).expectProblem(400, code: "BadRequest", field: "tasks[0]")
        let filler = String(repeating: "x", count: 150_000)
        for (body, field) in [
            ("[{},{\"payload\":\"\(filler)\"}]", "tasks[1]"), ("[{\"payload\":\"\(filler)", "tasks[0]"),
            ("{\"x\":\"\(filler)\",\"tasks\":[]}", "body"), ("{\"tasks\":[{}],\"on_complete\":\"\(filler)", "body"),
        ] {
            try await world.ask(.POST, path, json: body).expectProblem(413, code: "BadRequest", field: field)
        }
        let lines = try await world.ask(
            .POST, path, json: "{}\n\"\(filler)", headers: [("Content-Type", "application/x-ndjson")])
        lines.expectProblem(413, code: "BadRequest", field: "tasks[1]")
        await world.stop()
    }

    /// A body that does not come keeps its turn; the next one is told to come later, and small ones pass.
    @Test(arguments: ["tasks", "task"]) func aLargeBodyWaitsForItsTurn(noun: String) async throws {
        var options = HTTPServerOptions()
        options.largeBodyPatience = .milliseconds(300)
        let world = try await World.start(redis: try await World.shared.redis, options: options)
        let queue = world.newQueue()
        let path = "/scheduler/\(noun)?queue=\(queue)"
        let size = 4 << 20
        var slow: [RawClient] = []
        for _ in 0..<(noun == "tasks" ? 1 : 2) {
            let client = try await RawClient(world)
            try await client.send("POST \(path) HTTP/1.1\r\nHost: localhost\r\nContent-Length: \(size)\r\n\r\n ")
            slow.append(client)
        }
        let padding = String(repeating: " ", count: 70_000)
        let text = noun == "tasks" ? "[{\"repo\":\"r\"}\(padding)]" : "{\"repo\":\"r\"\(padding)}"
        try await eventually("it gets no turn", within: .seconds(30)) {
            let answer = try await world.ask(.POST, path, json: text)
            guard answer.status == 503 else { return false }
            answer.expectProblem(503, code: "Internal")
            #expect(answer.headers.first(name: "Retry-After") != nil)
            return true
        }
        let small = noun == "tasks" ? "[{\"repo\":\"r\"}]" : "{\"repo\":\"r\"}"
        #expect(try await world.ask(.POST, path, json: small).status == 201)
        #expect(try await world.ask(.GET, "/livez").status == 200)
        for client in slow { await client.close() }
        try await eventually("it gets its turn", within: .seconds(30)) {
            try await world.ask(.POST, path, json: text).status == 201
        }
        await world.stop()
    }

    @Test func theGateIsFairAndLosesNoRoom() async throws {
        let gate = Gate(10, patience: .seconds(60))
        #expect(await gate.enter(10))
        // A heavy one waits in front of a light one, and gives up.
        let heavy = Task { await gate.enter(10) }
        let lights = (0..<5).map { _ in Task { await gate.enter(2) } }
        heavy.cancel()
        #expect(await heavy.value == false)
        gate.leave(10)
        for light in lights { #expect(await light.value) }
        for _ in lights { gate.leave(2) }
        let impatient = Gate(1, patience: .milliseconds(20))
        #expect(await impatient.enter(1))
        #expect(await impatient.enter(1) == false)
        impatient.leave(1)
        #expect(await impatient.enter(1))
        await withTaskGroup(of: Void.self) { group in
            for weight in (1...10).flatMap({ Array(repeating: $0, count: 20) }) {
                group.addTask {
                    guard await gate.enter(weight) else { return }
                    await Task.yield()
                    gate.leave(weight)
                }
            }
        }
        #expect(await gate.enter(10), "all room is back")
    }
}
