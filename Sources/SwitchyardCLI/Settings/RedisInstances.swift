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
    /// - Throws: ``Failure`` for a URL that is given twice, `RedisError` for an invalid URL.
    func redisInstances() throws -> [RedisConfiguration] {
        let urls = redisURLs
        for (index, url) in urls.enumerated() where urls[..<index].contains(url) {
            throw Failure(
                .usage,
                "redis: expected different servers, found one twice; for several partitions on one server use "
                    + Setting.partitions.flag)
        }
        return try urls.map { url in
            var configuration = try RedisConfiguration(url: url)
            if !url.contains("name=") { configuration.clientName = "switchyard" }
            return configuration
        }
    }

    /// The configuration of the only Redis server; nil if none was given.
    /// - Throws: as ``redisInstances()``, and ``Failure`` for several servers.
    func redis() throws -> RedisConfiguration? {
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
