import Foundation
import RedisClient
import Testing

@testable import SwitchyardHTTP

/// Requests that no honest client sends. Each gets one refusal or a closed connection, nothing that is hidden in it is
/// served, and the server goes on.
@Suite("Raw requests", .serialized) struct RawRequestTests {
    private static let hidden = "GET /metrics?hidden=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"

    private static func post(_ headers: String, _ body: String = "") -> String {
        "POST /scheduler/task HTTP/1.1\r\nHost: localhost\r\n\(headers)\r\n\r\n\(body)"
    }

    /// Requests whose end two servers could see in different places.
    static let smuggled: [String] = [
        post("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n" + hidden),
        post("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n" + hidden),
        post("Content-Length: 2\r\nContent-Length: 60", "{}" + hidden),
        post("Content-Length: 2, 60", "{}" + hidden), post("Content-Length: +2", "{}" + hidden),
        post("Content-Length: -2", "{}" + hidden), post("Content-Length: 0x2", "{}" + hidden),
        post("Content-Length: 2 2", "{}" + hidden), post("Content-Length: 99999999999999999999", "{}" + hidden),
        post("Content-Length: 18446744073709551618", "{}" + hidden), post("Content-Length : 2", "{}" + hidden),
        post("Transfer-Encoding: chunked, identity", "2\r\n{}\r\n0\r\n\r\n" + hidden),
        post("Transfer-Encoding: xchunked", "2\r\n{}\r\n0\r\n\r\n" + hidden),
        post("Transfer-Encoding : chunked", "2\r\n{}\r\n0\r\n\r\n" + hidden),
        post("Transfer-Encoding: \u{0B}chunked", "2\r\n{}\r\n0\r\n\r\n" + hidden),
        post("Transfer-Encoding: chunked", "-1\r\n" + hidden), post("Transfer-Encoding: chunked", "zz\r\n" + hidden),
        post("Transfer-Encoding: chunked", "FFFFFFFFFFFFFFFFF\r\n" + hidden),
        post("Transfer-Encoding: chunked", "2\r\n{}0\r\n\r\n" + hidden),
        post("Transfer-Encoding: chunked", "2 x\r\n{}\r\n0\r\n\r\n" + hidden),
    ]

    @Test(arguments: smuggled) func whatAnAmbiguousRequestHidesIsNotServed(request: String) async throws {
        let world = try await World.shared
        let client = try await RawClient(world)
        try await client.send(request)
        try await eventually("a response, or the end", within: .seconds(30)) {
            client.isClosed || client.text.contains("\r\n\r\n")
        }
        // Whatever follows on this connection is not served. The server may have closed it.
        try? await client.send(Self.hidden)
        try? await client.closeOutput()
        try await eventually("the end", within: .seconds(40)) { client.isClosed }
        #expect(!client.text.contains("hidden"), "\(client.text.prefix(400))")
        #expect(client.text.components(separatedBy: "HTTP/1.1 ").count <= 2, "\(client.text.prefix(800))")
        #expect(!client.text.hasPrefix("HTTP/1.1 2"), "\(client.text.prefix(200))")
        await client.close()
        #expect(try await world.ask(.GET, "/livez").status == 200)
    }

    static let malformed: [String] = [
        "\r\n\r\n\r\n\r\n", "GET\r\n\r\n", "GET /livez\r\n\r\n", "GET  /livez HTTP/1.1\r\n\r\n",
        "\u{0}\u{1}\u{2}\r\n\r\n",
        "GET /livez HTTP/9.9\r\nHost: localhost\r\n\r\n", "GET /livez HTTP/1.1\r\nHost: localhost\r\nX\u{0}: y\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\n: y\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /livez HTTP/1.1\r\n folded: x\r\nHost: localhost\r\n\r\n",
        "G\u{0}T /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\u{0}\r\n\r\n",
        "GET http://evil.example/livez HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET /livez HTTP/1.1\r\n\r\n", "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nExpect: nonsense\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: localhost\r\n" + String(repeating: "X: y\r\n", count: 20_000) + "\r\n",
        "GET /" + String(repeating: "a", count: 200_000) + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ]

    @Test(arguments: malformed) func whatIsNoRequestEndsWithAResponseOrTheConnection(request: String) async throws {
        let world = try await World.shared
        let client = try await RawClient(world)
        // The server may close the connection while the request is sent.
        try? await client.send(request)
        try? await client.closeOutput()
        try await eventually("a response, or the end", within: .seconds(40)) {
            client.isClosed || client.text.contains("\r\n\r\n")
        }
        let text = client.text
        #expect(text.isEmpty || text.hasPrefix("HTTP/1."), "\(text.prefix(100))")
        #expect(!text.hasPrefix("HTTP/1.1 5"), "\(text.prefix(400))")
        await client.close()
        #expect(try await world.ask(.GET, "/livez").status == 200)
    }

    /// Paths of every route that names something, with a name that is none.
    static let names = [
        "%00", "a%00b", "%2F", "%2f%2e%2e%2f", "%ff%fe", "%c3%28", "%", "%zz", "a%0d%0aX:%20y", "%e2%80%ae", "{}",
        "a;b", "a,b", "*", "~", "$(id)", "%252e", String(repeating: "a", count: 201),
        String(repeating: "%61", count: 5000), "+", "%20", "%7B%7D",
    ]

    @Test func aNameThatIsNoneIsRefusedByEveryRoute() async throws {
        let world = try await World.shared
        let before = try await world.redis.client.send(RedisCommand("DBSIZE")).int
        for (index, route) in world.routes.enumerated() {
            let parts = route.split(separator: " ").map(String.init)
            guard parts[1].contains(":") else { continue }
            // Each route gets a third of the names.
            for name in Self.names.enumerated().filter({ ($0.offset + index) % 3 == 0 }).map(\.element) {
                let path = parts[1].split(separator: "/").map { $0.hasPrefix(":") ? name : String($0) }
                let client = try await RawClient(world)
                try await client.send(
                    "\(parts[0]) /\(path.joined(separator: "/"))?confirm=\(name) HTTP/1.1\r\nHost: localhost\r\n"
                        + "Content-Length: 2\r\nConnection: close\r\n\r\n{}")
                try await eventually("a response to \(route) \(name)", within: .seconds(30)) { client.isClosed }
                #expect(client.text.hasPrefix("HTTP/1.1 4"), "\(route) \(name): \(client.text.prefix(300))")
                #expect(!client.text.contains("\r\nX: y"))
                await client.close()
            }
        }
        // Keys of other tests may have expired.
        let after = try await world.redis.client.send(RedisCommand("DBSIZE")).int
        #expect((after ?? .max) <= (before ?? 0))
    }

    @Test(arguments: [
        "queue=a&queue=b", "queue=a&queue=a", "queue=%00", "queue=%ff", "queue=a%0a", "limit=1&limit=2",
        "limit=9223372036854775808", "limit=-9223372036854775808", "limit=1e3", "limit=%31%00", "cursor=%00",
        "cursor=" + String(repeating: "x", count: 50_000), "cursor=pending~9~%00", "&&&=&=&queue", "=", "limit",
    ])
    func anOddQueryIsRefused(query: String) async throws {
        let world = try await World.shared
        for path in ["/scheduler/tasks", "/scheduler/workers", "/scheduler/stats", "/scheduler/autoscale"] {
            let client = try await RawClient(world)
            try await client.send("GET \(path)?\(query) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            try await eventually("a response", within: .seconds(30)) { client.isClosed }
            #expect(client.text.hasPrefix("HTTP/1.1 4"), "\(path): \(client.text.prefix(300))")
            await client.close()
        }
    }
}
