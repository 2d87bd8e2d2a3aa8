import Foundation
import NIOCore

/// A task: what was submitted, and everything that has happened to it since.
public struct QueuedTask: Sendable, Equatable {
    /// 1 to 200 characters of `A-Z a-z 0-9 . _ : -`.
    public var id: String
    public var request: BuildRequest
    /// Nil asks for the automatic priority (``PriorityPolicy``); never nil in a task read back.
    public var priority: TaskPriority?
    public var priorityReason: String?
    /// The time limit of one attempt.
    public var timeout: Duration
    /// How often the task is tried again after its first attempt.
    public var maxRetries: Int
    /// Not before this time.
    public var runAt: Date?
    /// Not before this long after its submission, by Redis's clock.
    public var delay: Duration?
    /// Requirements, limits, dependencies and the like.
    public var scheduling = SchedulingOptions()
    /// What makes a repeated submission recognisable as the same one. Nil: the handle makes one.
    public var requestToken: String?

    public var state: TaskState = .pending
    public var heldBy: HoldReason?
    /// Place in line, from 0; only while the task is pending and not held.
    public var position: Int?
    /// The number of the latest attempt, from 1; 0 before the first. It is also the fencing token of its lease.
    public var attempt = 0
    public var retryCount = 0
    public var worker: String?
    public var batch: String?
    public var submittedAt: Date?
    /// When a held task becomes ready.
    public var dueAt: Date?
    public var assignedAt: Date?
    public var startedAt: Date?
    public var finishedAt: Date?
    public var leaseExpiresAt: Date?
    /// What the worker last said about how far it is.
    public var progress: ByteBuffer?
    public var result: ByteBuffer?
    public var exitCode: Int?
    public var failure: TaskFailure?
    /// Every attempt, oldest first, the live one included.
    public var attempts: [TaskAttempt] = []

    /// A task to submit.
    /// - Parameters:
    ///   - id: nil makes a random one.
    ///   - priority: nil asks for the automatic priority.
    public init(
        _ request: BuildRequest, config: SchedulerConfig = SchedulerConfig(), priority: TaskPriority? = nil,
        id: String? = nil
    ) {
        self.id = id ?? Self.randomID()
        self.request = request
        self.priority = priority
        self.timeout = config.defaultTaskTimeout
        self.maxRetries = config.defaultMaxRetries
        // A generated id is known to nobody else: meeting it again can only be the same submission, repeated.
        self.requestToken = id == nil ? self.id : nil
    }

    /// 100 random bits in 20 characters: short, because Redis stores each id several times.
    public static func randomID() -> String {
        let alphabet: StaticString = "0123456789abcdefghijkmnpqrstvwxy"
        // Two words of the system's randomness, which are two system calls; five bits make a character.
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
    /// The worker's own word, or `Timeout`, `Cancelled`, `WorkerNotFound`.
    public var code: String
    public var message: String

    public init(code: String, message: String) {
        self.code = code
        self.message = message
    }
}

/// One try at a task by one worker.
public struct TaskAttempt: Sendable, Equatable {
    /// From 1.
    public var attempt: Int
    public var worker: String
    public var assignedAt: Date?
    public var startedAt: Date?
    public var finishedAt: Date?
    /// completed, failed, timeout, cancelled, lost (its worker vanished) or returned (given back unstarted);
    /// nil while it lives.
    public var outcome: String?
    public var exitCode: Int?
    public var failure: TaskFailure?
}
