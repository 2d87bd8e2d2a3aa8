import NIOCore
import RedisClient
import SwitchyardTesting
import Testing

/// What a client does when the primary behind its sentinels changes or goes away.
@Suite(.timeLimit(.minutes(5))) struct SentinelClientTests {
    private static let limit: Duration = .seconds(30)

    /// Writes a value through the client, again until it succeeds. Returns the port of the server that has it.
    @discardableResult
    private func write(_ value: String, _ client: RedisClient) async throws -> Int {
        var port = 0
        let isWritten = try await eventually(within: Self.limit, every: .milliseconds(10)) {
            do {
                _ = try await client.send(RedisCommand("SET", "value", .string(value)))
                let text = try await client.send(RedisCommand("INFO", "server")).string ?? ""
                let line = text.split(whereSeparator: \.isNewline).first { $0.hasPrefix("tcp_port:") }
                port = line.flatMap { Int($0.dropFirst("tcp_port:".count)) } ?? 0
                return true
            } catch let error as RedisError {
                // While no server is the primary.
                #expect([.connectionClosed, .connectionFailed, .deadlineExceeded].contains(error.kind), "\(error)")
                return false
            }
        }
        #expect(isWritten)
        return port
    }

    /// Kinds of planned and other ends of a primary.
    enum Change: CaseIterable {
        case planned, killed, paused

        /// Makes another server the primary. Returns its index.
        func make(_ farm: SentinelFarm, _ former: Int) async throws -> Int {
            switch self {
            case .planned: return try await farm.failover()
            case .killed: await farm.servers[former].kill()
            case .paused: farm.servers[former].pause()
            }
            return try await farm.waitForFailover(from: former)
        }
    }

    @Test(arguments: Change.allCases) func allConnectionsMoveToTheNewPrimary(change: Change) async throws {
        try await SentinelFarm.run { farm in
            let client = try farm.makeClient()
            #expect(try await write("1", client) == farm.servers[0].port)
            let subscription = try await client.subscribe(to: ["news"])
            // A pop blocks meanwhile. It may fail with its connection, and then it is repeated.
            async let popped = pop(client)
            var former = 0
            // Two in a row, because each of them may leave something behind that the next one needs.
            for round in 2...3 {
                let began = ContinuousClock.now
                let primary = try await change.make(farm, former)
                let elected = ContinuousClock.now
                #expect(try await write("\(round)", client) == farm.servers[primary].port)
                print("\(change): elected after \(elected - began), written \(ContinuousClock.now - elected) later")
                #expect(try await farm.servers[primary].send("GET", "value").string == "\(round)")
                switch change {
                case .planned: break
                case .killed: try await farm.servers[former].start()
                case .paused: farm.servers[former].resume()
                }
                // The former primary takes writes for some seconds; nobody goes back to it.
                for _ in 0..<20 { #expect(try await write("\(round)", client) == farm.servers[primary].port) }
                let clients = try await farm.servers[former].send("CLIENT", "LIST").string ?? ""
                #expect(!clients.contains("name=redis-client"))
                try await farm.waitForReplicas(1)
                former = primary
            }
            var events = subscription.makeAsyncIterator()
            #expect(await events.next() == .resubscribed)
            // Published again, because the subscription may not have moved yet.
            async let published: Void = publish(client)
            var next = await events.next()
            while next == .resubscribed { next = await events.next() }
            #expect(next == .message(channel: "news", payload: ByteBuffer(string: "hello")))
            subscription.cancel()
            try await published
            _ = try await client.send(RedisCommand("LPUSH", "list", "x"))
            #expect(try await popped == "x")
            await client.shutdown()
        }
    }

    /// Publishes until somebody receives it.
    private func publish(_ client: RedisClient) async throws {
        let isReceived = try await eventually(within: Self.limit, every: .milliseconds(20)) {
            try await client.send(RedisCommand("PUBLISH", "news", "hello")).int ?? 0 > 0
        }
        #expect(isReceived)
    }

    /// Pops from a list until there is something, over lost connections.
    private func pop(_ client: RedisClient) async throws -> String? {
        let end = ContinuousClock.now + .seconds(90)
        while ContinuousClock.now < end {
            do {
                let reply = try await client.sendBlocking(
                    RedisCommand("BLPOP", "list", "20"), timeout: .seconds(20))
                if let value = reply.array?.last?.string { return value }
            } catch let error as RedisError {
                #expect(error.kind != .invalidConfiguration, "\(error)")
                try await Task.sleep(for: .milliseconds(20))
            }
        }
        return nil
    }

    @Test func withoutItsSentinelsAClientGoesOnWithThePrimaryOfBefore() async throws {
        try await SentinelFarm.run { farm in
            let client = try farm.makeClient()
            let primary = try await write("1", client)
            await farm.sentinels[0].kill()
            #expect(try await write("2", client) == primary)
            // Two of three sentinels can still elect another primary.
            let next = try await farm.failover()
            #expect(try await write("3", client) == farm.servers[next].port)

            for sentinel in farm.sentinels { await sentinel.kill() }
            #expect(try await write("4", client) == farm.servers[next].port)
            // Also on a new connection.
            let reply = try await client.sendBlocking(RedisCommand("BLPOP", "none", "0.01"), timeout: .seconds(1))
            #expect(reply.isNull)
            // A client that never spoke to a sentinel knows no primary.
            let late = try farm.makeClient("timeout=1")
            let error = try await failure { _ = try await late.send(RedisCommand("PING")) }
            for sentinel in farm.sentinels {
                #expect(error?.message.contains("127.0.0.1:\(sentinel.port)") == true, "\(error?.message ?? "nothing")")
            }
            #expect(error?.message.contains("whether they run") == true)
            for sentinel in farm.sentinels { try await sentinel.start() }
            // The first sentinel has not heard of the failover, and is believed while it is the only one that replies.
            let isFound = try await eventually(within: Self.limit, every: .milliseconds(50)) {
                try await write("5", late) == farm.servers[next].port
            }
            #expect(isFound)
            for client in [client, late] { await client.shutdown() }
        }
    }

    @Test func aWrongNameOrLoginIsToldAtOnceWithWhatToDo() async throws {
        var options = SentinelFarm.Options()
        options.password = "data"
        options.sentinelPassword = "watch"
        options.tls = true
        try await SentinelFarm.run(options) { farm in
            let client = try farm.makeClient()
            #expect(try await write("1", client) == farm.servers[0].port)
            let name = "/\(SentinelFarm.name)?"
            for (url, words) in [
                (
                    farm.url.replacing(name, with: "/jobs?"),
                    ["\"jobs\"", "no primary of this name", "SENTINEL MASTERS"]
                ),
                (farm.url.replacing("=watch", with: "=wrong"), ["WRONGPASS", "sentinel_password"]),
                (farm.url.replacing("sentinel_password=watch&", with: ""), ["NOAUTH", "sentinel_password"]),
                (farm.url.replacing(":data@", with: ""), ["NOAUTH", "127.0.0.1:\(farm.servers[0].port)"]),
            ] {
                let wrong = RedisClient(try RedisConfiguration(url: url))
                let error = try await failure { _ = try await wrong.send(RedisCommand("PING")) }
                for word in words {
                    #expect(error?.description.contains(word) == true, "\(word) not in \(error?.message ?? "nothing")")
                }
                #expect(error?.description.contains("watch") != true)
                await wrong.shutdown()
            }
            let next = try await farm.failover()
            #expect(try await write("2", client) == farm.servers[next].port)
            await client.shutdown()
        }
    }

    @Test func aServerThatIsNoSentinelIsToldApart() async throws {
        try await SentinelFarm.run { farm in
            let url = "redis-sentinel://127.0.0.1:\(farm.servers[0].port)/tasks"
            let wrong = RedisClient(try RedisConfiguration(url: url))
            let error = try await failure { _ = try await wrong.send(RedisCommand("PING")) }
            #expect(error?.message.contains("not of Redis servers") == true, "\(error?.message ?? "nothing")")
            await wrong.shutdown()
            // A login without ROLE and INFO still works.
            for server in farm.servers {
                try await server.send(
                    "ACL", "SETUSER", "worker", "on", ">secret", "~*", "&*", "+@all", "-role", "-info", "-client")
            }
            let hosts = farm.url.replacing("redis-sentinel://", with: "redis-sentinel://worker:secret@")
            let client = RedisClient(try RedisConfiguration(url: hosts))
            #expect(try await client.send(RedisCommand("PING")).string == "PONG")
            await client.shutdown()
        }
    }

    @Test func aRedisReplicaIsNotTakenForThePrimary() async throws {
        try await SentinelFarm.run { farm in
            // The primary becomes a Redis replica for a moment, of which the sentinels take no notice.
            let client = try farm.makeClient()
            try await write("1", client)
            try await farm.servers[0].send("REPLICAOF", "127.0.0.1", "1")
            async let written = write("2", client)
            try await Task.sleep(for: .milliseconds(300))
            try await farm.servers[0].send("REPLICAOF", "NO", "ONE")
            #expect(try await written == farm.servers[0].port)
            await client.shutdown()

            // Sentinels that name a Redis replica, as they do before they notice that a primary was demoted.
            for sentinel in farm.sentinels {
                let port = RedisArgument.integer(Int64(farm.servers[1].port))
                try await sentinel.send("SENTINEL", "MONITOR", "other", "127.0.0.1", port, "2")
            }
            let other = farm.url.replacing("/\(SentinelFarm.name)", with: "/other?timeout=1")
            let wrong = RedisClient(try RedisConfiguration(url: other))
            let error = try await failure { _ = try await wrong.send(RedisCommand("PING")) }
            #expect(error?.message.contains("but it is a Redis replica") == true, "\(error?.message ?? "nothing")")
            await wrong.shutdown()
        }
    }

    private func failure(_ body: () async throws -> Void) async throws -> RedisError? {
        do {
            try await body()
            return nil
        } catch let error as RedisError {
            return error
        }
    }
}
