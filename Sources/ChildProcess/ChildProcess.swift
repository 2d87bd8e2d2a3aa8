import CChildProcess
import Glibc

/// A running program that can truly be ended.
///
/// It leads its own process group. When its leader ends, by itself or by a signal, the rest of the group is killed;
/// when this handle is released, the group is killed; when our own process dies, however it dies, a guardian process
/// kills the group. Out of reach is only a process that leaves the group by its own will (`setsid`, a daemon).
///
/// The output must be read, or discarded: unread output is held up to a bound, and then the child waits.
/// A program that cannot be started is a thrown ``ChildProcessError``; nothing else here fails.
public final class ChildProcess: Sendable {
    /// How many children may live at once; the guardian's table has this size.
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

    /// Returns when the program itself runs (its exec succeeded).
    public static func start(_ command: Command) async throws(ChildProcessError) -> ChildProcess {
        let reactor = try Reactor.shared(program: command.program)
        var failure = sw_spawn_failure()
        // A guardian that died a moment ago is noticed by the child that wants to register. Once more is enough unless
        // something kills guardians on sight.
        for _ in 1...5 {
            let spawned = try Spawner.spawn(command, reactor: reactor)
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

    public var processID: Int32 { record.processID }

    /// The same number: a child leads its group.
    public var processGroup: Int32 { record.processID }

    /// stdout and stderr in their order of arrival. Pulled, one reader at a time: what is not taken is not read from the
    /// child, beyond 256 KiB. It ends when both pipes do or, if someone outside the group holds them open, shortly
    /// after the end of the leader; and when the reading task is cancelled.
    public var output: AsyncStream<OutputChunk> {
        AsyncStream { [self] in
            await record.output.next { reactor.send(.resumeReading(id: id)) }
        }
    }

    /// Takes all further output and drops it, so that a child never waits for a reader.
    public func discardOutput() {
        reactor.send(.discardOutput(id: id))
    }

    /// Sends `signal` to each member of the group. Nothing happens if the child has ended.
    public func signalGroup(_ signal: Int32) {
        record.signalGroup(signal)
    }

    /// SIGTERM to the group and, after `grace`, SIGKILL to what is left of it. Returns when the leader has ended.
    /// The grace is for the leader: when it ends, the other members are killed at once.
    /// Cancelling the calling task does not shorten the grace.
    public func terminate(grace: Duration) async {
        record.signalGroup(SIGTERM)
        reactor.send(.kill(id: id, at: .now + grace))
        _ = await record.waitForExit()
    }

    /// May be called any number of times, also after the end; output may still wait to be read then. Not ended by cancellation: end the child instead.
    public func waitForExit() async -> ExitStatus {
        await record.waitForExit()
    }

    /// The status if the child has ended.
    public var exitStatus: ExitStatus? { record.status }
}
