import RedisClient
import Switchyard
import SwitchyardTesting
import Testing

@Suite("Automatic priority")
struct PriorityPolicyTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var repo: String?
        var args = 5
        var labels: [String] = []
        var load = 0.0
        var expected: TaskPriority
        var testDescription: String { "\(repo ?? "-"), \(args) arguments, \(labels), load \(load) → \(expected)" }
    }

    static let table: [Case] = [
        Case(expected: .normal),
        Case(args: 0, expected: .normal),
        Case(labels: ["hotfix"], expected: .critical),
        Case(labels: ["URGENT"], expected: .critical),
        Case(labels: ["x", "critical"], expected: .critical),
        Case(labels: ["hotfixes"], expected: .normal),
        Case(labels: ["docs"], expected: .low),
        Case(labels: ["documentation"], expected: .low),
        Case(labels: ["refactoring"], expected: .low),
        Case(labels: ["docs", "hotfix"], expected: .critical),
        Case(repo: "core-lib", expected: .high),
        Case(repo: "org/main", expected: .high),
        Case(repo: "production.web", expected: .high),
        Case(repo: "domain", expected: .normal),
        Case(repo: "score", expected: .normal),
        Case(repo: "core", labels: ["docs"], expected: .low),
        Case(args: 1, expected: .high),
        Case(args: 2, expected: .high),
        Case(args: 3, expected: .normal),
        Case(args: 12, expected: .normal),
        Case(args: 12, load: 0.79, expected: .normal),
        Case(args: 12, load: 0.8, expected: .low),
        Case(repo: "core", args: 12, load: 0.9, expected: .normal),
        Case(args: 12, labels: ["hotfix"], load: 1, expected: .critical),
        Case(args: 12, labels: ["docs"], load: 1, expected: .low),
        Case(args: 5, load: 1, expected: .normal),
    ]

    @Test(arguments: table)
    func thePolicyDecidesByItsTable(row: Case) {
        var request = BuildRequest()
        request.repo = row.repo
        request.args = (0..<row.args).map { "--a\($0)" }
        request.labels = row.labels
        let decision = PriorityPolicy().decide(request, load: row.load)
        #expect(decision.priority == row.expected)
        #expect(!decision.reason.isEmpty)
    }

    @Test func theReasonIsKeptWithTheTask() async throws {
        try await TestQueue.run { queue in
            var request = BuildRequest()
            request.labels = ["hotfix"]
            _ = try await queue.handle.addTask(QueuedTask(request, id: "auto"))
            _ = try await queue.handle.addTask(QueuedTask(request, priority: .low, id: "given"))
            let auto = try await queue.handle.getTask("auto")
            #expect(auto.priority == .critical)
            #expect(auto.priorityReason == "label hotfix")
            let given = try await queue.handle.getTask("given")
            #expect(given.priority == .low)
            #expect(given.priorityReason == "given")
        }
    }

    @Test func aFullQueueLowersComplexBuilds() async throws {
        try await TestQueue.run(settings: ["max_queue_length": 10]) { queue in
            for n in 0..<9 { try await queue.submit("t\(n)") }
            var request = BuildRequest()
            request.args = (0..<12).map { "--a\($0)" }
            let added = try await queue.handle.addTask(QueuedTask(request))
            #expect(added.task.priority == .low)
            #expect(added.task.priorityReason?.contains("90 % full") == true)
        }
    }
}
