import ChildProcess
import Glibc
import Logging

/// A private redis-server: it listens on a Unix socket in a directory that only this process uses, is restarted when it
/// dies, and is killed when our process dies for any reason.
///
/// The actor owns the directory's lock, redis.conf, the process, and the tasks that watch it. It guarantees:
/// - `start` and `restart` return when redis-server replies to PING.
/// - At most one redis-server uses the directory, even if our process crashes and starts again.
/// - Writes acknowledged before an unexpected end of redis-server are there after its restart, unless it is ephemeral.
///
/// Errors are ``PrivateRedisError``. After `deathLimit` unexpected ends within `deathWindow` it gives up: a
/// redis-server that cannot run (a full disk, a corrupt file) must be noticed.
public actor PrivateRedisServer {
    /// Can transition to:
    /// - starting: running (PONG), waiting (it died again), down (kill, restart, or it died too often), stopped
    /// - running: waiting (it died), down (kill, restart, or it died too often), stopped
    /// - waiting (for the backoff): starting, down (kill, restart), stopped
    /// - down (until `restart`): starting, stopped
    /// - stopped: none
    private enum Phase { case starting, running, waiting, down, stopped }

    static let deathLimit = 5
    static let deathWindow: Duration = .seconds(60)
    /// Doubled for each death within `deathWindow`: 100, 200, 400, 800 ms.
    private static let firstBackoff: Duration = .milliseconds(100)
    /// The time for redis-server to flush its file after SIGTERM, before SIGKILL; a slow disk may need it.
    private static let stopGrace: Duration = .seconds(10)

    /// The URL for `--redis` and RedisClient: `unix:///…/redis.sock`.
    public nonisolated let url: String
    /// The path of the socket.
    public nonisolated let socketPath: String
    /// The absolute path of the data directory.
    public nonisolated let directoryPath: String
    /// The unexpected ends of redis-server, for one reader. The newest 16 are buffered. Ends at `stop`.
    public nonisolated let exits: AsyncStream<Exit>

    private let options: Options
    private let logger: Logger
    private let exitsContinuation: AsyncStream<Exit>.Continuation
    private var directory: DataDirectory?
    private var phase = Phase.starting
    private var child: ChildProcess?
    private var deaths: [ContinuousClock.Instant] = []
    private var restarting: Task<Void, Never>?
    private var stopping: Task<Void, Never>?

    /// Starts a redis-server, and returns when it replies to PING.
    /// - Throws: ``PrivateRedisError``, or `CancellationError`.
    public static func start(_ options: Options = Options()) async throws -> PrivateRedisServer {
        let directory = try await DataDirectory.prepare(options.directory)
        do {
            try RedisConfiguration.write(directory, options: options)
        } catch {
            directory.remove()
            throw error
        }
        let server = PrivateRedisServer(options: options, directory: directory)
        do {
            try await server.launch()
        } catch {
            await server.stop()
            throw error
        }
        return server
    }

    private init(options: Options, directory: DataDirectory) {
        self.options = options
        self.directory = directory
        directoryPath = directory.path
        socketPath = directory.socketPath
        url = "unix://" + directory.socketPath
        var logger = options.logger
        logger[metadataKey: "directory"] = "\(directory.path)"
        self.logger = logger
        (exits, exitsContinuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(16))
    }

    /// Kills redis-server if its owner released it without `stop`.
    deinit {
        child?.signalGroup(SIGKILL)
        restarting?.cancel()
        exitsContinuation.finish()
        directory?.remove()
    }

    /// The process ID of redis-server; nil while it is down.
    public var processID: Int32? { child?.processID }

    /// Whether redis-server has replied to PING since its last start, and has not ended.
    public var isRunning: Bool { phase == .running }

    /// Ends redis-server (SIGTERM, so that it flushes its file; SIGKILL after 10 s), removes temporary files and
    /// releases the lock. It may be called again: a second caller waits for the first.
    public func stop() async {
        if stopping == nil {
            phase = .stopped
            stopping = Task { await finish() }
        }
        await stopping?.value
    }

    private func finish() async {
        await quiesce()
        if let child { await child.terminate(grace: Self.stopGrace) }
        child = nil
        exitsContinuation.finish()
        directory?.remove()
        directory = nil  // the last reference to the lock
    }

    /// Whether redis-server is loading its data at this moment, and replies LOADING. For tests.
    /// - Throws: `CancellationError`.
    public func isLoading() async throws -> Bool {
        try await RedisProbe.ping(socketPath: socketPath) == .loading
    }

    /// Ends redis-server with SIGKILL, like a crash, and does not restart it. For tests.
    public func kill() async {
        guard phase != .stopped else { return }
        phase = .down
        await quiesce()
        guard let child else { return }
        child.signalGroup(SIGKILL)
        _ = await child.waitForExit()
        if self.child === child { self.child = nil }
    }

    /// Ends redis-server if it runs, and starts it on the same data; also after `kill`, and after it gave up.
    /// - Throws: ``PrivateRedisError``, or `CancellationError` if another call interrupts it.
    public func restart() async throws {
        guard phase != .stopped else { throw PrivateRedisError.notAllowed("the private redis-server was stopped") }
        phase = .down
        await quiesce()
        if let child { await child.terminate(grace: Self.stopGrace) }
        guard phase == .down else {
            throw PrivateRedisError.notAllowed("the private redis-server is being started or stopped by another call")
        }
        child = nil
        deaths = []
        phase = .starting
        do {
            try await launch()
        } catch {
            if phase == .starting { phase = .down }
            throw error
        }
    }

    /// Cancels a pending restart, and waits until none is in progress.
    private func quiesce() async {
        let task = restarting
        restarting = nil
        task?.cancel()
        await task?.value
    }

    /// Starts redis-server and waits until it replies to PING: starting → running.
    private func launch() async throws {
        guard let directory else { throw PrivateRedisError.notAllowed("the private redis-server was stopped") }
        if !options.ephemeral {
            let removed = try AppendOnlyFile.cutUnfinishedEnd(directory: directory.path)
            if removed > 0 {
                logger.warning(
                    "the append-only file ended within a transaction, which was removed",
                    metadata: ["bytes": "\(removed)"])
            }
        }
        let starting = try await RedisProcess.spawn(directory, options: options)
        child = starting.child
        do {
            // stop, kill or restart may have been called during the await.
            guard phase == .starting else { throw CancellationError() }
            try await starting.waitUntilReady(directory, options: options)
            guard phase == .starting else { throw CancellationError() }
        } catch {
            starting.child.signalGroup(SIGKILL)
            _ = await starting.child.waitForExit()
            if child === starting.child { child = nil }
            throw error
        }
        phase = .running
        let child = starting.child
        logger.debug("redis-server is running", metadata: ["pid": "\(child.processID)", "url": "\(url)"])
        Task { [weak self] in
            let status = await child.waitForExit()
            await self?.ended(child, status)
        }
    }

    private func ended(_ child: ChildProcess, _ status: ChildProcess.ExitStatus) {
        // Otherwise the end was requested, and the call that requested it handles it.
        guard phase == .running, self.child === child else { return }
        self.child = nil
        died(processID: child.processID, status: status, detail: directory?.logTail() ?? "")
    }

    /// Reports an unexpected end, and schedules a restart or gives up: starting, running → waiting, down.
    private func died(processID: Int32, status: ChildProcess.ExitStatus?, detail: String) {
        let now = ContinuousClock.now
        deaths = deaths.filter { now - $0 < Self.deathWindow } + [now]
        let metadata: Logger.Metadata = [
            "pid": "\(processID)", "status": "\(status?.description ?? "not started")", "deaths": "\(deaths.count)",
            "detail": "\(detail.split(separator: "\n").last ?? "")",
        ]
        guard deaths.count < Self.deathLimit else {
            phase = .down
            logger.critical("redis-server ended too often; giving up", metadata: metadata)
            exitsContinuation.yield(Exit(processID: processID, status: status, reaction: .gaveUp, detail: detail))
            return
        }
        phase = .waiting
        let delay = Self.firstBackoff * (1 << (deaths.count - 1))
        logger.error("redis-server ended unexpectedly; restarting it", metadata: metadata)
        exitsContinuation.yield(
            Exit(processID: processID, status: status, reaction: .restarting(after: delay), detail: detail))
        restarting = Task { [weak self] in
            do { try await Task.sleep(for: delay) } catch { return }  // cancelled by quiesce
            await self?.relaunch()
        }
    }

    /// Restarts redis-server after the backoff: waiting → starting → running, waiting again, or down.
    private func relaunch() async {
        guard phase == .waiting, !Task.isCancelled else { return }
        phase = .starting
        do {
            try await launch()
            logger.notice("redis-server is running again", metadata: ["pid": "\(processID ?? 0)"])
        } catch {
            // kill, restart or stop was called meanwhile, and has set the phase.
            guard phase == .starting else { return }
            died(processID: 0, status: nil, detail: "\(error)")
        }
    }
}
