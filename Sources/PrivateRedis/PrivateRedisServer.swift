import ChildProcess
import Glibc
import Logging

/// A redis-server of our own: on a Unix socket in a directory that is ours alone, restarted when it dies, and gone when
/// we are gone, however we die.
///
/// Owns the directory's lock, redis.conf, the process, and the tasks that watch it. Guarantees: `start` and `restart`
/// return when it answers PING; at most one redis-server uses the directory, also across a crash of ours; what was
/// acknowledged before an unexpected end is there after the restart (unless ephemeral). Fails with
/// ``PrivateRedisError``. It gives up after `deathLimit` ends within `deathWindow`: a redis-server that cannot live (a
/// full disk, a broken file) shall be noticed, not be restarted for ever.
public actor PrivateRedisServer {
    /// Can transition to:
    /// - starting: running (PONG), waiting (it died again), down (kill, restart), stopped
    /// - running: waiting (it died), down (kill, restart), stopped
    /// - waiting (for the backoff): starting, down (kill, restart), stopped
    /// - down (nobody restarts it): starting (restart), stopped
    /// - stopped: nothing
    private enum Phase { case starting, running, waiting, down, stopped }

    static let deathLimit = 5
    static let deathWindow: Duration = .seconds(60)
    /// Doubled with each recent end: 100, 200, 400, 800 ms.
    private static let firstBackoff: Duration = .milliseconds(100)
    /// redis-server flushes its file on SIGTERM; a slow disk gets this long.
    private static let stopGrace: Duration = .seconds(10)

    /// For `--redis` and RedisClient: `unix:///…/redis.sock`.
    public nonisolated let url: String
    public nonisolated let socketPath: String
    /// The data directory, absolute.
    public nonisolated let directoryPath: String
    /// Each end that nobody asked for, and what follows. For one reader; the newest 16 are kept. Ends at `stop`.
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

    /// Dropped without `stop`: redis-server must not outlive its owner.
    deinit {
        child?.signalGroup(SIGKILL)
        restarting?.cancel()
        exitsContinuation.finish()
        directory?.remove()
    }

    /// Nil while it is down.
    public var processID: Int32? { child?.processID }

    public var isRunning: Bool { phase == .running }

    /// Ends redis-server (SIGTERM: it flushes its file; SIGKILL after 10 s), removes what is temporary and releases the
    /// lock. Idempotent; a second caller waits for the first.
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
        directory = nil  // the lock's last holder
    }

    /// SIGKILL, and no restart: what a crash looks like. For tests.
    public func kill() async {
        guard phase != .stopped else { return }
        phase = .down
        await quiesce()
        guard let child else { return }
        child.signalGroup(SIGKILL)
        _ = await child.waitForExit()
        if self.child === child { self.child = nil }
    }

    /// Ends redis-server if it runs, and starts it on the same data. Also after `kill`, and after it gave up.
    public func restart() async throws {
        guard phase != .stopped else { throw PrivateRedisError.notAllowed("the private redis-server was stopped") }
        phase = .down
        await quiesce()
        if let child { await child.terminate(grace: Self.stopGrace) }
        guard phase == .down else {
            throw PrivateRedisError.notAllowed("the private redis-server is being started or stopped by someone else")
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

    /// Waits until no restart is under way.
    private func quiesce() async {
        let task = restarting
        restarting = nil
        task?.cancel()
        await task?.value
    }

    /// starting → running.
    private func launch() async throws {
        guard let directory else { throw PrivateRedisError.notAllowed("the private redis-server was stopped") }
        let starting = try await RedisProcess.spawn(directory, options: options)
        child = starting.child
        do {
            // stop, kill or restart may have come while the actor was free.
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
        logger.debug("redis-server runs", metadata: ["pid": "\(child.processID)", "url": "\(url)"])
        Task { [weak self] in
            let status = await child.waitForExit()
            await self?.ended(child, status)
        }
    }

    private func ended(_ child: ChildProcess, _ status: ChildProcess.ExitStatus) {
        // Otherwise it was asked to, and another call deals with it.
        guard phase == .running, self.child === child else { return }
        self.child = nil
        died(processID: child.processID, status: status, detail: directory?.logTail() ?? "")
    }

    /// starting, running → waiting, down.
    private func died(processID: Int32, status: ChildProcess.ExitStatus?, detail: String) {
        let now = ContinuousClock.now
        deaths = deaths.filter { now - $0 < Self.deathWindow } + [now]
        let metadata: Logger.Metadata = [
            "pid": "\(processID)", "status": "\(status?.description ?? "not started")", "deaths": "\(deaths.count)",
            "detail": "\(detail.split(separator: "\n").last ?? "")",
        ]
        guard deaths.count < Self.deathLimit else {
            phase = .down
            logger.critical("redis-server keeps dying; giving up", metadata: metadata)
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

    /// waiting → starting → running, or waiting again.
    private func relaunch() async {
        guard phase == .waiting, !Task.isCancelled else { return }
        phase = .starting
        do {
            try await launch()
            logger.notice("redis-server runs again", metadata: ["pid": "\(processID ?? 0)"])
        } catch {
            // kill, restart or stop came in between: the phase is theirs.
            guard phase == .starting else { return }
            died(processID: 0, status: nil, detail: "\(error)")
        }
    }
}
