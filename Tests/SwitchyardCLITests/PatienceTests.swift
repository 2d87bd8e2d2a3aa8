import Foundation
import Switchyard
import Testing

@testable import SwitchyardCLI

/// How long the command repeats what a server does not do.
@Suite struct PatienceTests {
    private static let stream =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nretry: 1000\n\n"

    /// Streams that end without `event: end`: at once, without a single event, and with the same event each time.
    @Test(arguments: [
        stream, stream + "id: 1-0\ndata: {\"attempt\":1,\"stream\":\"stdout\",\"data\":\"\"}\n\n",
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "",
    ])
    func followingALogIsBounded(_ response: String) async throws {
        let server = try CannedServer(response)
        defer { server.stop() }
        let logs = try Logs.parse(["t", "-f"])
        let api = try APIClient(server: "http://127.0.0.1:\(server.port)")
        let failure = await #expect(throws: Failure.self) {
            try await logs.following(api, "default", patience: Patience(limit: .seconds(1)))
        }
        #expect(failure?.status == .unavailable)
    }

    @Test func aSubmissionWaitsForAServerThatStartsAgain() async throws {
        let former = try CannedServer("")
        let port = former.port
        former.stop()
        let submitting = try await Tool.start(["submit", "--", "true"], server: "http://127.0.0.1:\(port)")
        _ = try await Tool.eventually("it says that it retries") {
            submitting.stderr.contains("retrying") ? true : nil
        }
        let dev = try await DevServer.start(["--ephemeral", "--workers", "0"], listen: "127.0.0.1:\(port)")
        #expect(try await submitting.end().exitCode == 0)
        let stats = try await dev.run(["stats", "-o", "json"]).json()
        #expect(stats["pending_tasks"]?.int == 1)
        #expect(try await dev.stop().exitCode == 0)
    }

    private static func response(_ status: String, _ body: String, _ headers: String = "") -> String {
        "HTTP/1.1 \(status)\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\(headers)\r\n\(body)"
    }

    /// The server may have accepted what it does not reply to: the same submission comes again.
    @Test(arguments: [
        "", response("502 Bad Gateway", "<html>"), response("503 Service Unavailable", "{}"),
        response("504 Gateway Timeout", ""), "HTTP/1.1 201 Cre",
    ])
    func aSubmissionWithoutAResponseIsRepeatedUnderTheSameKey(_ first: String) async throws {
        let good = Self.response("201 Created", #"{"task_id":"mine","status":"dispatched"}"#)
        let batch = Self.response("201 Created", #"{"batch_id":"mine","tasks":[]}"#)
        let all = [
            (["submit", "--id", "mine", "--", "true"], good), (["submit", "--", "true"], good),
            (["submit", "--file", "-"], batch),
        ]
        for (arguments, last) in first.isEmpty ? all : [all.randomElement() ?? all[0]] {
            let server = try CannedServer([first, last])
            defer { server.stop() }
            let end = try await Tool.run(arguments, server: server.url, input: "{\"repo\":\"r\"}\n")
            #expect(end.exitCode == 0, "\(end.stderr)")
            #expect(end.line == "mine")
            let keys = server.requests.map { $0.firstMatch(of: #/(?i)idempotency-key: (\S+)/#)?.1 }
            #expect(keys.count == 2 && keys[0] != nil && Set(keys).count == 1, "\(keys)")
            // The server reads once: a body that comes in a packet of its own is not seen.
            let bodies = Set(server.requests.compactMap { $0.components(separatedBy: "\r\n\r\n").last }).subtracting([
                ""
            ])
            #expect(bodies.count <= 1, "\(bodies)")
        }
    }

    /// The server knows better when it can be asked again.
    @Test func theCommandWaitsForAsLongAsTheServerAsks() async throws {
        let problem = #"{"code":"Internal","message":"Redis does not reply","retry_after":2}"#
        let away = Self.response("503 Service Unavailable", problem, "Retry-After: 2\r\n")
        let submitted = Self.response("201 Created", #"{"task_id":"t","status":"dispatched"}"#)
        let ended = Self.response("200 OK", #"{"task_id":"t","queue":"default","state":"completed","attempts":[]}"#)
        for (arguments, response) in [(["submit", "--", "true"], submitted), (["wait", "t"], ended)] {
            let server = try CannedServer([away, response])
            defer { server.stop() }
            let start = ContinuousClock.now
            let end = try await Tool.run(arguments, server: server.url)
            #expect(end.exitCode == 0 && server.requests.count == 2, "\(end.stderr)")
            #expect(ContinuousClock.now - start >= .seconds(2))
        }
    }

    /// What only reads, and cancelling, is repeated as a submission is.
    @Test func whatMayBeRepeatedIsRepeated() async throws {
        let away = Self.response("503 Service Unavailable", #"{"code":"Internal","message":"Redis does not reply"}"#)
        let task = Self.response("200 OK", #"{"task_id":"t","queue":"default","state":"cancelled","attempts":[]}"#)
        let list = Self.response("200 OK", #"{"tasks":[]}"#)
        let batch = Self.response("200 OK", #"{"batch_id":"b"}"#)
        for (arguments, response) in [
            (["get", "t"], task), (["list"], list), (["cancel", "t"], task), (["cancel", "--batch", "b"], batch),
            (["stats"], Self.response("200 OK", "{}")),
        ] {
            let server = try CannedServer([away, "", response])
            defer { server.stop() }
            let end = try await Tool.run(arguments, server: server.url)
            #expect(end.exitCode == 0 && server.requests.count == 3, "\(arguments): \(end.stderr)")
            #expect(end.stderr.contains("retrying"), "\(arguments): \(end.stderr)")
        }
        // What is not sent again: it might take effect twice.
        let server = try CannedServer([away, task])
        defer { server.stop() }
        #expect(try await Tool.run(["retry", "t"], server: server.url).exitCode == 69)
        #expect(server.requests.count == 1)
    }

    /// The first request took effect, and its response was lost.
    @Test func aTaskThatWasCancelledByALostRequestIsCancelled() async throws {
        let conflict = Self.response(
            "409 Conflict", #"{"code":"InvalidStateTransition","message":"task t is cancelled"}"#)
        for (state, code) in [("cancelled", Int32(0)), ("completed", 8)] {
            let task = Self.response(
                "200 OK", #"{"task_id":"t","queue":"default","state":"\#(state)","attempts":[]}"#)
            let server = try CannedServer(["", conflict, task])
            defer { server.stop() }
            let end = try await Tool.run(["cancel", "t"], server: server.url)
            #expect(end.exitCode == code, "\(end.stderr)")
        }
    }

    @Test func ctrlCNamesWhatWasBeingSubmitted() async throws {
        let away = Self.response("503 Service Unavailable", "{}", "Retry-After: 30\r\n")
        for (arguments, name) in [
            (["submit", "--id", "mine", "--", "true"], "task mine"),
            (["submit", "--file", "-", "--batch-id", "b1"], "batch b1"),
        ] {
            let server = try CannedServer(away)
            defer { server.stop() }
            let submitting = try await Tool.start(arguments, server: server.url, input: "{\"repo\":\"r\"}\n")
            _ = try await Tool.eventually("it says that it retries") {
                submitting.stderr.contains("retrying") ? true : nil
            }
            submitting.process.signalGroup(SIGINT)
            let end = try await submitting.end()
            #expect(end.exitCode == 130)
            #expect(end.stderr.contains(name), "\(end.stderr)")
        }
    }

    /// The server said that nothing was accepted, each time or not.
    @Test(arguments: [true, false]) func aRefusedSubmissionIsNotInDoubt(eachTime: Bool) async throws {
        let refusal = Self.response(
            "503 Service Unavailable", #"{"code":"Internal","message":"Redis refuses writes","applied":false}"#)
        let server = try CannedServer(eachTime ? [refusal] : ["", refusal])
        defer { server.stop() }
        let failure = await #expect(throws: Failure.self) {
            try await APIClient(server: server.url).submit(
                ["scheduler", "task"], body: .json("{}"), idempotencyKey: "k", name: "task t",
                patience: Patience(limit: .milliseconds(600)))
        }
        #expect(failure?.status == .unavailable)
        #expect(failure?.message?.contains("Nothing was submitted") == eachTime, "\(failure?.message ?? "")")
    }

    /// A stream that breaks off is resumed where it was; there is a server.
    @Test func aLogGoesOnAfterItsStreamBrokeOff() async throws {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        func chunk(_ text: String) -> String { String(text.utf8.count, radix: 16) + "\r\n\(text)\r\n" }
        let first = chunk("id: 1-0\ndata: {\"attempt\":1,\"stream\":\"stdout\",\"data\":\"one\"}\n\n")
        let rest =
            chunk("id: 2-0\ndata: {\"attempt\":1,\"stream\":\"stdout\",\"data\":\"two\"}\n\n")
            + chunk("event: end\ndata: {}\n\n") + "0\r\n\r\n"
        let away = Self.response("503 Service Unavailable", #"{"code":"Internal","message":"Redis does not reply"}"#)
        let server = try CannedServer([head + first, away, head + rest])
        defer { server.stop() }
        let end = try await Tool.run(["logs", "-f", "t"], server: server.url)
        #expect(end.exitCode == 0 && end.stdout == "onetwo", "\(end.stdout) \(end.stderr)")
        #expect(!end.stderr.contains("no server at") && end.stderr.contains("broke the stream off"), "\(end.stderr)")
        #expect(server.requests.last?.lowercased().contains("last-event-id: 1-0") == true)
    }

    @Test func aSubmissionThatMayBeAcceptedNamesItsID() async throws {
        let server = try CannedServer("")
        defer { server.stop() }
        let api = try APIClient(server: server.url)
        let failure = await #expect(throws: Failure.self) {
            try await api.submit(
                ["scheduler", "task"], body: .json("{}"), idempotencyKey: "k", name: "task t",
                patience: Patience(limit: .milliseconds(600)))
        }
        #expect(failure?.status == .unavailable)
        #expect(failure?.message?.contains("If it was, it is task t") == true, "\(failure?.message ?? "")")
    }

    /// The id that the command derives for a batch is that of the server.
    @Test(arguments: [nil, "other"]) func aBatchIsFoundUnderTheIDThatTheFailureNames(_ queue: String?) async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "0"])
        let api = try APIClient(server: dev.url)
        let file = try BatchFile(Data((queue.map { #"{"queue":"\#($0)","repo":"r"}"# } ?? #"{"repo":"r"}"#).utf8))
        #expect(file.queue == queue)
        let data = try await api.submit(
            ["scheduler", "tasks"], body: try file.body(batchID: nil), idempotencyKey: "k 1", name: "")
        let submitted = try APIClient.decode(BatchSubmissionView.self, data)
        #expect(submitted.batchId == IdempotencyKey.batchID("k 1", queue: queue ?? "default"))
        #expect(try await dev.stop().exitCode == 0)
    }

    @Test func aSilentStreamEnds() async throws {
        for silent in ["", Self.stream] {
            let server = try CannedServer([silent], isOpen: true)
            defer { server.stop() }
            var api = try APIClient(server: server.url)
            api.longestSilence = .milliseconds(400)
            let failure = await #expect(throws: Failure.self) {
                try await Logs.parse(["t", "-f"]).following(
                    api, "default", patience: Patience(limit: .milliseconds(500)))
            }
            #expect(failure?.status == .unavailable)
        }
        #expect(try APIClient(server: "http://h").longestSilence == .seconds(30))
    }

    /// A server that is not ours is not asked again.
    @Test(arguments: ["text/html", "application/json"]) func whatIsNoStreamIsNoLog(type: String) async throws {
        let server = try CannedServer(Self.response("200 OK", "<html>hello</html>", "Content-Type: \(type)\r\n"))
        defer { server.stop() }
        for arguments in [["logs", "-f", "t"], ["logs", "t"], ["get", "t"], ["list"]] {
            let end = try await Tool.run(arguments, server: server.url)
            #expect(end.exitCode == 1, "\(arguments): \(end.stderr)")
        }
        #expect(server.requests.count == 4)
    }

    /// A redirect would carry a submission to a server that nobody named.
    @Test(arguments: ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
    func noRedirectIsFollowed(status: String) async throws {
        let other = try CannedServer(Self.response("201 Created", #"{"task_id":"stolen"}"#))
        let server = try CannedServer(Self.response(status, "", "Location: \(other.url)/x\r\n"))
        defer {
            server.stop()
            other.stop()
        }
        for arguments in [["submit", "--", "secret"], ["get", "t"], ["logs", "-f", "t"], ["cancel", "t"]] {
            let end = try await Tool.run(arguments, server: server.url)
            #expect(end.exitCode == 1, "\(arguments): \(end.stderr)")
            #expect(end.stderr.contains(other.url), "\(end.stderr)")
        }
        #expect(other.requests.isEmpty)
    }

    /// Control characters of a server reach no terminal.
    @Test func whatAServerSaysIsMadeSafe() async throws {
        let evil = #"\u001b]0;x\u0007\u202e\r\nswitchyard: forged"#
        for (arguments, status, body) in [
            (["submit", "--", "true"], "201 Created", #"{"task_id":"t\#(evil)","status":"\#(evil)"}"#),
            (["get", "t"], "404 Not Found", #"{"code":"TaskNotFound","message":"\#(evil)"}"#),
            (["cancel", "t"], "200 OK", #"{"task_id":"t\#(evil)","state":"s\#(evil)"}"#),
            (["explain", "t"], "200 OK", #"{"task_id":"\#(evil)","state":"\#(evil)","reasons":[]}"#),
            (["get", "t", "-o", "json"], "200 OK", "{\"a\":\"\u{9B}2J\u{202E}\"}"),
        ] {
            let server = try CannedServer(Self.response(status, body))
            defer { server.stop() }
            let end = try await Tool.run(arguments, server: server.url)
            let unsafe = (end.stdout + end.stderr).unicodeScalars.filter { TerminalText.isUnsafe($0) && $0 != "\n" }
            #expect(unsafe.isEmpty, "\(arguments): \(unsafe)")
            #expect(!end.stdout.contains("\nswitchyard: forged"), "\(arguments): \(end.stdout)")
        }
    }

    @Test func anotherErrorIsNotRepeated() async throws {
        var patience = Patience(limit: .seconds(1))
        let start = ContinuousClock.now
        await #expect(throws: Failure.self) { try await patience.wait(after: Failure(.notFound)) }
        #expect(ContinuousClock.now - start < .milliseconds(400))
    }
}
