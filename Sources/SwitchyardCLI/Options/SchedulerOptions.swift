import ArgumentParser
import Switchyard

/// The settings of a queue as flags. A replica writes those that differ from the defaults to the queue when it starts.
/// ``QueueSetting/all`` declares them.
///
/// ArgumentParser finds the flags of a type in its mirror, and decodes their values by the labels there. This mirror
/// has a property wrapper for each name in the table, as a type with declared properties has. The values stay texts:
/// ``EffectiveSettings`` checks them as it checks the environment and the file.
struct SchedulerOptions: ParsableArguments, CustomReflectable {
    private struct Key: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    /// The values that the user gave, by names of settings.
    private(set) var flags: [String: String] = [:]

    init() {}

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        for name in Setting.ofReplicas.flatMap(\.names) {
            flags[name] = try container.decode(Option<String?>.self, forKey: Key(stringValue: name)).wrappedValue
        }
    }

    var customMirror: Mirror {
        let wrappers = Setting.ofReplicas.flatMap { setting in
            setting.names.map { name in
                (
                    label: "_" + name,
                    value: Option<String?>(
                        name: .customLong(String(Setting.flag(name).dropFirst(2))), help: Self.help(setting, name))
                        as Any
                )
            }
        }
        return Mirror(self, children: wrappers)
    }

    /// The aliases are shown by `--help-hidden` only.
    private static func help(_ setting: Setting, _ name: String) -> ArgumentHelp {
        guard let ofQueue = setting.ofQueue else { return "" }
        let valueName =
            name.hasSuffix("_ms") ? "ms" : ofQueue.isDuration ? "duration" : ofQueue.kind == .size ? "size" : "n"
        guard name == setting.name else {
            return ArgumentHelp("Another name of \(setting.flag).", valueName: valueName, visibility: .hidden)
        }
        return ArgumentHelp(
            "\(ofQueue.help) (\(ofQueue.bounds); default \(ofQueue.text(ofQueue.defaultValue)))", valueName: valueName)
    }
}
