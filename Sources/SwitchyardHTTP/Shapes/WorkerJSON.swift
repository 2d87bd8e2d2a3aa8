import Foundation
import JSON
import Switchyard

/// A registered worker.
enum WorkerJSON {
    static func json(_ worker: WorkerInfo, queue: String) -> JSONValue {
        var json: JSONValue = [
            "worker_id": .string(worker.id), "queue": .string(queue), "slots": JSONValue(worker.slots),
            "busy_slots": JSONValue(worker.busy), "ending": JSONValue(worker.ending),
            "state": .string(worker.activity.rawValue),
            "draining": .bool(worker.isDraining),
            "cordoned": .bool(worker.cordonedAt != nil), "cordoned_at": JSONValue(worker.cordonedAt),
            "labels": JSONValue(worker.labels), "class": .string(worker.workerClass),
            "resources": SchedulingJSON.resources(worker.resources), "registered_at": JSONValue(worker.registeredAt),
            "expires_at": JSONValue(worker.expiresAt),
        ]
        // Microseconds since 1970.
        let assigned = worker.details["last_assigned"].flatMap { Double($0) }.flatMap { $0 > 0 ? $0 / 1000 : nil }
        json.add("last_assigned_at", JSONValue(assigned.flatMap { Date(milliseconds: $0) }))
        for name in ["host", "version"] { json.add(name, worker.details[name].map { .string($0) }) }
        if let note = worker.details["note"], !note.isEmpty { json.add("note", .string(note)) }
        json.add("pid", worker.details["pid"].flatMap { Int($0) }.map { JSONValue($0) })
        json.add("cpu", worker.resources.cpu.map { JSONValue($0) })
        json.add("memory_mb", worker.resources.memoryMB.map { JSONValue($0) })
        return json
    }
}
