import Switchyard
import Testing

@testable import SwitchyardHTTP

/// A page whose name was bound to 127.0.0.1 after it was loaded reaches the server under its own name.
@Suite struct HostTests {
    @Test(arguments: [
        ("localhost", true), ("LOCALHOST:8080", true), ("127.0.0.1", true), ("127.0.0.1:8080", true),
        ("10.1.2.3:80", true),
        ("[::1]:8080", true), ("[::1]", true), ("farm.example", true), ("Farm.Example:443", true),
        ("farm.example.", true),
        ("evil.example", false), ("evil.example:8080", false), ("127.0.0.1.evil.example", false), ("1.2.3", false),
        ("256.1.1.1", false), ("localhost.evil.example", false), ("xfarm.example", false), ("", false),
        ("127.0.0.1:80@evil.example", false), ("[::1]evil.example", false), ("evil.example:", false),
    ])
    func onlyNamesThatAreOursAreServed(host: String, isAllowed: Bool) {
        let hosts = HostMiddleware(listeningHost: "127.0.0.1", allowed: ["farm.example"])
        #expect(hosts.isAllowed(host) == isAllowed)
        #expect(HostMiddleware(listeningHost: "0.0.0.0", allowed: ["*"]).isAllowed(host))
    }

    @Test(arguments: ["evil.example", "evil.example:8080"])
    func aRequestUnderAnotherNameChangesNothing(host: String) async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        for origin in ["http://\(host)", nil] {
            let headers = [("Host", host)] + (origin.map { [("Origin", $0)] } ?? [])
            try await world.ask(
                .POST, "/scheduler/task?queue=\(queue)", json: #"{"command":["touch","/tmp/x"]}"#, headers: headers
            ).expectProblem(403, code: "Forbidden", field: "Host")
        }
        try await world.ask(.GET, "/scheduler/tasks?queue=\(queue)", headers: [("Host", host)])
            .expectProblem(403, code: "Forbidden", field: "Host")
        #expect(try await world.redis.keys(of: queue).isEmpty)
    }
}
