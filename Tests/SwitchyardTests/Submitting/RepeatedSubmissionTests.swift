import RedisClient
import SwitchyardTesting
import Testing

@Suite("Submissions whose reply was lost")
struct RepeatedSubmissionTests {
    /// Tasks of one call: `n` is new, `d` has the unique key of a task that existed before, `s` that of a task of the
    /// same call.
    static let forms = ["nd", "dn", "ndd", "dndn", "nns", "nsd", "dnnnnsdn"]

    /// The arguments of a form, with a token for each task.
    private func arguments(_ form: String, head: [RedisArgument] = [], token: String = "") -> [RedisArgument] {
        head
            + form.enumerated().flatMap { n, kind -> [RedisArgument] in
                let key: [RedisArgument]
                switch kind {
                case "d": key = ["unique_key", "held"]
                case "s": key = ["unique_key", "own"]
                default: key = form.contains("s") && n == form.firstOffset(of: "n") ? ["unique_key", "own"] : []
                }
                return ["task", .string("\(kind)\(n)"), "request", .string("token-\(token)\(n)")] + key
            }
    }

    private func ids(_ reply: RESPValue) -> [String?] { (reply.array ?? []).map { $0[0]?.string } }
    private func states(_ reply: RESPValue) -> [String?] { (reply.array ?? []).map { $0[1]?.string } }
    private func kinds(_ reply: RESPValue) -> [String?] { (reply.array ?? []).map { $0[4]?.string } }

    @Test(arguments: forms, ["", "B"])
    func isAnsweredAlikeWithDuplicatesAmongItsTasks(form: String, batch: String) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 20)
            try await queue.submit("holder", ["unique_key": "held"])
            let head: [RedisArgument] = batch.isEmpty ? [] : ["batch", .string(batch)]
            let first = try await queue.call("submit", arguments(form, head: head))
            let expected = form.enumerated().map { n, kind in
                kind == "d" ? "holder" : kind == "s" ? "n\(form.firstOffset(of: "n"))" : "n\(n)"
            }
            #expect(ids(first) == expected)
            for _ in 0..<2 {
                let before = try await queue.snapshot()
                let again = try await queue.call("submit", arguments(form, head: head))
                #expect(ids(again) == expected)
                #expect(states(again) == expected.map { _ in "pending" })
                #expect(kinds(again) == form.map { $0 == "n" ? "repeated" : "unique" })
                #expect(try await queue.snapshot().changes(since: before) == [])
            }
            // With other tokens it is another submission.
            try await expectRefusal("TASKEXISTS") {
                try await queue.call("submit", arguments(form, head: head, token: "other-"))
            }
            #expect(try await queue.take("w", max: 20).count == 1 + form.filter { $0 == "n" }.count)
            let last = try await queue.call("submit", arguments(form, head: head))
            #expect(ids(last) == expected)
            #expect(states(last) == expected.map { _ in "running" })
        }
    }

    @Test(arguments: forms)
    func ofAPartIsAnsweredAlikeAndTheBatchIsOpened(form: String) async throws {
        try await TestQueue.run { queue in
            try await queue.register("w", slots: 20)
            try await queue.submit("holder", ["unique_key": "held"])
            let head: [RedisArgument] = ["batch", "B", "stage", "1"]
            let other: [RedisArgument] = ["task", "other", "request", "token-of-other"]
            let first = try await queue.call("submit", arguments(form, head: head))
            try await queue.call("submit", head + other)
            for _ in 0..<2 {
                #expect(try await ids(queue.call("submit", arguments(form, head: head))) == ids(first))
                #expect(try await ids(queue.call("submit", head + other)) == ["other"])
            }
            for _ in 0..<20 where try await queue.call("open_batch", "batch", "B").int ?? 0 == 0 { break }
            try await queue.tickUntilDone()
            let new = form.filter { $0 == "n" }.count
            #expect(try await queue.call("batch", "batch", "B").pairs["total"]?.int == Int64(new + 1))
            #expect(try await queue.runAll("w", holding: 20).count == new + 2)
            #expect(try await queue.call("batch", "batch", "B").pairs["finished_at"] != nil)
        }
    }
}

extension String {
    fileprivate func firstOffset(of character: Character) -> Int {
        firstIndex(of: character).map { distance(from: startIndex, to: $0) } ?? -1
    }
}
