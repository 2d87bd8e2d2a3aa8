import Foundation
import NIOCore
import RedisClient

// Converts a recurring schedule to the arguments of switchyard_schedule, and back from the reply of
// switchyard_schedules. Its task is stored as a template: the arguments that submit it, as a JSON list, which Lua can
// decode.

extension RecurringSchedule {
    /// The limit on the bytes of one task (`sw.MAX_VALUE_BYTES` in Lua).
    private static let maxTemplateBytes = 1 << 20

    /// Returns the arguments of `switchyard_schedule`.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a task that cannot recur.
    func arguments(next: Date) throws(SchedulerError) -> [RedisArgument] {
        [
            "schedule", .string(id), "cron", .string(cron), "zone", .string(zone), "missed", .string(missed.rawValue),
            "template", .string(try template()), "next", .integer(next.milliseconds),
        ]
    }

    private func template() throws(SchedulerError) -> String {
        guard task.runAt == nil else {
            throw .invalidInput(field: "task.run_at", message: "task.run_at: expected none in a schedule, found a time")
        }
        var texts: [String] = []
        for argument in task.submission {
            switch argument {
            case .string(let text): texts.append(text)
            case .integer(let number): texts.append("\(number)")
            case .buffer(let bytes):
                guard let text = String(validating: bytes.readableBytesView, as: UTF8.self) else {
                    throw .invalidInput(
                        field: "task.payload",
                        message: "task.payload: expected UTF-8 in a schedule, found other bytes")
                }
                texts.append(text)
            }
        }
        let template = (try? JSONEncoder().encode(texts)).map { String(decoding: $0, as: UTF8.self) } ?? ""
        guard template.utf8.count <= Self.maxTemplateBytes else {
            throw .invalidInput(
                field: "task",
                message: "task: expected at most \(Self.maxTemplateBytes) bytes as JSON, found \(template.utf8.count)")
        }
        return template
    }

    /// Reads a schedule. If a part of it is invalid, ``problem`` says so, so that it can be listed and removed.
    /// - Throws: ``SchedulerError/internal(message:redisAway:)`` for a reply without an id.
    init(_ fields: ReplyFields) throws(SchedulerError) {
        guard let id = fields.string("id") else {
            throw .internal(message: "a function returned a schedule without an id", redisAway: false)
        }
        let template = Self.task(fields.list("template"))
        self.init(
            id: id, cron: fields.string("cron") ?? "", zone: fields.string("zone") ?? "",
            missed: fields.string("missed").flatMap(Missed.init) ?? .skip,
            task: template ?? QueuedTask(BuildRequest(), id: id))
        task.id = id
        next = fields.date("next")
        last = fields.date("last")
        if template == nil { problem = "template: expected a JSON list of names and values that begins with task" }
        do {
            _ = try next(after: Date(timeIntervalSince1970: 0))
        } catch {
            problem = error.message
        }
    }

    private static func task(_ template: [String]) -> QueuedTask? {
        guard template.first == "task" else { return nil }
        let pairs = RESPValue.array(template.map { .bulkString(ByteBuffer(string: $0)) })
        guard let fields = try? ReplyFields(pairs), var task = try? QueuedTask(fields) else { return nil }
        task.delay = fields.optionalDuration("delay_ms")
        return task
    }
}
