import Foundation
import Testing

@testable import RedisClient

@Suite(.timeLimit(.minutes(1))) struct LoginTests {
    @Test func aWrongPasswordIsATypedErrorAndIsNotTriedAgain() async throws {
        try await TestRedis.run(options: ["--requirepass", "right"]) { server, _ in
            let right = RedisClient(try RedisConfiguration(url: server.url + "?password=right"))
            #expect(try await right.send(RedisCommand("PING")).string == "PONG")
            let wrong = RedisClient(try RedisConfiguration(url: server.url + "?password=wrong"))
            let refused = try await redisError { _ = try await wrong.send(RedisCommand("PING")) }
            #expect(refused?.kind == .server)
            #expect(refused?.code == "WRONGPASS")
            #expect(refused?.description.contains(server.socket) == true)
            let none = RedisClient(try RedisConfiguration(url: server.url))
            #expect(try await redisError { _ = try await none.send(RedisCommand("PING")) }?.code == "NOAUTH")
            let stats = try await right.send(RedisCommand("INFO", "stats")).string ?? ""
            // One connection of TestRedis's probe, and one for each of the three calls above.
            #expect(stats.contains("total_connections_received:4\r"))
            for client in [right, wrong, none] { await client.shutdown() }
        }
    }

    @Test func aUserOfTheAccessListLogsInWithNameAndPassword() async throws {
        try await TestRedis.run { server, redis in
            _ = try await redis.send(
                RedisCommand("ACL", "SETUSER", "worker", "on", ">p@ss:w/rd", "~*", "+@all", "-client|setname"))
            let worker = RedisClient(try RedisConfiguration(url: server.url + "?user=worker&password=p%40ss%3Aw%2Frd"))
            #expect(try await worker.send(RedisCommand("ACL", "WHOAMI")).string == "worker")
            await worker.shutdown()
        }
    }

    @Test(arguments: ["", "hidden-client"])
    func aServerWithoutTheCommandClientIsUsedAllTheSame(name: String) async throws {
        try await TestRedis.run(options: ["--rename-command", "CLIENT", name]) { _, redis in
            #expect(try await redis.send(RedisCommand("ECHO", "x")).string == "x")
            let subscription = try await redis.subscribe(to: ["news"])
            _ = try await redis.send(RedisCommand("PUBLISH", "news", "hello"))
            var events = subscription.makeAsyncIterator()
            #expect(await events.next() == .message(channel: "news", payload: .init(string: "hello")))
        }
        // A missing password is still told.
        try await TestRedis.run(options: ["--rename-command", "CLIENT", name, "--requirepass", "x"]) { _, redis in
            let refused = try await redisError { _ = try await redis.send(RedisCommand("GET", "a")) }
            #expect(refused?.code == "NOAUTH")
        }
    }

    @Test func tcpWorks() async throws {
        let port = try TestRedis.freePort()
        try await TestRedis.run(port: port, url: "redis://localhost:\(port)/2") { _, redis in
            let info = try await redis.send(RedisCommand("CLIENT", "INFO")).string ?? ""
            #expect(info.contains("db=2"))
        }
    }

    @Test func tlsIsVerifiedAgainstTheGivenAuthority() async throws {
        let certificates = try Certificates()
        defer { certificates.remove() }
        let port = try TestRedis.freePort()
        let options = [
            "--tls-port", "\(port)", "--tls-cert-file", certificates.certificate, "--tls-key-file", certificates.key,
            "--tls-ca-cert-file", certificates.certificate, "--tls-auth-clients", "no",
        ]
        let url = "rediss://localhost:\(port)?cafile=\(certificates.certificate)"
        try await TestRedis.run(options: options, url: url) { _, redis in
            #expect(try await redis.send(RedisCommand("PING")).string == "PONG")
            let large = String(repeating: "x", count: 1_000_000)
            #expect(try await redis.send(RedisCommand("ECHO", .string(large))).string == large)

            let unverified = RedisClient(try RedisConfiguration(url: "rediss://127.0.0.1:\(port)?insecure=1"))
            #expect(try await unverified.send(RedisCommand("PING")).string == "PONG")
            let strict = RedisClient(try RedisConfiguration(url: "rediss://localhost:\(port)"))
            let untrusted = try await redisError { _ = try await strict.send(RedisCommand("PING")) }
            #expect(untrusted?.kind == .connectionFailed)
            #expect(untrusted?.message.contains("CERTIFICATE_VERIFY_FAILED") == true)
            let lost = RedisClient(try RedisConfiguration(url: "rediss://localhost:\(port)?cafile=/no/such.pem"))
            let noFile = try await redisError { _ = try await lost.send(RedisCommand("PING")) }
            #expect(noFile?.kind == .invalidConfiguration)
            #expect(noFile?.message.contains("/no/such.pem") == true)
            for client in [unverified, strict, lost] { await client.shutdown() }
        }
    }
}

/// A self-signed certificate for localhost, made by openssl, in its own directory.
private struct Certificates {
    let directory = "/tmp/rct-tls-" + UUID().uuidString.prefix(8)
    var certificate: String { directory + "/cert.pem" }
    var key: String { directory + "/key.pem" }

    init() throws {
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let openssl = Process()
        openssl.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        openssl.arguments = [
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate,
        ]
        openssl.standardError = FileHandle(forWritingAtPath: "/dev/null")
        try openssl.run()
        openssl.waitUntilExit()
    }

    func remove() {
        try? FileManager.default.removeItem(atPath: directory)
    }
}
