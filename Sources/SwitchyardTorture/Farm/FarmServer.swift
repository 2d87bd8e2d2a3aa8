import Foundation
import Logging
import PrivateRedis
import RedisClient
import Switchyard
import SwitchyardTesting
import Synchronization

/// The one redis-server of a run, and what can be done to it.
final class FarmServer: Sendable {
    /// Past all proxies, for faults and for the final look.
    let client: RedisClient
    private let server: PrivateRedisServer
    private let configuration: String
    /// The disk of its append-only file; nil: the machine's.
    private let volume: Volume?
    private let logger: Logger
    /// The library with a clock that can be set; nil: the one of the build, which replicas load.
    private let library: ShiftedLibrary?

    private struct Clock {
        /// How far the clock of the functions is ahead of that of the host.
        var ahead = 0
        /// The times, by the clock of the functions, that came twice because it was set back.
        var repeated: [ClosedRange<Date>] = []
    }
    private let clock = Mutex(Clock())

    /// Starts it, with the function library.
    /// - Parameters:
    ///   - directory: an empty directory for its data, which exists.
    ///   - library: the text of the function library whose clock can be set; nil: that of the build.
    ///   - hasDisk: whether it gets a disk of its own, which can become full.
    static func start(
        in directory: String, library: String?, hasDisk: Bool, logger: Logger
    ) async throws -> FarmServer {
        let volume = hasDisk ? try await Volume.mount(at: directory) : nil
        do {
            // Every write is on disk before it is acknowledged: nothing acknowledged may be lost when Redis is killed.
            let server = try await PrivateRedisServer.start(
                .init(
                    directory: directory, ephemeral: false, appendfsync: .always,
                    extraArguments: ["--auto-aof-rewrite-percentage", "0"], logger: logger))
            var configuration = try RedisConfiguration(url: server.url)
            configuration.commandTimeout = .seconds(30)
            let redis = FarmServer(
                server: server, client: RedisClient(configuration, logger: logger), volume: volume,
                library: library.map(ShiftedLibrary.init), logger: logger)
            do {
                try await redis.loadLibrary()
            } catch {
                await redis.stop()
                throw error
            }
            return redis
        } catch {
            // Nothing is left on it.
            try? await volume?.unmount()
            throw error
        }
    }

    private init(
        server: PrivateRedisServer, client: RedisClient, volume: Volume?, library: ShiftedLibrary?, logger: Logger
    ) {
        self.server = server
        self.client = client
        self.volume = volume
        self.library = library
        self.logger = logger
        configuration = server.directoryPath + "/redis.conf"
    }

    var socketPath: String { server.socketPath }

    /// Ends it, and removes its data.
    func stop() async {
        await client.shutdown()
        await server.stop()
        // It is in memory only, and gone with this machine at the latest.
        try? await volume?.unmount()
    }

    /// - Throws: errors of Redis, after it was away for half a minute.
    @discardableResult
    func send(_ name: String, _ arguments: String...) async throws -> RESPValue {
        try await client.send(RedisCommand(name, arguments.map { .string($0) }))
    }

    // MARK: The process

    func kill() async { await server.kill() }
    func restart() async throws { try await server.restart() }

    /// Stops the process with SIGSTOP for a while.
    func suspend(for pause: Duration) async throws {
        await signal(SIGSTOP)
        let result: Result<Void, any Error>
        do {
            result = .success(try await Task.sleep(for: pause))
        } catch {
            result = .failure(error)
        }
        await signal(SIGCONT)
        try result.get()
    }

    private func signal(_ signal: Int32) async {
        guard let process = await server.processID else { return }
        // It fails only for a process that has ended, which the next command on Redis tells.
        _ = Foundation.kill(process, signal)
    }

    // MARK: The append-only file

    /// Leaves the file as a redis-server does that ends while it writes. It must be down.
    func tearFile(_ random: inout SeededGenerator) throws -> Int {
        try AppendOnlyFile(directory: server.directoryPath).tear(&random)
    }

    /// Starts it so that the load of its file takes about `duration`, and clients get LOADING meanwhile.
    func restart(loadingFor duration: Duration) async throws {
        let text = try String(contentsOfFile: configuration, encoding: .utf8)
        // A command in the file has some 100 bytes. The least pause that the kernel makes is about 60 µs; a negative
        // number makes one of so many commands pause.
        let commands = max(1, try AppendOnlyFile(directory: server.directoryPath).bytes / 100)
        let pause = duration / .microseconds(1) / Double(commands)
        let delay = pause >= 120 ? Int(pause) - 60 : -max(1, Int(60 / pause))
        try (text + "key-load-delay \(delay)\n").write(toFile: configuration, atomically: false, encoding: .utf8)
        let result: Result<Void, any Error>
        do {
            result = .success(try await server.restart())
        } catch {
            result = .failure(error)
        }
        try text.write(toFile: configuration, atomically: false, encoding: .utf8)
        try result.get()
    }

    /// Whether it is loading its file at this moment.
    func isLoading() async throws -> Bool { try await server.isLoading() }

    // MARK: The disk

    /// Makes the disk full for a while: Redis replies MISCONF. With `appendfsync always` it would end.
    func fillDisk(for pause: Duration) async throws {
        guard let volume else { throw TortureError("disk-full: Redis has no disk of its own") }
        try await send("CONFIG", "SET", "appendfsync", "everysec")
        try await volume.fill()
        let result: Result<Void, any Error>
        do {
            result = .success(try await Task.sleep(for: pause))
        } catch {
            result = .failure(error)
        }
        try await volume.free()
        try result.get()
        // What it has acknowledged meanwhile is in memory, and in the file as soon as Redis tries again, each second.
        let deadline = ContinuousClock.now + .seconds(30)
        while try await send("INFO", "persistence").string?.contains("aof_last_write_status:ok") != true {
            guard ContinuousClock.now < deadline else {
                throw TortureError("disk-full: Redis cannot write 30 s after its disk has space again")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
        try await send("CONFIG", "SET", "appendfsync", "always")
    }

    // MARK: The function library

    /// Loads the library, with the clock as it was set.
    func loadLibrary() async throws {
        guard let library else {
            return try await FunctionLibrary(client: client, logger: logger).ensureLoaded()
        }
        try await send("FUNCTION", "LOAD", "REPLACE", library.source(ahead: clock.withLock { $0.ahead }))
    }

    /// Loads the library as an older version of the program does.
    func loadOlderLibrary() async throws {
        guard let library else { throw TortureError("rolling-upgrade: the library cannot be replaced") }
        try await send("FUNCTION", "LOAD", "REPLACE", library.source(ahead: 0, version: OlderProgram.version))
    }

    /// Sets the clock of the functions, as if it were that of Redis's host.
    func setClock(ahead seconds: Int) async throws {
        let before = clock.withLock { $0.ahead }
        let from = Date()
        clock.withLock { $0.ahead = seconds }
        try await loadLibrary()
        guard seconds < before else { return }
        clock.withLock {
            $0.repeated.append(from + TimeInterval(seconds) - 1...Date() + TimeInterval(before) + 1)
        }
    }

    /// The times that came twice, by the clock of the functions.
    var repeatedTimes: [ClosedRange<Date>] { clock.withLock { $0.repeated } }
}
