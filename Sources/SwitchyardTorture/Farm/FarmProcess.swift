import ChildProcess
import Foundation
import Synchronization

/// A `switchyard` process of the farm: it is killed, stopped and started again, always with the same arguments.
final class FarmProcess: Sendable {
    enum Role: String, Sendable {
        case replica
        case handlerWorker = "handler worker"
        case commandWorker = "command worker"
    }

    /// What replicas say of faults that must be told.
    enum Notice: String, Sendable, CaseIterable {
        case lostData = "the data of the queue was lost"
        case setBack = "Redis's clock was set back"
    }

    let name: String
    let role: Role
    /// The way to Redis of this process alone.
    let link: Link
    /// The network of this process alone, if it has one.
    let network: NetworkNamespace?
    private let arguments: [String]
    private let environment: [String: String]

    private struct State {
        var program: String
        var process: ChildProcess?
        /// The times at which it was killed.
        var deaths: [Uptime] = []
        /// The end of its output, for a report.
        var tail = ""
        var notices: Set<Notice> = []
        /// Ends that nobody asked for.
        var failures: [String] = []
    }
    private let state: Mutex<State>

    init(
        name: String, role: Role, link: Link, network: NetworkNamespace?, program: String, arguments: [String],
        environment: [String: String]
    ) {
        self.name = name
        self.role = role
        self.link = link
        self.network = network
        self.arguments = arguments
        self.environment = environment
        state = Mutex(State(program: program))
    }

    var deaths: [Uptime] { state.withLock { $0.deaths } }
    var failures: [String] { state.withLock { $0.failures } }
    var notices: Set<Notice> { state.withLock { $0.notices } }

    /// Which program its next starts run.
    func use(program: String) { state.withLock { $0.program = program } }

    /// Starts it, unless it runs.
    func start() async throws {
        noteEnd()
        guard state.withLock({ $0.process == nil }) else { return }
        let program = state.withLock { $0.program }
        let process = try await ChildProcess.start(
            ChildProcess.Command(
                arguments: (network?.prefix ?? []) + [program] + arguments, environment: environment))
        state.withLock { $0.process = process }
        let output = process.output
        Task { [weak self] in
            for await chunk in output { self?.note(String(decoding: chunk.bytes, as: UTF8.self)) }
        }
    }

    private func note(_ text: String) {
        state.withLock { state in
            let all = state.tail + text
            for notice in Notice.allCases where all.contains(notice.rawValue) { state.notices.insert(notice) }
            state.tail = String(all.suffix(2000))
        }
    }

    /// Ends it with SIGKILL. Returns when it is gone.
    func kill() async {
        noteEnd()
        guard let process = state.withLock({ $0.process }) else { return }
        signal(SIGKILL)
        _ = await process.waitForExit()
        state.withLock { state in
            state.deaths.append(.now)
            state.process = nil
        }
    }

    /// Stops it with SIGSTOP: it exists, and does nothing.
    func suspend() { signal(SIGSTOP) }
    /// Continues it after ``suspend()``.
    func resume() { signal(SIGCONT) }

    /// Ends it as an operator does: SIGTERM, and SIGKILL after 10 s.
    func stop() async {
        noteEnd()
        guard let process = state.withLock({ $0.process }) else { return }
        resume()
        await process.terminate(grace: .seconds(10))
        state.withLock { $0.process = nil }
    }

    private func signal(_ signal: Int32) {
        guard let process = state.withLock({ $0.process }), process.exitStatus == nil else { return }
        // Not its group: the processes of its tasks are meant to go on.
        _ = Foundation.kill(process.processID, signal)
    }

    /// Notes an end that nobody asked for. That is a finding: no fault may end a replica or a worker.
    private func noteEnd() {
        state.withLock { state in
            guard let status = state.process?.exitStatus else { return }
            state.failures.append("\(name) ended with \(status): \(state.tail.suffix(600))")
            state.deaths.append(.now)
            state.process = nil
        }
    }
}
