import ChildProcess
import Foundation
import RedisClient
import Testing

@testable import SwitchyardCLI

/// Many clients at once, some of which do as they like.
@Suite(.serialized) struct CrowdTests {
    enum Kind: Sendable {
        /// Waits for a task.
        case waiting
        /// Connects and sends nothing.
        case silent
    }

    struct Crowd: Sendable {
        var limits: [String]
        var clients: Int
        var kind: Kind
    }

    private func port(_ dev: DevServer) throws -> Int {
        try #require(dev.url.split(separator: ":").last.flatMap { Int($0) })
    }

    private func task(_ dev: DevServer) async throws -> String {
        try await dev.run(["submit", "--require", "nobody", "--", "true"]).line
    }

    @Test(arguments: [
        Crowd(limits: ["-n 256"], clients: 100, kind: .waiting),
        Crowd(limits: ["-n 256"], clients: 600, kind: .waiting),
        Crowd(limits: ["-n 256"], clients: 600, kind: .silent),
        Crowd(limits: ["-n 1024"], clients: 1100, kind: .waiting),
    ])
    func aServerOutlivesMoreClientsThanItMayOpenFiles(_ crowd: Crowd) async throws {
        OpenFiles.raiseLimit()
        let dev = try await DevServer.start(["--ephemeral", "--workers", "1"], limits: crowd.limits)
        let port = try port(dev)
        let id = try await task(dev)
        // They come, leave, and come again.
        for _ in 0..<2 {
            let peers = try (0..<crowd.clients).map { _ in try Peer(port: port) }
            if crowd.kind == .waiting { for peer in peers { peer.ask("GET", "/scheduler/task/\(id)?wait=60") } }
            for probe in ["/livez", "/readyz", "/livez"] {
                let response = try Peer.get(probe, port: port)
                #expect(response?.hasPrefix("HTTP/1.1 200") == true, "\(probe): \(response ?? "nothing")")
            }
            #expect(Tool.isAlive(dev.running.process.processID))
            if crowd.clients > 256 {
                let refused = try await Tool.eventually("503 for some") {
                    peers.compactMap { $0.receive() }.first { $0.hasPrefix("HTTP/1.1 503") }
                }
                #expect(refused.contains("Retry-After: ") && refused.contains("application/problem+json"))
            }
            _ = consume peers
            _ = try await Tool.eventually("there is room again", within: .seconds(10)) {
                try Peer.get("/scheduler/stats", port: port)?.hasPrefix("HTTP/1.1 200") == true ? true : nil
            }
        }
        #expect(try await dev.stop().exitCode == 0)
    }

    @Test func theSoftLimitIsRaisedExceptForTheCommandsOfTasks() async throws {
        let dev = try await DevServer.start(["--ephemeral", "--workers", "1"], limits: ["-Sn 200", "-Hn 2000"])
        func limits(of process: Int32) throws -> String {
            let text = try String(contentsOfFile: "/proc/\(process)/limits", encoding: .utf8)
            let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("Max open files") })
            return line.split(separator: " ").dropFirst(3).prefix(2).joined(separator: " ")
        }
        #expect(try limits(of: dev.running.process.processID) == "2000 2000")
        let worker = try await Tool.eventually("the worker") { try await dev.workers()["dev-1"] }
        #expect(try limits(of: worker) == "2000 2000")
        let id = try await dev.run(["submit", "--wait", "--", "sh", "-c", "ulimit -n"]).line
        #expect(try await dev.run(["logs", id]).line == "200")
        #expect(try await dev.stop().exitCode == 0)
    }

    /// Commands that Redis has carried out, those inside functions too.
    private func commands(_ client: RedisClient) async throws -> Double {
        let text = try await client.send(RedisCommand("INFO", "commandstats")).string ?? ""
        return text.matches(of: #/:calls=(\d+)/#).reduce(0) { $0 + (Double($1.1) ?? 0) }
    }

    /// The first of several measurements that is at most `enough`, or else the lowest: the reconciler works every ten
    /// seconds, in a burst, and on a busy machine the replica takes a while to hear of all who came or left.
    private func commandsInASecond(_ client: RedisClient, enough: Double = 50) async throws -> Double {
        let time = 2.0
        var lowest = Double.infinity
        for _ in 0..<15 where lowest > enough {
            let before = try await commands(client)
            try await Task.sleep(for: .seconds(time))
            lowest = min(lowest, (try await commands(client) - before) / time)
        }
        return lowest
    }

    @Test func waitersCostRedisAlmostNothing() async throws {
        OpenFiles.raiseLimit()
        let dev = try await DevServer.start(["--ephemeral", "--workers", "0"])
        let port = try port(dev)
        let socket = try #require(dev.running.stdout.firstMatch(of: #/redis-cli -s (\S+)/#)?.1)
        let client = RedisClient(RedisConfiguration(endpoint: .unixSocket(path: String(socket))))
        let most = 50.0

        #expect(try await dev.run(["queue", "set", "max_queue_length=3000"]).exitCode == 0)
        let line = #"{"command":["true"]}"# + "\n"
        let batch = try await dev.run(["submit", "--file", "-"], input: String(repeating: line, count: 2000)).line
        let listed = try await dev.run(["list", "--batch", batch, "--limit", "2000", "-o", "json"]).json()
        let ids = (listed["tasks"]?.array ?? []).compactMap { $0["task_id"]?.plainText }
        #expect(ids.count == 2000)
        let idle = try await commandsInASecond(client)

        // Clients that give up after a second.
        var peers = try (0..<500).map { _ in try Peer(port: port) }
        for peer in peers { peer.ask("GET", "/scheduler/task/\(ids[0])?wait=60") }
        try await Task.sleep(for: .seconds(1))
        peers = []
        try await Task.sleep(for: .seconds(1))
        #expect(try await commandsInASecond(client, enough: idle + most) <= idle + most)

        // One task, many tasks, and logs.
        for paths in [
            Array(repeating: "/scheduler/task/\(ids[0])?wait=60", count: 2000),
            ids.map { "/scheduler/task/\($0)?wait=60" },
            Array(repeating: "/scheduler/task/\(ids[0])/log?follow=1", count: 100),
        ] {
            peers = try paths.map { path in
                let peer = try Peer(port: port)
                peer.ask("GET", path)
                return peer
            }
            try await Task.sleep(for: .seconds(3))
            let busy = try await commandsInASecond(client, enough: idle + most)
            #expect(busy <= idle + most, "\(idle) before: \(paths[0]), \(paths[1])")
            #expect(try Peer.get("/livez", port: port)?.hasPrefix("HTTP/1.1 200") == true)
            peers = []
        }

        // One change reaches all who wait for it.
        peers = try (0..<300).map { _ in try Peer(port: port) }
        for peer in peers { peer.ask("GET", "/scheduler/task/\(ids[1])?wait=60") }
        try await Task.sleep(for: .seconds(1))
        let cancelled = try await dev.run(["cancel", ids[1]])
        #expect(cancelled.exitCode == 0, "\(cancelled.stderr)")
        for peer in peers { #expect(peer.receive(within: .seconds(5))?.contains("cancelled") == true) }
        await client.shutdown()
        #expect(try await dev.stop().exitCode == 0)
    }
}
