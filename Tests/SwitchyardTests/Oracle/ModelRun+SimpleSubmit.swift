import NIOCore
import RedisClient
import Switchyard
import SwitchyardTesting

/// Submissions without scheduling options: mostly one task at a time, with little besides its payload.
extension ModelRun {
    mutating func submitPlain() async throws {
        let known = ids { _ in true }
        if chance(6), !known.isEmpty { return try await submitAgain(known) }
        if chance(60) {
            var task = ModelTask(id: "t\(nextID)")
            nextID += 1
            let arguments = bareDefinition(of: &task)
            return try await submitPlain([task], ["task", .string(task.id)] + arguments, isAsked: false)
        }
        var tasks: [ModelTask] = []
        var arguments: [RedisArgument] = []
        var batch: String?
        if chance(30) {
            let batches = Set(model.tasks.values.compactMap(\.batch)).sorted()
            let name = chance(10) && !batches.isEmpty ? pick(batches) : "b\(nextID)"
            batch = name
            arguments += ["batch", .string(name)]
        }
        let isAsked = chance(30)
        if isAsked { arguments += ["position", "1"] }
        for _ in 0..<(chance(50) ? Int.random(in: 2...5, using: &generator) : 1) {
            var task = ModelTask(id: "t\(nextID)")
            nextID += 1
            task.batch = batch
            arguments += ["task", .string(task.id)] + definition(of: &task)
            if chance(6) {
                task.delay = 900_000
                arguments += ["delay_ms", "900000"]
            }
            tasks.append(task)
        }
        if chance(4), let first = tasks.first {
            arguments += ["task", .string(first.id)]
            tasks.append(ModelTask(id: first.id))
        }
        try await submitPlain(tasks, arguments, isAsked: isAsked)
    }

    /// The arguments of most tasks: the defaults of the queue, a short payload, and often a priority.
    private mutating func bareDefinition(of task: inout ModelTask) -> [RedisArgument] {
        var arguments: [RedisArgument] = []
        task.maxRetries = 2
        task.timeout = 7_200_000
        if chance(50) {
            task.priority = pick(TaskPriority.allCases)
            arguments += ["priority", .string(task.priority.rawValue)]
        }
        if chance(60) {
            task.request = chance(70) ? task.id : "r\(nextID)"
            arguments += ["request", .string(task.request ?? "")]
        }
        return arguments + payload(of: &task, sizes: [0, 12, ModelSettings.shortValue, 513])
    }

    private mutating func payload(of task: inout ModelTask, sizes: [Int]) -> [RedisArgument] {
        guard chance(70) else { return [] }
        let size = pick(sizes)
        let payload = String(String(repeating: "\(task.id).", count: size / 2 + 1).prefix(size))
        task.payload = payload
        return ["payload", .string(payload)]
    }

    private mutating func definition(of task: inout ModelTask) -> [RedisArgument] {
        var arguments = bareDefinition(of: &task)
        if chance(30) {
            task.maxRetries = pick([0, 1, 3])
            arguments += ["max_retries", .integer(Int64(task.maxRetries))]
        }
        if chance(40) {
            task.timeout = pick([1_500_000, 10_800_000])
            arguments += ["timeout_ms", .integer(Int64(task.timeout))]
        }
        if task.payload == nil {
            arguments += payload(of: &task, sizes: [ModelSettings.shortValue + 1, 300, 512])
        }
        return arguments
    }

    /// Submits existing tasks again: a client that got no reply repeats the call with the same token; any other gets an
    /// error.
    private mutating func submitAgain(_ known: [String]) async throws {
        var tasks: [ModelTask] = []
        var arguments: [RedisArgument] = []
        var some = Set([pick(known)])
        if chance(40) { some.insert(pick(known)) }
        for id in some.sorted() {
            var task = ModelTask(id: id)
            if chance(90) { task.request = chance(90) ? model.tasks[id]?.request ?? id : "another" }
            tasks.append(task)
        }
        if chance(15) {
            tasks.append(ModelTask(id: "t\(nextID)"))
            nextID += 1
        }
        for task in tasks {
            arguments += ["task", .string(task.id)]
            if let request = task.request { arguments += ["request", .string(request)] }
        }
        try await submitPlain(tasks, arguments, isAsked: false)
    }

    private mutating func submitPlain(
        _ tasks: [ModelTask], _ arguments: [RedisArgument], isAsked: Bool
    ) async throws {
        var found: ModelQueue.Answer
        do {
            found = .accepted(try await call("submit", arguments).array?.map(Self.place) ?? [])
        } catch let error as RedisError {
            found = .refused(error.code)
        }
        let tags = try await tags(of: tasks.map(\.id))
        var (expected, misplaced) = model.submit(tasks) { tags[$0] }
        if !misplaced.isEmpty { throw Disagreement(sentences: misplaced) }
        if !isAsked, case .accepted(let places) = expected {
            expected = .accepted(
                places.map { place in
                    var place = place
                    place.position = -1
                    return place
                })
        }
        try expect(found == expected, "submit returned \(found), expected \(expected)")
        switch found {
        case .refused(let code): done["submit \(code)", default: 0] += 1
        case .accepted(let places): done["submit \(places.first?.kind ?? "")", default: 0] += 1
        }
    }

    private static func place(_ reply: RESPValue) -> ModelQueue.Place {
        ModelQueue.Place(
            id: reply[0]?.string ?? "", state: reply[1]?.string ?? "", woken: reply[2]?.string ?? "",
            position: Int(reply[3]?.int ?? -2), kind: reply[4]?.string ?? "")
    }
}
