import Foundation
import NIOCore

/// A task: what was submitted, and its state since then.
public struct QueuedTask: Sendable, Equatable {
    /// 1 to 200 characters of `A-Z a-z 0-9 . _ : -`.
    public var id: String
    /// The work to do.
    public var request: BuildRequest
    /// Nil in a task to submit requests the automatic priority (``PriorityPolicy``). Never nil in a task that was read.
    public var priority: TaskPriority?
    /// Why the task has this priority: `given`, or the rule that chose it.
    public var priorityReason: String?
    /// The time limit of one attempt. Nil in a task to submit: the queue's default when the task is pulled.
    public var timeout: Duration?
    /// How many times the task is retried after its first attempt. Nil in a task to submit: the queue's default when
    /// the task is pulled.
    public var maxRetries: Int?
    /// The task is not started before this time.
    public var runAt: Date?
    /// The task is not started before this long after its submission, by Redis's clock.
    public var delay: Duration?
    /// Requirements, limits, dependencies and the like.
    public var scheduling = SchedulingOptions()
    /// Identifies the submission, so that a repetition adds nothing. Nil: the handle makes a random token.
    public var requestToken: String?

    /// The task's state.
    public var state: TaskState = .pending
    /// What a pending task waits for, if not for a worker.
    public var heldBy: HoldReason?
    /// The task's rank in its line, from 0; only while it is pending and in line.
    public var position: Int?
    /// The number of the latest attempt, from 1; 0 before the first. It is also the fencing token of its lease.
    public var attempt = 0
    /// How many retries the task has used.
    public var retryCount = 0
    /// The worker of the latest attempt.
    public var worker: String?
    /// The batch that the task belongs to.
    public var batch: String?
    /// When the task was submitted.
    public var submittedAt: Date?
    /// Whether the process of its latest attempt still runs although the attempt has ended: it was told to end. It
    /// occupies the slot, the resources and the concurrency limit until its worker reports its end.
    public var isEnding = false
    /// When a held task becomes ready.
    public var dueAt: Date?
    /// When the latest attempt was assigned.
    public var assignedAt: Date?
    /// When the latest attempt was started.
    public var startedAt: Date?
    /// When the task ended.
    public var finishedAt: Date?
    /// When the lease of a live attempt ends unless it is renewed.
    public var leaseExpiresAt: Date?
    /// The progress that the worker last reported.
    public var progress: ByteBuffer?
    /// The result that the worker reported.
    public var result: ByteBuffer?
    /// How many bytes of output the task had written when its log was removed to keep within the queue's `log_budget`;
    /// nil if it was not.
    public var logRemoved: Int?
    /// Which of `payload` and `result` were left out of a list, because they are long.
    public var omitted: [String] = []
    /// The exit code that the worker reported.
    public var exitCode: Int?
    /// Why the latest attempt ended without success.
    public var failure: TaskFailure?
    /// Every attempt, oldest first, including the live one.
    public var attempts: [TaskAttempt] = []

    /// A task to submit.
    /// - Parameters:
    ///   - id: nil makes a random id.
    ///   - config: its time limit and number of retries replace the queue's defaults.
    ///   - priority: nil requests the automatic priority.
    public init(
        _ request: BuildRequest, config: SchedulerConfig? = nil, priority: TaskPriority? = nil, id: String? = nil
    ) {
        self.id = id ?? Self.randomID()
        self.request = request
        self.priority = priority
        self.timeout = config?.defaultTaskTimeout
        self.maxRetries = config?.defaultMaxRetries
        // Nobody else knows a generated id, so a second submission of it can only be a repetition of this one.
        self.requestToken = id == nil ? self.id : nil
    }

    /// ``priorityReason`` of a priority that the submitter chose.
    static let givenReason = "given"

    /// Returns a random id: 100 random bits in 20 characters. It is short because Redis stores each id several times.
    public static func randomID() -> String {
        let alphabet: StaticString = "0123456789abcdefghijkmnpqrstvwxy"
        // Each word of system randomness costs a system call. A character takes five bits.
        var words = (UInt64.random(in: 0...UInt64.max), UInt64.random(in: 0...UInt64.max))
        return String(unsafeUninitializedCapacity: 20) { characters in
            for index in 0..<20 {
                characters[index] = alphabet.utf8Start[Int(words.0 & 31)]
                words.0 >>= 5
                if index == 9 { words.0 = words.1 }
            }
            return 20
        }
    }
}

/// Why a task, or one attempt of it, ended without success.
public struct TaskFailure: Sendable, Equatable {
    /// The code that the worker reported, or `Timeout`, `Cancelled`, `WorkerNotFound`.
    public var code: String
    /// What happened, for people.
    public var message: String

    /// A failure to report.
    public init(code: String, message: String) {
        self.code = code
        self.message = message
    }
}

/// One assignment of a task to one worker.
public struct TaskAttempt: Sendable, Equatable {
    /// The attempt's number, from 1.
    public var attempt: Int
    /// The worker that got the task.
    public var worker: String
    /// When the task was assigned to the worker.
    public var assignedAt: Date?
    /// When the worker started the task.
    public var startedAt: Date?
    /// When the attempt ended.
    public var finishedAt: Date?
    /// `completed`, `failed`, `timeout`, `cancelled`, `lost` (its lease expired, or its worker left while it ran) or
    /// `returned` (the worker gave it back unstarted); nil while the attempt is live.
    public var outcome: String?
    /// The exit code that the worker reported.
    public var exitCode: Int?
    /// Why the attempt ended without success.
    public var failure: TaskFailure?
}
