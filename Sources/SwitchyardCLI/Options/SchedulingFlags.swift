import ArgumentParser
import Foundation

/// The scheduling options of a submission: dependencies, requirements, resources, and the keys of groups, fairness,
/// limits and uniqueness.
struct SchedulingFlags: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Run after these tasks have completed; repeatable, or separated by commas.", valueName: "id"))
    var dependsOn: [String] = []

    @Flag(help: "Run even if a task of --depends-on did not complete.")
    var runAnyway = false

    @Option(
        help: ArgumentHelp(
            "A requirement on its worker: label, label=value, label=one|other or label!=value; repeatable.",
            valueName: "requirement"))
    var requires: [String] = []

    @Option(help: ArgumentHelp("Cores that it needs; fractions are allowed.", valueName: "cores"))
    var cpu: Double?

    @Option(name: .customLong("memory-mb"), help: ArgumentHelp("Memory that it needs, in MiB.", valueName: "mib"))
    var memoryMB: Int?

    @Option(
        name: .customLong("resource"),
        help: ArgumentHelp("Another resource that it needs, such as gpu=1; repeatable.", valueName: "name=amount"))
    var resources: [Amount] = []

    @Option(help: ArgumentHelp("Prefer the worker that last ran a task with this key (warm caches).", valueName: "key"))
    var affinityKey: String?

    @Option(help: ArgumentHelp("A worker may take tasks with the same key together.", valueName: "key"))
    var groupKey: String?

    @Option(help: ArgumentHelp("Share the workers fairly between the keys.", valueName: "key"))
    var fairnessKey: String?

    @Option(help: ArgumentHelp("The weight of its --fairness-key (default 1).", valueName: "weight"))
    var fairnessWeight: Double?

    @Option(help: ArgumentHelp("At most --concurrency-limit tasks with this key run at once.", valueName: "key"))
    var concurrencyKey: String?

    @Option(help: ArgumentHelp("How many tasks with its --concurrency-key run at once (default 1).", valueName: "n"))
    var concurrencyLimit: Int?

    @Option(help: ArgumentHelp("Tasks with this key start at most --rate-per-second times a second.", valueName: "key"))
    var rateKey: String?

    @Option(help: ArgumentHelp("How often tasks with its --rate-key may start.", valueName: "rate"))
    var ratePerSecond: Double?

    @Option(help: ArgumentHelp("How many tasks with its --rate-key may start at once (default 1).", valueName: "n"))
    var rateBurst: Int?

    @Option(
        help: ArgumentHelp(
            "Add nothing if a task with this key has not ended: that task is returned instead.", valueName: "key"))
    var uniqueKey: String?

    @Option(
        name: .customLong("unique-for"),
        help: ArgumentHelp(
            "Also return a task with its --unique-key that completed at most this long ago.", valueName: "seconds"))
    var uniqueFor: Seconds?

    func validate() throws {
        let amounts: [(String, Double?)] = [
            ("--cpu", cpu), ("--memory-mb", memoryMB.map(Double.init)), ("--fairness-weight", fairnessWeight),
            ("--concurrency-limit", concurrencyLimit.map(Double.init)), ("--rate-per-second", ratePerSecond),
            ("--rate-burst", rateBurst.map(Double.init)), ("--unique-for", uniqueFor?.value),
        ]
        for case (let flag, let value?) in amounts where !(value > 0 && value.isFinite) {
            throw ValidationError("\(flag): expected more than 0, found \(JSONValue.number(value).text)")
        }
        if let problem = Amount.problem(in: resources) { throw ValidationError(problem) }
        let companions: [(String, Bool, String, Bool)] = [
            ("--run-anyway", runAnyway, "--depends-on", !dependsOn.isEmpty),
            ("--fairness-weight", fairnessWeight != nil, "--fairness-key", fairnessKey != nil),
            ("--concurrency-limit", concurrencyLimit != nil, "--concurrency-key", concurrencyKey != nil),
            ("--rate-per-second", ratePerSecond != nil, "--rate-key", rateKey != nil),
            ("--rate-key", rateKey != nil, "--rate-per-second", ratePerSecond != nil),
            ("--rate-burst", rateBurst != nil, "--rate-key", rateKey != nil),
            ("--unique-for", uniqueFor != nil, "--unique-key", uniqueKey != nil),
        ]
        for (flag, isGiven, needed, hasIt) in companions where isGiven && !hasIt {
            throw ValidationError("\(flag) needs \(needed)")
        }
    }

    /// The names of the flags that the user gave.
    var given: [String] {
        let flags: [(String, Bool)] = [
            ("--depends-on", !dependsOn.isEmpty), ("--run-anyway", runAnyway), ("--requires", !requires.isEmpty),
            ("--cpu", cpu != nil), ("--memory-mb", memoryMB != nil), ("--resource", !resources.isEmpty),
            ("--affinity-key", affinityKey != nil), ("--group-key", groupKey != nil),
            ("--fairness-key", fairnessKey != nil), ("--fairness-weight", fairnessWeight != nil),
            ("--concurrency-key", concurrencyKey != nil), ("--concurrency-limit", concurrencyLimit != nil),
            ("--rate-key", rateKey != nil), ("--rate-per-second", ratePerSecond != nil),
            ("--rate-burst", rateBurst != nil), ("--unique-key", uniqueKey != nil), ("--unique-for", uniqueFor != nil),
        ]
        return flags.filter(\.1).map(\.0)
    }

    func add(to body: inout JSONObjectText) {
        let dependencies = dependsOn.flatMap { $0.split(separator: ",").map(String.init) }
        body.add("depends_on", dependencies.isEmpty ? nil : dependencies)
        body.add("run_anyway", runAnyway ? true : nil)
        body.add("requires", requires.isEmpty ? nil : requires)
        var amounts = JSONObjectText()
        amounts.add("cpu", cpu)
        amounts.add("memory_mb", memoryMB)
        for resource in resources { amounts.add(resource.name, resource.value) }
        body.add("resources", json: amounts.members.isEmpty ? nil : amounts.text)
        body.add("affinity_key", affinityKey)
        body.add("group_key", groupKey)
        body.add("fairness_key", fairnessKey)
        body.add("fairness_weight", fairnessWeight)
        body.add("concurrency_key", concurrencyKey)
        body.add("concurrency_limit", concurrencyLimit)
        body.add("rate_key", rateKey)
        body.add("rate_per_second", ratePerSecond)
        body.add("rate_burst", rateBurst)
        body.add("unique_key", uniqueKey)
        body.add("unique_for_seconds", json: uniqueFor?.json)
    }
}
