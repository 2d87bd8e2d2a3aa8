import RedisClient
import Switchyard

// Where the queues are: one Redis, or several over which each queue is spread.

extension EffectiveSettings {
    /// The URLs of `--redis` (repeated) or SWITCHYARD_REDIS (separated by commas); none: none was given.
    var redisURLs: [String] { optionalText(.redis).map(Self.urls(in:)) ?? [] }

    /// Splits at the commas that a scheme follows: others belong to a URL (`redis-sentinel://h1,h2/name`).
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

    /// - Throws: ``Failure`` or `RedisError` for a URL that is none, or is given twice.
    func redisInstances() throws -> [RedisConfiguration] {
        let urls = redisURLs
        for (index, url) in urls.enumerated() where urls[..<index].contains(url) {
            throw Failure(
                .usage,
                "redis: expected different instances, found one twice; for several partitions on one instance say "
                    + Setting.partitions.flag)
        }
        return try urls.map { url in
            var configuration = try RedisConfiguration(url: url)
            if !url.contains("name=") { configuration.clientName = "switchyard" }
            return configuration
        }
    }

    /// The only instance; nil: none was given.
    /// - Throws: as ``redisInstances()``, and ``Failure`` for several.
    func redis() throws -> RedisConfiguration? {
        let instances = try redisInstances()
        guard instances.count <= 1 else {
            throw Failure(.usage, "redis: expected one instance here, found \(instances.count)")
        }
        return instances.first
    }

    /// - Throws: ``Failure`` for a number that is less than one for each instance, or too many.
    func partitions(on instances: [RedisClient]) throws -> Partitions {
        do {
            return try Partitions(on: instances, count: values[.partitions].map { _ in count(.partitions) })
        } catch {
            throw Failure(.usage, error.message)
        }
    }
}
