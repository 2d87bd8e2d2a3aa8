import ChildProcess
import Foundation
import Logging
import Synchronization

/// Runs one worker process, and starts it again, with a backoff, whenever it ends without being drained.
///
/// The process has its own process group, so that Ctrl-C reaches only the supervisor. If the supervisor dies, the
/// guardian process of ``ChildProcess`` ends the worker.
final class SupervisedWorker: Sendable {
    let label: String
    private let arguments: [String]
    private let environment: [String: String]
    private let grace: Duration?
    private let logger: Logger
    private let state = Mutex(State())

    private struct State {
        var child: ChildProcess?
        var pause: Task<Void, Never>?
        var isDraining = false
    }

    private static let firstPause: Duration = .milliseconds(200)
    private static let longestPause: Duration = .seconds(10)
    /// After a process that ran longer than this, the next pause is ``firstPause`` again.
    private static let goodLife: Duration = .seconds(10)
    /// Two pools with the same ids replace each other's workers for ever: each start ends the other's worker. This many
    /// replacements, none longer after the one before than ``replacementWindow``, are no accident.
    static let maxReplacements = 3
    /// Longer than a worker of such a pool lives: at most a lease and ``longestPause`` of the other pool.
    private static let replacementWindow: Duration = .seconds(90)

    /// - Parameters:
    ///   - label: the prefix of the worker's log lines.
    ///   - environment: all variables of the process. Secrets belong here: everybody may read the arguments.
    ///   - grace: how long the worker may take to drain before it is killed; nil: no limit.
    init(
        label: String, arguments: [String], environment: [String: String], grace: Duration?, logger: Logger
    ) {
        self.label = label
        self.arguments = arguments
        self.environment = environment
        self.grace = grace
        var logger = logger
        logger[metadataKey: "worker"] = "\(label)"
        self.logger = logger
    }

    /// The process id; nil while there is no process.
    var processID: Int32? { state.withLock { $0.child?.processID } }
    var isDraining: Bool { state.withLock { $0.isDraining } }

    /// Asks the worker to finish its tasks and to exit. ``run()`` returns when it has exited.
    func drain() {
        let child = state.withLock { state -> ChildProcess? in
            guard !state.isDraining else { return nil }
            state.isDraining = true
            state.pause?.cancel()
            return state.child
        }
        if let child { stop(child) }
    }

    /// Asks a draining worker to hand back the tasks that it still runs.
    func handBack() {
        let child = state.withLock { $0.isDraining ? $0.child : nil }
        child?.signalGroup(SIGTERM)
    }

    /// Returns when the worker has been drained. Cancellation kills the process.
    /// - Throws: ``Failure`` if the process exits with 64, because the next one would too, and if other processes keep
    ///   replacing it.
    func run() async throws(Failure) {
        var pause = Self.firstPause
        var replacements = 0
        while !isOver {
            let start = ContinuousClock.now
            let end = await runOnce()
            if isOver { return }
            if end.exitCode == ExitStatus.usage.rawValue {
                throw Failure(
                    .usage,
                    "worker \(label) exited with 64, a usage error that another start would repeat: correct its command"
                )
            }
            let life = ContinuousClock.now - start
            let isReplaced = end.exitCode == ExitStatus.notFound.rawValue
            replacements = isReplaced ? (life > Self.replacementWindow ? 0 : replacements) + 1 : 0
            if replacements >= Self.maxReplacements { throw replaced() }
            if life > Self.goodLife { pause = Self.firstPause }
            logger.warning(
                "a worker ended and is started again", metadata: ["end": "\(end.description)", "pause": "\(pause)"])
            await sleep(pause)
            pause = min(pause * 2, Self.longestPause)
        }
    }

    private func replaced() -> Failure {
        Failure(
            .conflict,
            """
            worker \(label) was replaced \(Self.maxReplacements) times in a row by another process with its id.
            Another pool of workers uses the same ids on this queue, and the two end each other's tasks. End one of \
            them, or give this one another queue or other ids: switchyard autoscale -- switchyard worker --id NAME-{n}
            """)
    }

    private var isOver: Bool { Task.isCancelled || isDraining }

    private func sleep(_ pause: Duration) async {
        let sleeping = Task<Void, Never> { try? await Task.sleep(for: pause) }
        let isDrained = state.withLock { state in
            state.pause = sleeping
            return state.isDraining
        }
        if isDrained { sleeping.cancel() }
        await withTaskCancellationHandler {
            await sleeping.value
        } onCancel: {
            sleeping.cancel()
        }
    }

    private func stop(_ child: ChildProcess) {
        guard let grace else { return child.signalGroup(SIGTERM) }
        Task { await child.terminate(grace: grace) }
    }

    /// How a process ended, or why it did not start.
    private struct End {
        var description: String
        var exitCode: Int32?
    }

    /// Starts the process and waits for its end.
    private func runOnce() async -> End {
        let child: ChildProcess
        do {
            child = try await ChildProcess.start(
                .init(arguments: arguments, environment: environment))
        } catch {
            return End(description: error.description)
        }
        logger.debug("worker started", metadata: ["pid": "\(child.processID)"])
        // drain() may have been called while there was no process.
        let isDrained = state.withLock { state in
            state.child = child
            return state.isDraining
        }
        if isDrained { stop(child) }
        let forwarding = Task { await forward(child) }
        let status = await withTaskCancellationHandler {
            await child.waitForExit()
        } onCancel: {
            child.signalGroup(SIGKILL)
        }
        await forwarding.value
        state.withLock { $0.child = nil }
        return End(description: "\(status)", exitCode: status.exitCode)
    }

    /// Copies the worker's output to stderr, each line in one write with the worker's label as a prefix.
    private func forward(_ child: ChildProcess) async {
        var splitters: [ChildProcess.OutputStream: LineSplitter] = [:]
        func write(_ line: [UInt8]) {
            // stderr may be closed; the worker goes on.
            try? Console.error.write(bytes: Array("\(label) | ".utf8) + line + [UInt8(ascii: "\n")])
        }
        for await chunk in child.output {
            splitters[chunk.stream, default: LineSplitter()].feed(chunk.bytes, write)
        }
        for var splitter in splitters.values { splitter.finish(write) }
    }
}
