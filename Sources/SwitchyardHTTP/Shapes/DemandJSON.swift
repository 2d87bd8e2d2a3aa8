import Switchyard

/// What the work of a queue asks of each class of its workers.
enum DemandJSON {
    static func classes(_ demand: Demand) -> JSONValue {
        .array(
            demand.classes.map { one in
                [
                    "class": .string(one.name), "workers": JSONValue(one.workers), "slots": JSONValue(one.slots),
                    "busy": JSONValue(one.busy), "draining": JSONValue(one.draining), "ready": JSONValue(one.ready),
                    "desired_workers": JSONValue(one.desiredWorkers),
                ]
            })
    }
}
