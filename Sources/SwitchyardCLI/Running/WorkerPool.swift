import ChildProcess
import Foundation
import Logging
import ServiceLifecycle

/// The worker processes of `switchyard dev`: one more is started whenever one ends that was not asked to, and all are
/// drained at shutdown. They are in process groups of their own, so a Ctrl-C reaches us alone, and the guardian of
/// ChildProcess ends them should we die.
struct WorkerPool: Service {
    let ids: [String]
    /// The command of a worker, apart from its id.
    let arguments: [String]
    let logger: Logger

    /// What a worker gets at shutdown to finish what it runs; tasks that take longer run again at the next start.
    private static let grace: Duration = .seconds(4)
    private static let firstPause: Duration = .milliseconds(200)
    private static let longestPause: Duration = .seconds(10)
    /// A worker that lived this long had started well.
    private static let goodLife: Duration = .seconds(10)

    func run() async throws {
        await withTaskGroup(of: Void.self) { group in
            for id in ids { group.addTask { await keep(id) } }
            // A pool without workers stays too: a service that ends would end its group. Throws only when cancelled.
            group.addTask { try? await gracefulShutdown() }
        }
    }

    /// Keeps one worker running until shutdown.
    private func keep(_ id: String) async {
        var pause = Self.firstPause
        while !Task.isCancelled, !Task.isShuttingDownGracefully {
            let start = ContinuousClock.now
            let end = await runOnce(id)
            if Task.isCancelled || Task.isShuttingDownGracefully { return }
            if ContinuousClock.now - start > Self.goodLife { pause = Self.firstPause }
            logger.warning(
                "a worker ended and is started again",
                metadata: ["worker_id": "\(id)", "end": "\(end)", "pause": "\(pause)"])
            let now = pause
            await cancelWhenGracefulShutdown { try? await Task.sleep(for: now) }
            pause = min(pause * 2, Self.longestPause)
        }
    }

    /// - Returns: how it ended, or why it did not start.
    private func runOnce(_ id: String) async -> String {
        let child: ChildProcess
        do {
            child = try await ChildProcess.start(
                .init(arguments: arguments + ["--id", id], environment: ProcessInfo.processInfo.environment))
        } catch {
            return error.description
        }
        logger.debug("worker started", metadata: ["worker_id": "\(id)", "pid": "\(child.processID)"])
        let forwarding = Task { await Self.forward(child, id: id) }
        let (stop, stopped) = AsyncStream<Void>.makeStream()
        let status = await withTaskCancellationHandler {
            await withGracefulShutdownHandler {
                let stopping = Task {
                    for await _ in stop { await child.terminate(grace: Self.grace) }
                }
                defer { stopping.cancel() }
                return await child.waitForExit()
            } onGracefulShutdown: {
                stopped.yield()
            }
        } onCancel: {
            child.signalGroup(SIGKILL)
        }
        await forwarding.value
        return "\(status)"
    }

    /// Its log lines to our stderr, whole lines in one write, each behind the worker's id.
    private static func forward(_ child: ChildProcess, id: String) async {
        var partial: [ChildProcess.OutputStream: [UInt8]] = [:]
        func write(_ line: some Collection<UInt8>) {
            // Our stderr has gone: the workers matter more.
            try? Console.error.write(bytes: Array("\(id) | ".utf8) + line + [UInt8(ascii: "\n")])
        }
        for await chunk in child.output {
            var bytes = (partial[chunk.stream] ?? []) + chunk.bytes
            while let end = bytes.firstIndex(of: UInt8(ascii: "\n")) {
                write(bytes[..<end])
                bytes.removeSubrange(...end)
            }
            partial[chunk.stream] = bytes
        }
        for rest in partial.values where !rest.isEmpty { write(rest) }
    }
}
