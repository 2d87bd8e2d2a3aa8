import JSON
import Switchyard

/// A task's scheduling options under their names in a submission; options that were not given are left out.
enum SchedulingJSON {
    static func add(_ options: SchedulingOptions, to json: inout JSONValue) {
        json.add("resources", options.resources.isEmpty ? nil : resources(options.resources))
        for option in TaskOption.all where !option.isResource && option.isSet(in: options) {
            json.add(option.name, value(option, of: options))
        }
    }

    private static func value(_ option: TaskOption, of options: SchedulingOptions) -> JSONValue? {
        switch option.kind {
        case .key(let property), .text(let property, _): JSONValue(options[keyPath: property])
        case .number(let property, _): options[keyPath: property].map { JSONValue($0) }
        case .integer(let property, _): JSONValue(options[keyPath: property])
        case .duration(let property, _, _): JSONValue(options[keyPath: property])
        case .flag(let property): .bool(options[keyPath: property])
        case .taskIDs(let property, _), .requirements(let property): JSONValue(options[keyPath: property])
        case .amounts: nil
        }
    }

    static func resources(_ resources: Resources) -> JSONValue {
        var json: JSONValue = [:]
        json.add("cpu", resources.cpu.map { JSONValue($0) })
        json.add("memory_mb", resources.memoryMB.map { JSONValue($0) })
        for (name, amount) in resources.custom.sorted(by: { $0.key < $1.key }) { json.add(name, JSONValue(amount)) }
        return json
    }
}
