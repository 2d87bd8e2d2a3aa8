import Foundation
import JSON
import Logging
import RedisClient
import Switchyard

/// Every setting with its effective value and the origin of the value. Flags take precedence over the environment, the
/// environment over the JSON file, and the file over the defaults.
///
/// Guarantees that each value has its kind and is in its range, that two names of a setting in one place do not
/// contradict each other, and that the file has only names of settings. Otherwise `init` throws a ``Failure`` that
/// names the setting and its origin: a default never replaces an invalid value.
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
    ///   - flags: the flags that the user gave, by names of settings.
    ///   - file: the path from `--config`; nil: from SWITCHYARD_CONFIG, or no file.
    init(
        flags: [String: String], file: String? = nil,
        environment: [String: String] = ProcessInfo.processInfo.environment
    ) async throws {
        let path = file ?? environment["SWITCHYARD_CONFIG"].flatMap { $0.isEmpty ? nil : $0 }
        let given = try await GivenSettings(flags: flags, environment: environment, file: path)
        for setting in Setting.all {
            if let found = try await given.value(of: setting) {
                values[setting] = found
            } else if let value = setting.defaultValue {
                values[setting] = (value, .byDefault)
            }
        }
        try checkTogether()
    }

    private func checkTogether() throws(Failure) {
        let config = schedulerConfig
        if config.heartbeat * 2 > config.lease {
            throw Failure(
                .usage,
                """
                heartbeat: expected at most half of lease (\(DurationText.text(config.lease))), so that one may be \
                lost, found \(DurationText.text(config.heartbeat))
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
    func count(_ setting: Setting) -> Int { values[setting]?.value.number ?? 0 }
    func isSet(_ setting: Setting) -> Bool { values[setting]?.value == .flag(true) }

    var logLevel: Logger.Level { Logger.Level(rawValue: text(.logLevel)) ?? .info }
    var logFormat: LogFormat { LogFormat(rawValue: text(.logFormat)) ?? .text }

    var schedulerConfig: SchedulerConfig {
        var config = SchedulerConfig()
        for setting in Setting.ofReplicas {
            if let number = values[setting]?.value.number { setting.ofQueue?.set(number, in: &config) }
        }
        return config
    }
}
