import NIOCore
import RedisClient
import SwitchyardTesting
import Testing

@Suite("Keys that people choose")
struct KeyTextTests {
    /// Keys as people choose them, and keys that could be confused with other parts of a lane's or key's name.
    static let texts = [
        "swift/swift-nio", "a b", "ümläut/路径/🚀", "100%", "a%2Fb", "a,b=c", "{x}", "}:{", "*", "a:b", "@a=1", "+cpu=2",
        "~r",
        "\"quoted\" 'text'", "\\", "!", "|", "-", "a/b/", "gpu", String(repeating: "é", count: 100),
        String(repeating: "/", count: 200),
    ]

    static let names = [
        "affinity_key", "fairness_key", "concurrency_key", "rate_key", "unique_key", "group_key",
    ]

    private func options(_ name: String, _ text: String) -> [String: String] {
        name == "rate_key" ? [name: text, "rate_per_second": "1000", "rate_burst": "100"] : [name: text]
    }

    @Test(arguments: names)
    func areAnyTextOfUpTo200Bytes(name: String) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 100, ["labels": "gpu", "cpu": "64"])
            for (n, text) in Self.texts.enumerated() {
                for kind in [[:], ["requires": "gpu"], ["cpu": "1"]] {
                    let id = "t\(n)-\(kind.keys.first ?? "plain")"
                    let all = options(name, text).merging(kind) { $1 }
                    #expect(try await queue.submit([(id, all)]) == [id], "\(text)")
                    #expect(try await queue.fields(of: id)[name] == text)
                    let assignment =
                        try await queue.call("pull", "worker", "w", "start", "1").array?.first?.pairs ?? [:]
                    #expect(assignment["task"]?.string == id)
                    if let shown = assignment[name] { #expect(shown.string == text) }
                    try await queue.end(id)
                }
            }
            #expect(try await queue.number("completed") == Self.texts.count * 3)
        }
    }

    @Test(arguments: names)
    func areNoControlCharactersAndNoBrokenText(name: String) async throws {
        try await TestQueue.run { queue in
            let wrong: [[UInt8]] = [
                [], Array(repeating: 0x61, count: 201), Array("a\nb".utf8), Array("a\r".utf8), Array("\t".utf8), [0],
                [0x61, 0, 0x62], [0x1F], [0x7F], [0xFF], [0x61, 0xC3], [0xC3, 0x28], [0x80], [0xC0, 0xAF],
                [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82],
                Array(String(repeating: "é", count: 100).utf8) + [0x61],
            ]
            for (n, bytes) in wrong.enumerated() {
                let found = try await refusal {
                    try await queue.call(
                        "submit", "task", .string("t\(n)"), .string(name), .buffer(ByteBuffer(bytes: bytes)))
                }
                #expect(found == "BADREQUEST", "\(bytes)")
            }
            #expect(try await queue.number("pending") == 0)
            #expect(try await queue.submit([("t", options(name, "a/b"))]) == ["t"])
        }
    }

    /// Pairs of keys that an incomplete escape would make equal.
    private static let pairs = [
        ("a/b", "a%2Fb"), ("a,b", "a%2Cb"), ("a=1", "a%3D1"), ("%", "%25"), ("a b", "a+b"), ("é", "e"), ("k", "K"),
        ("k=1", "k"), ("org/x", "org/x/"), ("a:b", "a/b"),
    ]

    @Test(arguments: 0..<pairs.count)
    func thatDifferAreDifferentLimits(index: Int) async throws {
        let (one, other) = Self.pairs[index]
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 20)
            func options(_ key: String, _ limit: Int) -> [String: String] {
                ["concurrency_key": key, "concurrency_limit": "\(limit)"]
            }
            try await queue.submit(
                (0..<3).map { ("one\($0)", options(one, 1)) } + (0..<4).map { ("other\($0)", options(other, 2)) })
            #expect(try await queue.take("w", max: 20) == ["one0", "other0", "other1"])
            for (id, key, running) in [("one1", one, "1"), ("other2", other, "2")] {
                let reasons = try await queue.reasons(id)
                let reason = reasons.first { $0["code"] == "concurrency_limit" }
                #expect(reason?["key"] == key, "\(reasons)")
                #expect(reason?["running"] == running, "\(reasons)")
            }
            try await queue.end("one0")
            #expect(try await queue.take("w", max: 20) == ["one1"])
            try await queue.end("other1")
            #expect(try await queue.take("w", max: 20) == ["other2"])
        }
    }

    @Test(arguments: 0..<pairs.count)
    func thatDifferAreDifferentUniqueTasksRatesAndTenants(index: Int) async throws {
        let (one, other) = Self.pairs[index]
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 20)
            func rate(_ key: String) -> [String: String] { ["rate_key": key, "rate_per_second": "0.001"] }
            #expect(
                try await queue.submit([
                    ("a", ["unique_key": one]), ("b", ["unique_key": other]), ("c", ["unique_key": one]),
                    ("d", ["unique_key": other]),
                ]) == ["a", "b", "a", "b"])
            try await queue.submit([("e", rate(one)), ("f", rate(other)), ("g", rate(one)), ("h", rate(other))])
            #expect(try await queue.take("w", max: 20) == ["a", "b", "e", "f"])
            for id in ["a", "b", "e", "f"] { try await queue.end(id) }
            try await queue.call("cancel", "task", "g", "task", "h")
            // One tenant has submitted many tasks, and the other submits later: they share.
            try await queue.submit((0..<9).map { ("one\($0)", ["fairness_key": one]) })
            try await queue.submit((0..<9).map { ("other\($0)", ["fairness_key": other]) })
            let got = try await queue.take("w", max: 8)
            #expect(got.count { $0.hasPrefix("one") } == 4, "\(got)")
        }
    }

    @Test(arguments: 0..<pairs.count)
    func thatDifferAreDifferentGroups(index: Int) async throws {
        let (one, other) = Self.pairs[index]
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 20)
            try await queue.submit([
                ("a1", ["group_key": one]), ("b1", ["group_key": other]), ("a2", ["group_key": one]),
                ("b2", ["group_key": other]),
            ])
            let reply = try await queue.call("pull", "worker", "w", "max", "4", "start", "1", "together", "1")
            #expect(reply.assignments.map(\.id) == ["a1", "a2", "b1", "b2"])
        }
    }

    @Test(arguments: 0..<pairs.count)
    func thatDifferAreDifferentAffinities(index: Int) async throws {
        let (one, other) = Self.pairs[index]
        try await TestQueue.run { queue in
            for (worker, key) in [("w1", one), ("w2", other)] {
                try await queue.register(worker)
                try await queue.submit("warm-" + worker, ["affinity_key": key])
                #expect(try await queue.take(worker) == ["warm-" + worker])
            }
            for worker in ["w1", "w2"] { try await queue.end("warm-" + worker) }
            try await queue.submit([("b", ["affinity_key": other]), ("a", ["affinity_key": one])])
            #expect(try await queue.take("w1") == ["a"])
            #expect(try await queue.take("w2") == ["b"])
        }
    }
}
