import ArgumentParser
import Logging
import PrivateRedis
import RedisClient

struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure what a task costs Redis, and how many go through in a second.",
        discussion: """
            Starts a redis-server of its own in a temporary directory (append-only file, everysec), unless --redis \
            names one; there nobody else should be working, and queue bench must be empty. Tasks go through the functions as \
            workers call them, but nothing is run. Every figure is the median of the runs. The client runs on the same \
            machine: tasks/s are of both together, Redis µs of Redis alone (INFO cpu).
            """)

    @OptionGroup var output: OutputOptions
    @OptionGroup var redis: RedisOptions

    @Option(help: ArgumentHelp("Tasks in each run.", valueName: "n"))
    var tasks = 20_000

    @Option(help: ArgumentHelp("How many runs.", valueName: "n"))
    var runs = 3

    @Option(help: ArgumentHelp("Callers at once, for a task per call; batches have fewer.", valueName: "n"))
    var concurrency = 64

    func validate() throws {
        guard (1000...1_000_000).contains(tasks) else {
            throw ValidationError("--tasks: expected 1000 to 1000000, found \(tasks)")
        }
        guard (1...100).contains(runs) else { throw ValidationError("--runs: expected 1 to 100, found \(runs)") }
        guard (1...1000).contains(concurrency) else {
            throw ValidationError("--concurrency: expected 1 to 1000, found \(concurrency)")
        }
    }

    func run() async throws {
        LogFormat.bootstrap(.text, level: .warning)
        var server: PrivateRedisServer?
        let url: String
        if let given = redis.redis {
            url = given
        } else {
            let started = try await PrivateRedisServer.start(.init(ephemeral: false, appendfsync: .everysec))
            server = started
            url = started.url
        }
        var configuration = try RedisConfiguration(url: url)
        // A busy machine shall not end the measurement.
        configuration.commandTimeout = max(configuration.commandTimeout, .seconds(60))
        let client = RedisClient(configuration)
        let result: Result<BenchSuite.Report, any Error>
        do {
            result = .success(try await measure(client))
        } catch {
            result = .failure(error)
        }
        await client.shutdown()
        await server?.stop()
        let report = try result.get()
        if output.isJSON {
            try Console.out.line(JSONText.encode(report.json(tasks: tasks, runs: runs)))
        } else {
            try Console.out.write(report.tables(colour: Console.out.hasColour))
        }
    }

    private func measure(_ client: RedisClient) async throws -> BenchSuite.Report {
        #if DEBUG
            try Console.error.line("a debug build: tasks/s are those of an unoptimised client (swift build -c release)")
        #endif
        let suite = BenchSuite(
            client: client, queue: "bench", tasks: tasks, runs: runs, concurrency: concurrency,
            logger: Logger(label: "switchyard.bench")
        ) { line in
            // Progress only.
            try? Console.error.line("bench: \(line)")
        }
        return try await suite.run()
    }
}
