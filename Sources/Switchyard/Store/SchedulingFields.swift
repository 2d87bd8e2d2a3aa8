import RedisClient

// Converts scheduling options to the arguments of a submission, and back from the fields of a reply.

extension SchedulingOptions {
    /// The arguments for the options that are set.
    var arguments: [(name: String, value: String)] {
        var pairs: [(name: String, value: String)] = []
        func add(_ name: String, _ value: String?) {
            if let value, !value.isEmpty { pairs.append((name, value)) }
        }
        add("requires", requires.joined(separator: ","))
        pairs += resources.arguments
        add("affinity_key", affinityKey)
        add("group_key", groupKey)
        add("fairness_key", fairnessKey)
        add("fairness_weight", fairnessWeight.map(\.plainText))
        add("concurrency_key", concurrencyKey)
        add("concurrency_limit", concurrencyLimit.map(String.init))
        add("rate_key", rateKey)
        add("rate_per_second", ratePerSecond.map(\.plainText))
        add("rate_burst", rateBurst.map(String.init))
        add("depends_on", dependsOn.joined(separator: ","))
        add("run_anyway", runAnyway ? "1" : nil)
        add("unique_key", uniqueKey)
        add("unique_for_ms", uniqueFor.map { String($0.milliseconds) })
        return pairs
    }

    init(_ fields: ReplyFields) {
        requires = fields.words("requires")
        resources = Resources(fields)
        affinityKey = fields.string("affinity_key")
        groupKey = fields.string("group_key")
        fairnessKey = fields.string("fairness_key")
        fairnessWeight = fields.double("fairness_weight")
        concurrencyKey = fields.string("concurrency_key")
        concurrencyLimit = fields.optionalInt("concurrency_limit")
        rateKey = fields.string("rate_key")
        ratePerSecond = fields.double("rate_per_second")
        rateBurst = fields.optionalInt("rate_burst")
        dependsOn = fields.words("depends_on")
        runAnyway = fields.flag("run_anyway")
        uniqueKey = fields.string("unique_key")
        uniqueFor = fields.optionalInt("unique_for_ms").map { .milliseconds($0) }
    }
}

extension Resources {
    /// The arguments by which a task requests, or a worker offers, these amounts.
    var arguments: [(name: String, value: String)] {
        var pairs: [(name: String, value: String)] = []
        if let cpu { pairs.append(("cpu", cpu.plainText)) }
        if let memoryMB { pairs.append(("memory_mb", String(memoryMB))) }
        if !custom.isEmpty {
            let amounts = custom.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.plainText)" }
            pairs.append(("resources", amounts.joined(separator: ",")))
        }
        return pairs
    }

    init(_ fields: ReplyFields) {
        self.init(cpu: fields.double("cpu"), memoryMB: fields.optionalInt("memory_mb"))
        for amount in fields.words("resources") {
            let sides = amount.split(separator: "=", maxSplits: 1)
            if sides.count == 2, let number = Double(sides[1]) { custom[String(sides[0])] = number }
        }
    }
}
