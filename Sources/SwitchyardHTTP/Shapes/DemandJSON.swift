import JSON
import Switchyard

/// The demand of a queue's tasks for each class of its workers.
enum DemandJSON {
    /// One entry for each class of each queue; workers of different queues are counted apart, even of the same class.
    static func classes(_ demands: [(queue: String, demand: Demand)]) -> JSONValue {
        .array(demands.flatMap { queue, demand in demand.classes.map { json($0, queue: queue) } })
    }

    private static func json(_ one: Demand.Class, queue: String) -> JSONValue {
        [
            "queue": .string(queue), "class": .string(one.name), "workers": JSONValue(one.workers),
            "slots": JSONValue(one.slots),
            "busy": JSONValue(one.busy), "draining": JSONValue(one.draining), "ready": JSONValue(one.ready),
            "desired_workers": JSONValue(one.desiredWorkers),
        ]
    }
}
