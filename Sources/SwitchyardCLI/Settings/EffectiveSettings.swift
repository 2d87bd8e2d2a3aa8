import Configuration
import Foundation
import Logging
import RedisClient
import Switchyard

/// Every setting with its effective value and the origin of the value. Flags take precedence over the environment, the
/// environment over the JSON file, and the file over the defaults.
///
/// Guarantees that each value has its kind and is in its range, and that the file has only names of settings. Otherwise
/// `init` throws a ``Failure`` that names the setting and its origin: a default never replaces an invalid value.
struct EffectiveSettings: Sendable {
    enum Origin: Sendable, Equatable, CustomStringConvertible {
        case flag(String)
        case environment(String)
        case file(String)
        case byDefault

        var description: String {
            switch self {
            case .flag(let name): "flag \(name)"
            case .environment(let name): "environment \(name)"
            case .file(let path): "file \(path)"
            case .byDefault: "default"
            }
        }
    }

    private(set) var values: [Setting: (value: Setting.Value, origin: Origin)] = [:]

    /// - Parameters:
    ///   - flags: the flags that the user gave.
    ///   - file: the path from `--config`; nil: from SWITCHYARD_CONFIG, or no file.
    init(
        flags: [Setting: Setting.Value], file: String? = nil,
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) async throws {
        let path = file ?? environment["SWITCHYARD_CONFIG"].flatMap { $0.isEmpty ? nil : $0 }
        // An empty variable counts as unset: `SWITCHYARD_REDIS= switchyard serve`.
        var sources: [(any ConfigProvider, (Setting) -> Origin)] = [
            (Self.provider(of: flags), { .flag($0.flag) }),
            (
                EnvironmentVariablesProvider(environmentVariables: environment.filter { !$0.value.isEmpty })
                    .prefixKeys(with: "switchyard"), { .environment($0.variable) }
            ),
        ]
        if let path { sources.append((try await Self.fileProvider(path), { _ in .file(path) })) }

        for setting in Setting.allCases {
            if let (value, origin) = try Self.lookUp(setting, in: sources) {
                values[setting] = (value, origin)
            } else if let value = setting.defaultValue {
                values[setting] = (value, .byDefault)
            }
        }
        try checkTogether()
    }

    private static func provider(of flags: [Setting: Setting.Value]) -> InMemoryProvider {
        InMemoryProvider(
            name: "flags",
            values: Dictionary(
                uniqueKeysWithValues: flags.map { setting, value in
                    let content: ConfigContent =
                        switch value {
                        case .text(let text): .string(text)
                        case .count(let number): .int(number)
                        case .seconds(let seconds): .double(seconds)
                        case .flag(let isSet): .bool(isSet)
                        }
                    return (AbsoluteConfigKey([setting.rawValue]), ConfigValue(content, isSecret: false))
                }))
    }

