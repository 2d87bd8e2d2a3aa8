import SwitchyardTesting
import Testing

@testable import SwitchyardTorture

/// A fault that is put into the function library, to check that torture finds it.
struct PlantedBug: Sendable, CustomTestStringConvertible {
    let mutation: LibraryMutation
    /// A rule that finds it.
    let rule: String
    /// The faults without which it does not show.
    var faults: [FaultKind] = [.killSubscribers]
    /// How many tasks the clients leave unended: few let workers sleep.
    var backlog = 300
    var testDescription: String { mutation.name ?? "" }

    init(
        _ name: String, _ file: String, _ find: String, _ replace: String, finds rule: String,
        with faults: [FaultKind] = [.killSubscribers], backlog: Int = 300
    ) {
        mutation = LibraryMutation(name: name, file: file, find: find, replace: replace)
        self.rule = rule
        self.faults = faults
        self.backlog = backlog
    }

    /// Those that show within seconds.
    static let quick = [
        PlantedBug(
            "retry not counted", "core/attempts.lua", "'retry_count', tostring(task.retry_count + 1)",
            "'retry_count', tostring(task.retry_count)", finds: "retries are counted"),
        PlantedBug(
            "published before the fence", "api/workers/finish.lua",
            "    local task, refused, found = sw.holds(q, worker, t)\n",
            """
                if t.outcome == 'completed' then
                    call('PUBLISH', q.results_key, t.task .. ' completed ' .. t.attempt)
                end
                local task, refused, found = sw.holds(q, worker, t)

            """, finds: "what is told is so"),
    ]

    static let slow = [
        PlantedBug(
            "limit not released", "features/limits.lua", "if #entry.rem > 0 then sw.derived('SREM'",
            "if false then sw.derived('SREM'", finds: "everything ends"),
        PlantedBug(
            "clock of the client", "core/queue.lua", "    local seconds, below = time[1], time[2] + 0\n",
            """
                if call_number % 2 == 0 then time[1] = string.format('%d', time[1] - 3) end
                local seconds, below = time[1], time[2] + 0

            """, finds: "the first and most urgent first"),
        PlantedBug(
            "wake-up lost", "core/idle.lua",
            "        for _, worker in ipairs(workers) do sw.derived('LPUSH', q.prefix .. 'wake:' .. worker, '1') end\n",
            "", finds: "everything ends", backlog: 3),
        PlantedBug(
            "lease not renewed", "api/workers/heartbeat.lua",
            "    if #renewed > 0 then call('ZADD', q.leases_key, 'XX', unpack(renewed)) end\n", "",
            finds: "every repetition has a cause"),
        PlantedBug(
            "fence dropped", "core/tasks.lua", " or task.attempt ~= t.attempt or task.worker ~= worker", "",
            finds: "every execution is explained", with: [.suspendWorker, .halfOpen, .lostReplies]),
        PlantedBug(
            "limit exceeded", "features/limits.lua", ">= concurrency.limit then", "> concurrency.limit then",
            finds: "limits hold"),
        PlantedBug(
            "unique key not taken", "features/unique.lua",
            "    if #pairs_ > 0 then call('MSET', unpack(pairs_)) end\n", "", finds: "one task of a unique key"),
        PlantedBug(
            "dependent too early", "features/dependencies.lua", "if task.deps_left <= 0 then",
            "if task.deps_left <= 1 then", finds: "dependencies first"),
        PlantedBug(
            "delay cut short", "core/transition.lua", "score = new_index == 'held' and due_at or",
            "score = new_index == 'held' and sw.digits(due_at - 300) or", finds: "nothing before its time"),
        PlantedBug(
            "last come, first served", "core/pull.lua",
            "    local ids = call('ZRANGE', q.index_keys[line] or q.prefix .. line, 0, want)\n",
            "    local ids = call('ZREVRANGE', q.index_keys[line] or q.prefix .. line, 0, want)\n",
            finds: "the first and most urgent first"),
        PlantedBug(
            "attempt not counted", "core/pull.lua", "sw.attempt_in(q, attempt) + 1) or '1'",
            "sw.attempt_in(q, attempt)) or '1'", finds: "an attempt is executed once"),
        PlantedBug(
            "lease kept", "core/transition.lua",
            "        if o.n_del > 0 then call('HDEL', key, unpack(o.del, 1, o.n_del)) end\n", "",
            finds: "every key agrees with every other"),
    ]
}
