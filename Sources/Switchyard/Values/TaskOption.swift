/// When, where and in which order a task may run, besides its priority and its start time. Every option is optional. A
/// task without options does not pay for them. ``TaskOption/all`` describes each of them once.
public struct SchedulingOptions: Sendable, Equatable {
    // MARK: Where

    /// Labels that the worker must have: `key`, `key=value`, `key!=value`, `key=one|other` or `key in (one,other)`. The
    /// last two forms mean the same; a task that is read has the first of them.
    public var requires: [String] = []
    /// Amounts that are reserved on the worker from the assignment to the end of each attempt.
    public var resources = Resources()
    /// Prefers the worker that last ran a task with this key. If the key is a repository's name, its caches are warm.
    public var affinityKey: String?
    /// Relates tasks: a worker that pulls several tasks at once may prefer tasks with one group key.
    public var groupKey: String?

    // MARK: In which order

    /// The tenant. Within a priority, tenants share the workers by weight.
    public var fairnessKey: String?
    /// The tenant's weight, 0.001 to 1000; nil: 1.
    public var fairnessWeight: Double?

    // MARK: When

    /// At most ``concurrencyLimit`` tasks with this key are assigned or running at once.
    public var concurrencyKey: String?
    /// 1 to 1,000,000; nil: 1.
    public var concurrencyLimit: Int?
    /// At most ``ratePerSecond`` tasks with this key start in a second, after a burst of ``rateBurst``.
    public var rateKey: String?
    /// 0.0001 to 100,000; nil: 1.
    public var ratePerSecond: Double?
    /// 1 to 1,000,000; nil: 1.
    public var rateBurst: Int?
    /// Ids of tasks that must complete first. They are in the same submission, or already in the queue.
    public var dependsOn: [String] = []
    /// True: the task also runs if a dependency ends without success. False: it is then cancelled.
    public var runAnyway = false
    /// While a task with this key has not ended, another submission with the key adds nothing, and returns that task.
    public var uniqueKey: String?
    /// How long the key stays taken after its task has completed, so that the result is reused; nil: not at all.
    public var uniqueFor: Duration?

    // MARK: How it ends

    /// The time between SIGTERM and SIGKILL when an attempt is told to end, at most an hour; nil: the worker's.
    public var grace: Duration?

    /// No options.
    public init() {}
}

extension TaskOption {
    /// Every option, in the order in which the help, the documentation and the responses show them. The checks, the
    /// arguments of the functions in Redis, HTTP and the flags of the command line follow from this table.
    public static let all: [TaskOption] = [
        TaskOption(
            "depends_on", .taskIDs(\.dependsOn, maximum: 1000), valueName: "id",
            help: "Run after these tasks have completed; repeatable, or separated by commas."),
        TaskOption(
            "run_anyway", .flag(\.runAnyway), flagNeeds: "depends_on", display: .hidden,
            help: "Run even if a task of --depends-on did not complete."),
        TaskOption(
            "requires", .requirements(\.requires), valueName: "requirement",
            help: "A requirement on its worker: label, label=value, label=one|other or label!=value; repeatable."),
        TaskOption(
            "cpu", .number(\.resources.cpu, Resources.amounts), isResource: true, valueName: "cores",
            help: "Cores that it needs; fractions are allowed."),
        TaskOption(
            "memory_mb", .integer(\.resources.memoryMB, Resources.megabytes), sizeFlag: "memory", isResource: true,
            valueName: "mib",
            help: "Memory that it needs, in MiB."),
        TaskOption(
            "NAME", .amounts(\.resources.custom), flag: "resource", isResource: true, valueName: "name=amount",
            help: "Another resource that it needs, such as gpu=1; repeatable."),
        TaskOption(
            "affinity_key", .key(\.affinityKey), display: .key("affinity"),
            help: "Prefer the worker that last ran a task with this key (warm caches)."),
        TaskOption(
            "group_key", .key(\.groupKey), display: .key("group"),
            help: "A worker may take tasks with the same key together."),
        TaskOption(
            "fairness_key", .key(\.fairnessKey), display: .key("fairness"),
            help: "Share the workers fairly between the keys."),
        TaskOption(
            "fairness_weight", .number(\.fairnessWeight, 0.001...1000), needs: "fairness_key",
            display: .besideKey("weight %"), valueName: "weight",
            help: "The weight of its --fairness-key (default 1)."),
        TaskOption(
            "concurrency_key", .key(\.concurrencyKey), display: .key("concurrency"),
            help: "At most --concurrency-limit tasks with this key run at once."),
        TaskOption(
            "concurrency_limit", .integer(\.concurrencyLimit, 1...1_000_000), needs: "concurrency_key",
            display: .besideKey("at most %", absent: "1"),
            help: "How many tasks with its --concurrency-key run at once (default 1)."),
        TaskOption(
            "rate_key", .key(\.rateKey), flagNeeds: "rate_per_second", display: .key("rate"),
            help: "Tasks with this key start at most --rate-per-second times a second."),
        TaskOption(
            "rate_per_second", .number(\.ratePerSecond, 0.0001...100_000), needs: "rate_key",
            display: .besideKey("% a second"), valueName: "rate",
            help: "How often tasks with its --rate-key may start."),
        TaskOption(
            "rate_burst", .integer(\.rateBurst, 1...1_000_000), needs: "rate_key", display: .hidden,
            help: "How many tasks with its --rate-key may start at once (default 1)."),
        TaskOption(
            "unique_key", .key(\.uniqueKey), display: .key("unique"),
            help: "Add nothing if a task with this key has not ended: that task is returned instead."),
        TaskOption(
            "unique_for_seconds",
            .duration(\.uniqueFor, milliseconds: 1...31_536_000_000, wireName: "unique_for_ms"), needs: "unique_key",
            flag: "unique-for", display: .hidden,
            help: "Also return a task with its --unique-key that completed at most this long ago."),
        TaskOption(
            "grace_seconds", .duration(\.grace, milliseconds: 0...3_600_000, wireName: "grace_ms"), flag: "grace",
            help: "Time between SIGTERM and SIGKILL when it is told to end (default: the worker's --grace)."),
    ]
}