    private static func fileProvider(_ path: String) async throws -> FileProvider<JSONSnapshot> {
        let names: [String]
        do {
            let object = try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: path)))
            guard let members = object as? [String: Any] else {
                throw Failure(.usage, "\(path): expected a JSON object with settings")
            }
            names = members.keys.sorted()
        } catch let failure as Failure {
            throw failure
        } catch {
            throw Failure(.usage, "\(path): cannot be read as JSON: \(error.localizedDescription)")
        }
        if let unknown = names.first(where: { Setting(rawValue: $0) == nil }) {
            throw Failure(
                .usage,
                "\(path): there is no setting named \(Name.shown(unknown)); `switchyard config` lists the settings")
        }
        do {
            return try await FileProvider<JSONSnapshot>(filePath: .init(path))
        } catch {
            throw Failure(.usage, "\(path): \(error)")
        }
    }

    private static func lookUp(
        _ setting: Setting, in sources: [(any ConfigProvider, (Setting) -> Origin)]
    ) throws(Failure) -> (Setting.Value, Origin)? {
        let key = AbsoluteConfigKey([setting.rawValue])
        for (provider, origin) in sources {
            let origin = origin(setting)
            let (type, expected): (ConfigType, String) =
                switch setting.kind {
                case .text: (.string, "text")
                case .count: (.int, "a whole number")
                case .seconds: (.double, "a number of seconds")
                case .flag: (.bool, "true or false")
                }
            let found: ConfigValue?
            do {
                found = try provider.value(forKey: key, type: type).value
            } catch {
                throw Failure(.usage, "\(setting.rawValue) (\(origin)): expected \(expected)")
            }
            guard let found else { continue }
            let value: Setting.Value
            switch found.content {
            case .string(let text): value = .text(text)
            case .int(let number): value = .count(number)
            case .double(let number): value = .seconds(number)
            case .bool(let isSet): value = .flag(isSet)
            default: throw Failure(.usage, "\(setting.rawValue) (\(origin)): expected \(expected)")
            }
            if let range = setting.range, let number = value.number, !range.contains(number) {
                let bounds = [range.lowerBound, range.upperBound].map { JSONValue.number($0).text }
                throw Failure(
                    .usage, "\(setting.rawValue) (\(origin)): expected \(bounds[0]) to \(bounds[1]), found \(value)")
            }
            return (value, origin)
        }
        return nil
    }

    private func checkTogether() throws(Failure) {
        if seconds(.heartbeat) * 2 > seconds(.lease) {
            throw Failure(
                .usage,
                """
                heartbeat: expected at most half of lease (\(seconds(.lease)) s), so that one may be lost, \
                found \(seconds(.heartbeat)) s
                """)
        }
        guard Logger.Level(rawValue: text(.logLevel)) != nil else {
            let levels = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
            throw Failure(.usage, "log_level: expected one of \(levels), found \(Name.shown(text(.logLevel)))")
        }
        guard LogFormat(rawValue: text(.logFormat)) != nil else {
            throw Failure(.usage, "log_format: expected text or json, found \(Name.shown(text(.logFormat)))")
        }
        do {
            _ = try Name.validate(text(.queue), field: "queue")
        } catch {
            throw Failure(error)
        }
    }

    // MARK: Reading

    func text(_ setting: Setting) -> String { values[setting].map { "\($0.value)" } ?? "" }
    func optionalText(_ setting: Setting) -> String? { values[setting].map { "\($0.value)" } }
    func seconds(_ setting: Setting) -> Double { values[setting]?.value.number ?? 0 }
    func count(_ setting: Setting) -> Int { Int(values[setting]?.value.number ?? 0) }
    func isSet(_ setting: Setting) -> Bool { values[setting]?.value == .flag(true) }

    var logLevel: Logger.Level { Logger.Level(rawValue: text(.logLevel)) ?? .info }
    var logFormat: LogFormat { LogFormat(rawValue: text(.logFormat)) ?? .text }

    var schedulerConfig: SchedulerConfig {
        func duration(_ setting: Setting) -> Duration {
            .milliseconds(Int64((seconds(setting) * 1000).rounded()))
        }
        var config = SchedulerConfig()
        config.maxQueueLength = count(.maxQueueLength)
        config.defaultTaskTimeout = duration(.defaultTaskTimeout)
        config.defaultMaxRetries = count(.defaultMaxRetries)
        config.schedulerInterval = .milliseconds(count(.schedulerIntervalMS))
        config.cleanupInterval = duration(.cleanupInterval)
        config.completedTaskRetention = duration(.completedTaskRetention)
        config.maxFinished = count(.maxFinished)
        config.lease = duration(.lease)
        config.heartbeat = duration(.heartbeat)
        config.assignTimeout = duration(.assignTimeout)
        config.maxDeliveries = count(.maxDeliveries)
        config.retryDelay = duration(.retryDelay)
        config.retryDelayMax = duration(.retryDelayMax)
        config.retryJitterPercent = count(.retryJitterPercent)
        config.logMaxEntries = count(.logMaxEntries)
        return config
    }
}
