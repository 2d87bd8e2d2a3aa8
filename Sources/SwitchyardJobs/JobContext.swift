import Foundation
import Logging
import NIOCore
import Switchyard
import SwitchyardWorker

/// One attempt at a job, as its handler sees it.
public struct JobContext: Sendable {
    let attempt: Attempt
    let coder: any JobCoder
    /// With the metadata `task_id`, `attempt` and `kind`.
    public let logger: Logger

    /// The task's id, also under which the job is seen in `switchyard get`.
    public var taskID: String { attempt.id }
    /// From 1.
    public var attemptNumber: Int { attempt.number }
    /// The time limit of this attempt. When it is over, the handler's Swift task is cancelled.
    public var timeout: Duration { attempt.timeout }
    /// The whole task. Decoded on each access; store the value.
    public var task: QueuedTask { attempt.task }

    /// Tells how far the job is, in at most 1024 bytes. It is seen with the task after the next heartbeat.
    public func report(progress: String) { attempt.report(progress: progress) }

    /// Appends a line to the task's log, which `switchyard logs` shows.
    public func log(_ line: String) async { await attempt.log.write("stdout", Array((line + "\n").utf8)) }

    /// The result of a job that this one was submitted to run after.
    /// - Returns: nil if it has none, or one of more than 4096 bytes: ask ``JobQueue/result(of:)`` then.
    /// - Throws: what the coder throws.
    public func result<J: Job>(of id: JobID<J>) throws -> J.Result? {
        guard let bytes = attempt.dependencyResults else { return nil }
        let results = try JSONDecoder().decode([String: String?].self, from: Data(bytes.readableBytesView))
        guard let text = results[id.taskID] ?? nil else { return nil }
        return try coder.decode(J.Result.self, from: ByteBuffer(string: text))
    }
}
