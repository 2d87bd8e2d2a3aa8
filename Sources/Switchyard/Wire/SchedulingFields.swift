import RedisClient

// Converts scheduling options to the arguments of a submission, and back from the fields of a reply.

extension SchedulingOptions {
    /// The arguments for the options that are set.
    var arguments: [(name: String, value: String)] {
        guard self != Self.none else { return [] }
        var pairs = resources.arguments
        for option in TaskOption.all where !option.isResource {
            if let value = option.wireText(of: self), !value.isEmpty { pairs.append((option.wireName, value)) }
        }
        return pairs
    }

    init(_ fields: ReplyFields) {
        self.init()
        resources = Resources(fields)
        for option in TaskOption.all where !option.isResource && fields[option.wireName] != nil {
            option.read(fields, into: &self)
        }
    }
}

extension TaskOption {
    /// The name of the argument and of the field in Redis.
    var wireName: String {
        if case .duration(_, _, let wireName) = kind { wireName } else { name }
    }

    fileprivate func wireText(of options: SchedulingOptions) -> String? {
        switch kind {
        case .key(let property), .text(let property, _): options[keyPath: property]
        case .number(let property, _): options[keyPath: property]?.plainText
        case .integer(let property, _): options[keyPath: property].map(String.init)
        case .duration(let property, _, _): options[keyPath: property].map { String($0.milliseconds) }
        case .flag(let property): options[keyPath: property] ? "1" : nil
        case .taskIDs(let property, _), .requirements(let property): options[keyPath: property].joined(separator: ",")
        case .amounts: nil
        }
    }

    fileprivate func read(_ fields: ReplyFields, into options: inout SchedulingOptions) {
        switch kind {
        case .key(let property), .text(let property, _): options[keyPath: property] = fields.string(wireName)
        case .number(let property, _): options[keyPath: property] = fields.double(wireName)
        case .integer(let property, _): options[keyPath: property] = fields.optionalInt(wireName)
        case .duration(let property, _, _):
            options[keyPath: property] = fields.optionalDuration(wireName)
        case .flag(let property): options[keyPath: property] = fields.flag(wireName)
        case .taskIDs(let property, _), .requirements(let property):
            options[keyPath: property] = fields.words(wireName)
        case .amounts: break
        }
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
            if sides.count == 2, let number = Double(sides[1]), number.isFinite { custom[String(sides[0])] = number }
        }
    }
}
