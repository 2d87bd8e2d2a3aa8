import Foundation
import Testing

/// Clients that ask whether to send their body. Varied: how often on a connection, the spelling, a body that comes
/// without waiting, an old client, a request that follows too early.
@Suite("Expect: 100-continue", .serialized) struct ContinueTests {
    private static let interim = "HTTP/1.1 100 Continue\r\n\r\n"

    private static func head(_ expect: String, id: String, version: String = "1.1") -> (head: String, body: String) {
        let body = #"{"id":"\#(id)","payload":"x"}"#
        let head = "POST /scheduler/task HTTP/\(version)\r\nHost: localhost\r\n\(expect)\r\n"
        return (head + "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n", body)
    }

    @Test func theClientIsToldToGoOn() async throws {
        let client = try await RawClient(World.shared)
        for (index, expect) in ["Expect: 100-continue", "expect:100-Continue", "EXPECT: 100-continue"].enumerated() {
            let request = Self.head(expect, id: "continue-\(index)")
            try await client.send(request.head)
            try await eventually("an interim response", within: .seconds(30)) {
                client.text.components(separatedBy: Self.interim).count == index + 2
            }
            try await client.send(request.body)
            try await eventually("the response", within: .seconds(30)) {
                client.text.components(separatedBy: "HTTP/1.1 20").count == index + 2
                    && client.text.contains("continue-\(index)")
            }
        }
        await client.close()
    }

    @Test(arguments: [
        (head("X-Nothing: 1", id: "continue-none"), "HTTP/1.1 "),
        (head("Expect: 100-continue", id: "continue-old", version: "1.0"), "HTTP/1.0 "),
        (head("Expect: something", id: "continue-other"), "HTTP/1.1 "),
    ])
    func nobodyElseIs(request: (head: String, body: String), version: String) async throws {
        let client = try await RawClient(World.shared)
        try await client.send(request.head + request.body)
        try await eventually("the response", within: .seconds(30)) { client.text.contains("continue-") }
        #expect(client.text.hasPrefix(version + "20"), "\(client.text.prefix(100))")
        #expect(!client.text.contains(Self.interim))
        await client.close()
    }

    /// An interim response before the response to the first request would be taken for that request's.
    @Test func aRequestThatComesTooEarlyGetsNone() async throws {
        let client = try await RawClient(World.shared)
        let first = Self.head("X-Nothing: 1", id: "continue-first")
        let second = Self.head("Expect: 100-continue", id: "continue-second")
        try await client.send(first.head + first.body + second.head + second.body)
        try await eventually("both responses", within: .seconds(30)) { client.text.contains("continue-second\"") }
        #expect(client.text.hasPrefix("HTTP/1.1 20"), "\(client.text)")
        #expect(client.text.contains("continue-first\""), "\(client.text)")
        await client.close()
    }
}
