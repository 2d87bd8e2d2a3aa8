import Foundation
import RedisClient
import Switchyard

// The Redis server that has the queues, or the several servers over which each queue is spread.

extension EffectiveSettings {
    /// The URLs of `--redis` (repeated) or SWITCHYARD_REDIS (separated by commas); empty if none was given.
    var redisURLs: [String] { optionalText(.redis).map(Self.urls(in:)) ?? [] }

    /// Splits the text at commas before a scheme. Other commas belong to a URL (`redis-sentinel://h1,h2/name`).
    static func urls(in text: String) -> [String] {
        var urls: [String] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            if part.contains(#/^[a-z][a-z0-9+-]*:///#) || urls.isEmpty {
                urls.append(String(part))
            } else {
                urls[urls.count - 1] += "," + part
            }
        }
        return urls
    }

    /// The configurations of the Redis servers, in order; empty if none was given.
    /// - Throws: ``Failure`` for a URL that is given twice or is invalid, and for a password that cannot be read. No
    ///   message has a password.
    func redisInstances() throws(Failure) -> [RedisConfiguration] {
        let urls = redisURLs
        let password = urls.isEmpty ? nil : try redisPassword()
        for (index, url) in urls.enumerated() where urls[..<index].contains(url) {
            throw Failure(
                .usage,
                "redis: expected different servers, found one twice; for several partitions on one server use "
                    + Setting.partitions.flag)
        }
        return try urls.map { url throws(Failure) in
            do {
                var configuration = try RedisConfiguration(url: url, password: password)
                if !url.contains("name=") { configuration.clientName = "switchyard" }
                return configuration
            } catch {
                let hint = url.contains("@") ? ". Or give the password in \(Setting.redisPassword.variable)" : ""
                throw Failure(.usage, "\(error)\(hint)")
            }
        }
    }

    /// The password of the servers whose URL has none: itself a setting, or in the file that a setting names; nil if
    /// neither is set.
    /// - Throws: ``Failure`` if both are set in one place, or the file cannot be read.
    func redisPassword() throws(Failure) -> String? {
        let (text, file) = (values[.redisPassword], values[.redisPasswordFile])
        guard let file else { return text.map { "\($0.value)" } }
        if let text {
            switch (text.origin, file.origin) {
            case (.environment, .file): return "\(text.value)"
            case (.file, .environment): break
            default:
                throw Failure(
                    .usage,
                    "expected redis_password (\(text.origin)) or redis_password_file (\(file.origin)), found both")
            }
        }
        let path = "\(file.value)"
        let label = "redis_password_file (\(file.origin))"
        let data: Data
        do {
            data = try Data(contentsOf: URL(filePath: path))
        } catch {
            throw Failure(.usage, "\(label): cannot read \(path): \(error.localizedDescription)")
        }
        // An editor ends the line.
        let line = data.prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
        guard let password = String(validating: line, as: UTF8.self), !password.isEmpty else {
            throw Failure(.usage, "\(label): expected a password in the first line of \(path), found none")
        }
        return password
    }

    /// The environment of another `switchyard` process that uses the Redis servers with these URLs. They are not
    /// arguments, because every user of the machine, and so every task, can read those.
    static func environment(
        _ own: [String: String] = ProcessInfo.processInfo.environment, redis urls: [String], password: String?
    ) -> [String: String] {
        var environment = own
        environment[Setting.redis.variable] = urls.joined(separator: ",")
        environment[Setting.redisPassword.variable] = password
        environment[Setting.redisPasswordFile.variable] = nil
        return environment
    }

    /// The configuration of the only Redis server; nil if none was given.
    /// - Throws: as ``redisInstances()``, and ``Failure`` for several servers.
    func redis() throws(Failure) -> RedisConfiguration? {
        let instances = try redisInstances()
        guard instances.count <= 1 else {
            throw Failure(.usage, "redis: expected one server here, found \(instances.count)")
        }
        return instances.first
    }

    /// The partitions on these servers: the number from the settings, or one for each server.
    /// - Throws: ``Failure`` if the number is less than the number of servers, or too large.
    func partitions(on instances: [RedisClient]) throws -> Partitions {
        do {
            return try Partitions(on: instances, count: values[.partitions].map { _ in count(.partitions) })
        } catch {
            throw Failure(.usage, error.message)
        }
    }
}
