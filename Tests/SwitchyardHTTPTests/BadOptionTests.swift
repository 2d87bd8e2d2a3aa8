import Testing

@testable import SwitchyardHTTP

/// Each wrong scheduling option is named in the problem, and nothing is written.
@Suite struct BadOptionTests {
    typealias Bad = BadInputTests.Bad

    static let options: [Bad] = [
        Bad(#"{"depends_on":"a"}"#, "depends_on"), Bad(#"{"depends_on":["a b"]}"#, "depends_on[0]"),
        Bad(#"{"depends_on":[1]}"#, "depends_on[0]"), Bad(#"{"depends_on":["a","nobody"]}"#, "depends_on"),
        Bad(#"{"id":"a","depends_on":["a"]}"#, "depends_on"), Bad(#"{"run_anyway":1}"#, "run_anyway"),
        Bad(#"{"requires":"gpu"}"#, "requires"), Bad(#"{"requires":[""]}"#, "requires[0]"),
        Bad(#"{"requires":["a=b","c d"]}"#, "requires[1]"), Bad(#"{"requires":["a="]}"#, "requires[0]"),
        Bad(#"{"requires":["a in b"]}"#, "requires[0]"), Bad(#"{"requires":["a in (b,,c)"]}"#, "requires[0]"),
        Bad(#"{"requires":["a==b"]}"#, "requires[0]"), Bad(#"{"requires":["!a"]}"#, "requires[0]"),
        Bad(#"{"requires":["a,b"]}"#, "requires[0]"), Bad(#"{"requires":["+cpu=1"]}"#, "requires[0]"),
        Bad(#"{"requires":[""# + String(repeating: "a", count: 1000) + #""]}"#, "requires"),
        Bad(#"{"resources":[]}"#, "resources"), Bad(#"{"resources":{"cpu":"1"}}"#, "resources.cpu"),
        Bad(#"{"resources":{"cpu":-1}}"#, "resources.cpu"), Bad(#"{"resources":{"cpu":1e99}}"#, "resources.cpu"),
        Bad(#"{"resources":{"memory_mb":1.5}}"#, "resources.memory_mb"),
        Bad(#"{"resources":{"gpu":null,"disk":true}}"#, "resources.disk"),
        Bad(#"{"resources":{"a b":1}}"#, "resources.\"a b\""),
        Bad(#"{"affinity_key":""}"#, "affinity_key"), Bad(#"{"group_key":"a\tb"}"#, "group_key"),
        Bad(#"{"fairness_key":1}"#, "fairness_key"), Bad(#"{"fairness_weight":1}"#, "fairness_weight"),
        Bad(#"{"fairness_key":"a","fairness_weight":0}"#, "fairness_weight"),
        Bad(#"{"concurrency_limit":1}"#, "concurrency_limit"),
        Bad(#"{"concurrency_key":"a","concurrency_limit":0}"#, "concurrency_limit"),
        Bad(#"{"concurrency_key":""}"#, "concurrency_key"), Bad(#"{"rate_per_second":1}"#, "rate_per_second"),
        Bad(#"{"rate_key":"a","rate_per_second":0}"#, "rate_per_second"),
        Bad(#"{"rate_key":"a","rate_burst":1.5}"#, "rate_burst"), Bad(#"{"rate_burst":2}"#, "rate_burst"),
        Bad(#"{"unique_key":"ä\u0007"}"#, "unique_key"), Bad(#"{"unique_for_seconds":1}"#, "unique_for_seconds"),
        Bad(#"{"unique_key":"a","unique_for_seconds":0}"#, "unique_for_seconds"),
    ]

    @Test(arguments: options) func aBadOptionIsRefused(bad: Bad) async throws {
        let world = try await World.shared
        let queue = world.newQueue()
        let answer = try await world.ask(.POST, "/scheduler/task?queue=\(queue)", json: bad.body)
        answer.expectProblem(400, code: "BadRequest", field: bad.field)
        #expect(try await world.redis.keys(of: queue).isEmpty)
    }
}
