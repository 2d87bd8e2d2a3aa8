import ArgumentParser
import JSON
import Switchyard

/// The scheduling options of a submission as flags. ``TaskOption/all`` declares them.
///
/// ArgumentParser finds the flags of a type in its mirror, and decodes their values by the labels there. This mirror
/// has a property wrapper for each option of the table, as a type with declared properties has.
struct SchedulingFlags: ParsableArguments, CustomReflectable {
    private struct Key: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(flag: String) { stringValue = flag }
        init?(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    /// The values that the user gave, by flag.
    private var values: [String: Value] = [:]

    init() {}

    init(from decoder: any Decoder) throws {
        let flags = try decoder.container(keyedBy: Key.self)
        for option in TaskOption.all {
            values[option.flag] = try Self.value(of: option, in: flags)
            guard let sizeFlag = option.sizeFlag else { continue }
            values[sizeFlag] =
                try flags.decode(Option<Mebibytes?>.self, forKey: Key(flag: sizeFlag)).wrappedValue
                .map { .integer($0.value) }
        }
    }

    var customMirror: Mirror {
        let wrappers = TaskOption.all.flatMap { option in
            let wrapper = (label: "_" + option.flag, value: Self.wrapper(of: option))
            guard let sizeFlag = option.sizeFlag else { return [wrapper] }
            let help = ArgumentHelp("As --\(option.flag), with a unit: 512M, 4G.", valueName: "size")
            let size = Option<Mebibytes?>(
                name: .customLong(sizeFlag), help: help, transform: Mebibytes.init(transforming:))
            return [wrapper, (label: "_" + sizeFlag, value: size)]
        }
        return Mirror(self, children: wrappers)
    }

    /// The property wrapper that declares the flag of an option.
    private static func wrapper(of option: TaskOption) -> Any {
        let name = NameSpecification.customLong(option.flag)
        let help = ArgumentHelp("\(option.help)", valueName: option.valueName)
        return switch option.kind {
        case .key, .text: Option<String?>(name: name, help: help)
        case .number: Option<Double?>(name: name, help: help)
        case .integer: Option<Int?>(name: name, help: help)
        case .duration: Option<Seconds?>(name: name, help: help, transform: Seconds.init(transforming:))
        case .flag: Flag(wrappedValue: false, name: name, help: ArgumentHelp("\(option.help)"))
        case .taskIDs, .requirements: Option<[String]>(wrappedValue: [], name: name, help: help)
        case .amounts: Option<[Amount]>(wrappedValue: [], name: name, help: help)
        }
    }

    private static func value(
        of option: TaskOption, in flags: KeyedDecodingContainer<Key>
    ) throws -> Value? {
        let key = Key(flag: option.flag)
        switch option.kind {
        case .key, .text: return try flags.decode(Option<String?>.self, forKey: key).wrappedValue.map { .text($0) }
        case .number: return try flags.decode(Option<Double?>.self, forKey: key).wrappedValue.map { .number($0) }
        case .integer: return try flags.decode(Option<Int?>.self, forKey: key).wrappedValue.map { .integer($0) }
        case .duration: return try flags.decode(Option<Seconds?>.self, forKey: key).wrappedValue.map { .seconds($0) }
        case .flag: return try flags.decode(Flag<Bool>.self, forKey: key).wrappedValue ? .isOn : nil
        case .taskIDs:
            let lists = try flags.decode(Option<[String]>.self, forKey: key).wrappedValue
            return lists.isEmpty ? nil : .texts(lists.flatMap { $0.split(separator: ",").map(String.init) })
        case .requirements:
            let texts = try flags.decode(Option<[String]>.self, forKey: key).wrappedValue
            return texts.isEmpty ? nil : .texts(texts)
        case .amounts:
            let amounts = try flags.decode(Option<[Amount]>.self, forKey: key).wrappedValue
            return amounts.isEmpty ? nil : .amounts(amounts)
        }
    }

    func validate() throws {
        for option in TaskOption.all {
            var mayBeZero = false
            if case .duration(_, let range, _) = option.kind { mayBeZero = range.contains(0) }
            for flag in Self.flags(of: option) {
                guard let number = values[flag]?.number else { continue }
                if number.isFinite, number > 0 || mayBeZero && number == 0 { continue }
                throw ValidationError(
                    "--\(flag): expected \(mayBeZero ? "0 or more" : "more than 0"), found \(JSONValue(number).text)")
            }
        }
        for option in TaskOption.all {
            guard let sizeFlag = option.sizeFlag, let size = values[sizeFlag]?.number,
                let number = values[option.flag]?.number, number != size
            else { continue }
            throw ValidationError("--\(sizeFlag) and --\(option.flag) differ: expected one of them")
        }
        for case .amounts(let amounts) in values.values {
            if let problem = Amount.problem(in: amounts) { throw ValidationError(problem) }
        }
        for option in TaskOption.all where values[option.flag] != nil {
            guard let needed = option.flagNeeds.flatMap(TaskOption.named), values[needed.flag]?.isEmpty ?? true
            else { continue }
            throw ValidationError("--\(option.flag) needs --\(needed.flag)")
        }
    }

    /// The names of the flags that the user gave.
    var given: [String] {
        TaskOption.all.flatMap(Self.flags).filter { values[$0] != nil }.map { "--\($0)" }
    }

    private static func flags(of option: TaskOption) -> [String] {
        [option.flag] + (option.sizeFlag.map { [$0] } ?? [])
    }

    func add(to body: inout JSONValue) {
        var resources: JSONValue = [:]
        for option in TaskOption.all {
            guard let value = Self.flags(of: option).compactMap({ values[$0] }).first, !value.isEmpty else { continue }
            if case .amounts(let amounts) = value {
                for amount in amounts { resources.add(amount.name, JSONValue(amount.value)) }
            } else if option.isResource {
                resources.add(option.name, value.json)
            } else {
                body.add(option.name, value.json)
            }
        }
        body.add("resources", resources == [:] ? nil : resources)
    }
}

extension SchedulingFlags {
    /// The value of a flag.
    private enum Value: Sendable {
        case text(String)
        case number(Double)
        case integer(Int)
        case seconds(Seconds)
        case isOn
        case texts([String])
        case amounts([Amount])

        var number: Double? {
            switch self {
            case .number(let value): value
            case .integer(let value): Double(value)
            case .seconds(let seconds): seconds.value
            case .text, .isOn, .texts, .amounts: nil
            }
        }

        var isEmpty: Bool {
            if case .texts(let texts) = self { texts.isEmpty } else { false }
        }

        /// The value as JSON; nil for amounts, which are members of an object.
        var json: JSONValue? {
            switch self {
            case .text(let text): .string(text)
            case .number(let value): JSONValue(value)
            case .integer(let value): JSONValue(value)
            case .seconds(let seconds): seconds.json
            case .isOn: true
            case .texts(let texts): JSONValue(texts)
            case .amounts: nil
            }
        }
    }
}
