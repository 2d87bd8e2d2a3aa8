import Switchyard

// The options of a task that decide when, where and in which order it runs.

extension SchedulingOptions {
    static let known: Set<String> = [
        "requires", "resources", "affinity_key", "group_key", "fairness_key", "fairness_weight", "concurrency_key",
        "concurrency_limit", "rate_key", "rate_per_second", "rate_burst", "depends_on", "run_anyway", "unique_key",
        "unique_for_seconds",
    ]

    init(_ fields: Fields) throws {
        var options = SchedulingOptions()
        options.requires = try fields.texts("requires")
        options.resources = try Resources(fields["resources"] ?? .null, path: "\(fields.path)resources")
        options.affinityKey = try fields.name("affinity_key")
        options.groupKey = try fields.name("group_key")
        options.fairnessKey = try fields.name("fairness_key")
        options.fairnessWeight = try fields.decimal("fairness_weight", in: Self.weights)
        options.concurrencyKey = try fields.name("concurrency_key")
        options.concurrencyLimit = try fields.integer("concurrency_limit", in: Self.counts)
        options.rateKey = try fields.name("rate_key")
        options.ratePerSecond = try fields.decimal("rate_per_second", in: Self.rates)
        options.rateBurst = try fields.integer("rate_burst", in: Self.counts)
        options.dependsOn = try fields.texts("depends_on")
        options.runAnyway = try fields.flag("run_anyway") ?? false
        options.uniqueKey = try fields.name("unique_key")
        options.uniqueFor = try fields.seconds("unique_for_seconds", milliseconds: Self.uniqueMilliseconds)
        self = try options.checked(path: fields.path)
    }
}

extension Resources {
    /// Reads `{"cpu":0.5,"memory_mb":512,"gpu":1}`. Any other name is a custom resource of the workers.
    init(_ value: JSONValue, path: String) throws {
        self.init()
        if value == .null { return }
        guard case .object(let members) = value else {
            throw Problem.badRequest(path, "expected an object of numbers, found \(value.shown)")
        }
        for member in members where member.value != .null {
            let field = "\(path).\(Fields.printable(member.name))"
            guard let amount = Fields.decimal(member.value, in: Self.amounts(of: member.name)) else {
                let range = Self.amounts(of: member.name)
                throw Problem.badRequest(
                    field,
                    "expected a number from \(Int(range.lowerBound)) to \(Int(range.upperBound)), "
                        + "found \(member.value.shown)")
            }
            switch member.name {
            case "cpu": cpu = amount
            case "memory_mb":
                guard let whole = Int(exactly: amount) else {
                    throw Problem.badRequest(field, "expected a whole number, found \(member.value.shown)")
                }
                memoryMB = whole
            default: custom[member.name] = amount
            }
        }
    }

    private static func amounts(of name: String) -> ClosedRange<Double> {
        name == "memory_mb" ? Double(megabytes.lowerBound)...Double(megabytes.upperBound) : amounts
    }
}
