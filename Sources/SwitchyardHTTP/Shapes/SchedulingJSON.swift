import Switchyard

/// A task's scheduling options under their names in a submission; options that were not given are left out.
enum SchedulingJSON {
    static func add(_ options: SchedulingOptions, to json: inout JSONValue) {
        json.add("requires", options.requires.isEmpty ? nil : JSONValue(options.requires))
        json.add("resources", options.resources.isEmpty ? nil : resources(options.resources))
        json.add("affinity_key", options.affinityKey.map { .string($0) })
        json.add("group_key", options.groupKey.map { .string($0) })
        json.add("fairness_key", options.fairnessKey.map { .string($0) })
        json.add("fairness_weight", options.fairnessWeight.map(number))
        json.add("concurrency_key", options.concurrencyKey.map { .string($0) })
        json.add("concurrency_limit", options.concurrencyLimit.map { JSONValue($0) })
        json.add("rate_key", options.rateKey.map { .string($0) })
        json.add("rate_per_second", options.ratePerSecond.map(number))
        json.add("rate_burst", options.rateBurst.map { JSONValue($0) })
        json.add("depends_on", options.dependsOn.isEmpty ? nil : JSONValue(options.dependsOn))
        json.add("run_anyway", options.runAnyway ? true : nil)
        json.add("unique_key", options.uniqueKey.map { .string($0) })
        json.add("unique_for_seconds", options.uniqueFor.map { JSONValue($0) })
    }

    static func resources(_ resources: Resources) -> JSONValue {
        var json: JSONValue = [:]
        json.add("cpu", resources.cpu.map(number))
        json.add("memory_mb", resources.memoryMB.map { JSONValue($0) })
        for (name, amount) in resources.custom.sorted(by: { $0.key < $1.key }) { json.add(name, number(amount)) }
        return json
    }

    /// A whole number is written without a fraction; infinity and NaN become null.
    static func number(_ value: Double) -> JSONValue {
        if let whole = Int(exactly: value) { return JSONValue(whole) }
        return value.isFinite ? .number("\(value)") : .null
    }
}
