import Foundation
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

    @Test func anotherErrorIsNotRepeated() async throws {
        var patience = Patience(limit: .seconds(1))
        let start = ContinuousClock.now
        await #expect(throws: Failure.self) { try await patience.wait(after: Failure(.notFound)) }
        #expect(ContinuousClock.now - start < .milliseconds(400))
    }
}
