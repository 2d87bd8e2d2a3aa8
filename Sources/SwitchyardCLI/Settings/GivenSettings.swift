import Configuration
import Foundation
import Switchyard
import Synchronization

/// The settings that the user gave. One reader looks them up: in the flags, then in the environment, then in the file.
struct GivenSettings {
    typealias Origin = EffectiveSettings.Origin

    private struct Source {
        let provider: any ConfigProvider
        let origin: @Sendable (String) -> Origin
    }

    /// A value, and the index of the source that has it.
    private struct Found {
        let name: String
        let input: SettingInput
        let source: Int
        let origin: Origin
    }

    private let sources: [Source]
    private let reader: ConfigReader
    private let lookup = LastLookup()

    /// - Throws: ``Failure`` if the file cannot be read, or has a name that is no setting.
    init(flags: [String: String], environment: [String: String], file: String?) async throws {
        // An empty variable counts as unset: `SWITCHYARD_REDIS= switchyard serve`.
        let variables = EnvironmentVariablesProvider(environmentVariables: environment.filter { !$0.value.isEmpty })
        let flags = InMemoryProvider(
            name: "flags",
            values: Dictionary(
                uniqueKeysWithValues: flags.map {
                    (AbsoluteConfigKey([$0]), ConfigValue(.string($1), isSecret: false))
                }))
        var sources = [
            Source(provider: flags) { .flag(Setting.flag($0)) },
            Source(provider: variables.prefixKeys(with: "switchyard")) { .environment(Setting.variable($0)) },
        ]
        if let file { sources.append(Source(provider: try await Self.provider(of: file)) { _ in .file(file) }) }
        self.sources = sources
        reader = ConfigReader(providers: sources.map(\.provider), accessReporter: lookup)
    }

    private static func provider(of file: String) async throws -> FileProvider<JSONSnapshot> {
        let names: [String]
        do {
            let object = try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: file)))
            guard let members = object as? [String: Any] else {
                throw Failure(.usage, "\(file): expected a JSON object with settings")
            }
            names = members.keys.sorted()
            // The provider would take it as a section with settings of its own.
            if let section = names.first(where: { members[$0] is [String: Any] }) {
                throw Failure(.usage, "\(section) (file \(file)): expected one value, found an object")
            }
        } catch let failure as Failure {
            throw failure
        } catch {
            throw Failure(.usage, "\(file): cannot be read as JSON: \(error.localizedDescription)")
        }
        let known = Set(Setting.all.flatMap(\.names))
        if let unknown = names.first(where: { !known.contains($0) }) {
            throw Failure(
                .usage,
                "\(file): there is no setting named \(Name.shown(unknown)); `switchyard config` lists the settings")
        }
        do {
            return try await FileProvider<JSONSnapshot>(filePath: .init(file))
        } catch {
            throw Failure(.usage, "\(file): \(error)")
        }
    }

    /// The value of a setting and its origin; nil if none was given. Of several names, the one in the first source
    /// counts.
    /// - Throws: ``Failure`` for an invalid value, and for two names with different values in one source.
    func value(of setting: Setting) async throws -> (value: Setting.Value, origin: Origin)? {
        var found: [Found] = []
        for name in setting.names {
            if let one = try await find(name, setting) { found.append(one) }
        }
        guard let first = found.map(\.source).min() else { return nil }
        let values = try found.filter { $0.source == first }.map { one in
            let label = "\(one.name) (\(one.origin))"
            return (label, one.origin, try setting.value(of: one.input, named: one.name, label: label))
        }
        for other in values.dropFirst() where other.2 != values[0].2 {
            throw Failure(
                .usage,
                """
                \(values[0].0) and \(other.0) are two names of one setting: expected one of them, or the same value, \
                found \(values[0].2) and \(other.2)
                """)
        }
        return (values[0].2, values[0].1)
    }

    /// Flags and variables are texts; a member of the file may have another type.
    private func find(_ name: String, _ setting: Setting) async throws -> Found? {
        let key = ConfigKey([name])
        var input: SettingInput?
        do {
            input = try await reader.fetchString(forKey: key, isSecret: setting.isSecret).map { .text($0) }
        } catch {
            do {
                input =
                    switch setting.kind {
                    case .text: .other
                    case .count, .size: try await reader.fetchInt(forKey: key).map { .whole($0) }
                    case .duration: try await reader.fetchDouble(forKey: key).map { .number($0) }
                    case .flag: try await reader.fetchBool(forKey: key).map { .flag($0) }
                    }
            } catch {
                // The error of the package does not say what was expected: value(of:named:label:) does.
                input = .other
            }
        }
        guard let input, let provider = lookup.provider,
            let source = sources.firstIndex(where: { $0.provider.providerName == provider })
        else { return nil }
        return Found(name: name, input: input, source: source, origin: sources[source].origin(name))
    }
}

/// Notes which provider decided the last lookup of a reader. A reader reports each lookup before it returns, and asks
/// its providers in order until one has a value or fails: that is the last of the results.
private final class LastLookup: AccessReporter {
    private let name = Mutex<String?>(nil)

    var provider: String? { name.withLock { $0 } }

    func report(_ event: AccessEvent) {
        name.withLock { $0 = event.providerResults.last?.providerName }
    }
}
