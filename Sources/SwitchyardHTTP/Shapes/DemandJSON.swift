import Switchyard

/// What the work of a queue asks of each class of its workers.
enum DemandJSON {
    /// Workers of different queues are different workers, whatever their class: each names its queue.
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
