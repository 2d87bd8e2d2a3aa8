import CChildProcess
import Glibc

/// A running program that can be ended reliably, with its descendants.
///
/// The program leads its own session, without a terminal, and its own process group. The group is killed when its
/// leader ends for any reason, when this handle is released and, by a guardian process, when our own process dies for
/// any reason. A process that leaves the group (`setsid`, a daemon) escapes, unless our process adopts orphans and the
/// command has ``Command/marks``; it always escapes if our process is killed.
///
/// The output must be read or discarded: unread output is buffered up to a limit, and then the child blocks on its
/// pipe. Starting a program can throw a ``ChildProcessError``; no other operation fails.
public final class ChildProcess: Sendable {
    /// Limit on children that run at once: the size of the guardian's table.
    public static let limit = Int(SW_GUARDIAN_CAPACITY)

    private let id: UInt64
    let record: ChildRecord
    private let reactor: Reactor

    private init(id: UInt64, record: ChildRecord, reactor: Reactor) {
        self.id = id
        self.record = record
        self.reactor = reactor
    }

    deinit {
        record.signalGroup(SIGKILL)
        reactor.send(.discardOutput(id: id))
    }

    /// Starts a program, and returns when its exec has succeeded.
    /// - Throws: ``ChildProcessError``; then no process is left.
    public static func start(_ command: Command) async throws(ChildProcessError) -> ChildProcess {
        let reactor = try Reactor.shared(program: command.program)
        var failure = sw_spawn_failure()
        // The death of the guardian may show only when the child registers with it. A second attempt then succeeds,
        // unless something kills every guardian at once.
        for _ in 1...5 {
            let spawned = try await withCheckedContinuation { reactor.send(.spawn(command, $0)) }.get()
            let report = await withCheckedContinuation { reactor.send(.watch(spawned, $0)) }
            guard let report else {
                return ChildProcess(id: spawned.id, record: spawned.record, reactor: reactor)
            }
            _ = await spawned.record.waitForExit()
            failure = report
            guard UInt32(bitPattern: failure.stage) == SW_STAGE_GUARDIAN.rawValue else { break }
        }
        throw ChildProcessError(failure, command: command)
    }

    /// Makes our process the parent of every descendant that loses its parent, and reaps all of them. For a program
    /// whose children are all started by this module: it would take the status of others.
    /// - Throws: ``ChildProcessError`` if the kernel refuses.
    public static func adoptOrphans() throws(ChildProcessError) {
        let reactor = try Reactor.shared(program: "orphans")
        let code = sw_become_subreaper()
        guard code == 0 else {
            throw ChildProcessError(program: "orphans", reason: .system(what: "PR_SET_CHILD_SUBREAPER"), code: code)
        }
        reactor.orphans.adopt()
        reactor.send(.adopt)
    }

    /// The process ID of the program, the leader of its group.
    public var processID: Int32 { record.processID }

    /// The ID of the process group; it equals ``processID``.
    public var processGroup: Int32 { record.processID }

    /// The chunks of stdout and stderr in their order of arrival, for one reader at a time. At 256 KiB of unread
    /// output, reading from the child pauses. The stream ends when both pipes end, shortly after the end of the leader
    /// if a process outside the group holds them open, and when the reading task is cancelled.
    public var output: AsyncStream<OutputChunk> {
        AsyncStream { [self] in
            await record.output.next { reactor.send(.resumeReading(id: id)) }
        }
    }

    /// Drops the buffered output and all further output, so that the child never waits for a reader.
    public func discardOutput() {
        reactor.send(.discardOutput(id: id))
    }

    /// Sends `signal` to each member of the group. Does nothing if the child has ended.
    public func signalGroup(_ signal: Int32) {
        record.signalGroup(signal)
    }

    /// Sends SIGTERM to the group and, if a member still runs after `grace`, SIGKILL. Returns when the leader has ended
    /// and the other members are killed: at once or, if the command has a ``Command/linger``, when they hold the output
    /// open no more, at the latest after `grace`. Cancelling the calling task does not shorten `grace`.
    public func terminate(grace: Duration) async {
        reactor.send(.terminate(id: id, killAt: .now + grace))
        _ = await record.waitForExit()
    }

    /// Waits until the child has ended, and returns its status. May be called any number of times, also after the end.
    /// Output may still be unread then. Cancelling the calling task does not end the wait: end the child instead.
    public func waitForExit() async -> ExitStatus {
        await record.waitForExit()
    }

    /// The exit status; nil while the child runs.
    public var exitStatus: ExitStatus? { record.status }
}
