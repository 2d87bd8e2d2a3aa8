import Hummingbird
import Switchyard

// Recurring schedules: listing, reading, creating or replacing (PUT), and removing.

extension API {
    func addSchedules(to routes: inout Routes) {
        routes.on(.get, "/scheduler/schedules") { request, _ in
            let handles = try handles(try Query(request, ["queue"]))
            let schedules = try await forEach(handles) { handle in
                try await handle.getSchedules().map { ScheduleJSON.json($0, queue: handle.queue) }
            }
            return .json(["schedules": .array(schedules.flatMap { $0 })])
        }
        routes.on(.get, "/scheduler/schedule/:id") { request, context in
            let handle = try handle(try Query(request, ["queue"]))
            let id = try name(context, "id", field: "schedule_id")
            guard let schedule = try await handle.getSchedule(id) else { throw noSchedule(id, handle) }
            return .json(ScheduleJSON.json(schedule, queue: handle.queue))
        }
        routes.on(.put, "/scheduler/schedule/:id") { request, context in
            let queue = try Query(request, ["queue"])["queue"] ?? options.defaultQueue
            let id = try name(context, "id", field: "schedule_id")
            let input = try ScheduleInput(try await json(request))
            let put = try await scheduler.creating(queue: queue) { handle in
                let defaults = try await settings.settings(of: handle)
                return try await handle.putSchedule(input.schedule(id: id, defaults: defaults))
            }
            return .json(ScheduleJSON.json(put.schedule, queue: queue), status: put.isNew ? .created : .ok)
        }
        routes.on(.delete, "/scheduler/schedule/:id") { request, context in
            let handle = try handle(try Query(request, ["queue"]))
            let id = try name(context, "id", field: "schedule_id")
            guard try await handle.removeSchedule(id) else { throw noSchedule(id, handle) }
            return .json(["schedule_id": .string(id), "queue": .string(handle.queue), "removed": true])
        }
    }

    private func noSchedule(_ id: String, _ handle: SchedulerHandle) -> Problem {
        Problem(.notFound, code: "NotFound", "schedule \(id) does not exist in queue \(handle.queue)")
    }
}