/// The description of one option of a task: its names, its type with bounds, and the property that holds it.
public struct TaskOption: Sendable {
    /// A property of the options.
    public typealias Property<Value> = any WritableKeyPath<SchedulingOptions, Value> & Sendable

    /// The type and the bounds of an option, and the property that holds its value.
    public enum Kind: Sendable {
        /// A text that identifies something: 1 to 200 bytes without control characters.
        case key(Property<String?>)
        /// Any text of at most so many bytes of UTF-8, without control characters.
        case text(Property<String?>, maxBytes: Int)
        /// A number in a range.
        case number(Property<Double?>, ClosedRange<Double>)
        /// A whole number in a range.
        case integer(Property<Int?>, ClosedRange<Int>)
        /// A duration: seconds outside, milliseconds in Redis, where it has another name.
        case duration(Property<Duration?>, milliseconds: ClosedRange<Int>, wireName: String)
        /// True or absent.
        case flag(Property<Bool>)
        /// A list of task ids.
        case taskIDs(Property<[String]>, maximum: Int)
        /// A list of requirements on the labels of a worker.
        case requirements(Property<[String]>)
        /// Custom amounts by name.
        case amounts(Property<[String: Double]>)
    }

    /// How the details of a task show an option.
    public enum Display: Sendable, Equatable {
        /// As a row with the option's name.
        case row
        /// In the row of keys, under this label.
        case key(String)
        /// In parentheses after the key that the option needs; `%` stands for the value. Nothing is shown without a
        /// value, unless `absent` is the value to show then.
        case besideKey(String, absent: String? = nil)
        /// Not at all, or by code of its own.
        case hidden
    }

    /// The name in HTTP and, except for a duration, in Redis.
    public let name: String
    /// The type with its bounds, and the property.
    public let kind: Kind
    /// The name of an option without which this one is refused.
    public let needs: String?
    /// The name of an option without which the command line refuses the flag of this one.
    public let flagNeeds: String?
    /// The flag of the command line, without its dashes.
    public let flag: String
    /// Another flag for a size in MiB, whose value may have a unit (`4G`).
    public let sizeFlag: String?
    /// Whether the option is a member of `resources` in HTTP. ``Resources`` checks, encodes and decodes these together.
    public let isResource: Bool
    /// How the details of a task show it.
    public let display: Display
    /// The placeholder of the value in the help.
    public let valueName: String
    /// One line of documentation.
    public let help: String

    init(
        _ name: String, _ kind: Kind, needs: String? = nil, flagNeeds: String? = nil, flag: String? = nil,
        sizeFlag: String? = nil, isResource: Bool = false, display: Display? = nil, valueName: String? = nil,
        help: String
    ) {
        self.name = name
        self.kind = kind
        self.needs = needs
        self.flagNeeds = flagNeeds ?? needs
        self.flag = flag ?? name.replacing("_", with: "-")
        self.sizeFlag = sizeFlag
        self.isResource = isResource
        self.display = display ?? kind.standardDisplay
        self.valueName = valueName ?? kind.standardValueName
        self.help = help
    }

    /// The field of a submission over HTTP, such as `group_key` or `resources.cpu`.
    public var field: String { isResource ? "resources.\(name)" : name }

    /// The option of this name.
    public static func named(_ name: String) -> TaskOption? { all.first { $0.name == name } }

    /// Whether the option has a value.
    public func isSet(in options: SchedulingOptions) -> Bool {
        switch kind {
        case .key(let property), .text(let property, _): options[keyPath: property] != nil
        case .number(let property, _): options[keyPath: property] != nil
        case .integer(let property, _): options[keyPath: property] != nil
        case .duration(let property, _, _): options[keyPath: property] != nil
        case .flag(let property): options[keyPath: property]
        case .taskIDs(let property, _), .requirements(let property): !options[keyPath: property].isEmpty
        case .amounts(let property): !options[keyPath: property].isEmpty
        }
    }
}
