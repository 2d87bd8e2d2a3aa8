import Foundation
import Switchyard

/// When, where and in which order a job runs: `.priority(.high)`, `.timeout(.minutes(5))`, `.unique(by: "a")`.
///
/// An option sets properties of ``Switchyard/QueuedTask`` or ``Switchyard/SchedulingOptions``. Their bounds are given
/// there, and are checked when the job is submitted.
public struct JobOption: Sendable {
    let apply: @Sendable (inout QueuedTask) -> Void

    /// An option that sets any part of the task.
    public init(_ apply: @escaping @Sendable (inout QueuedTask) -> Void) { self.apply = apply }

    /// The task's id. Submitting a job again with the id of an existing task of another content is an error.
    public static func id(_ id: String) -> JobOption {
        JobOption {
            $0.id = id
            $0.requestToken = nil
        }
    }

    /// How urgent the job is; `.normal` without this option.
    public static func priority(_ priority: TaskPriority) -> JobOption { JobOption { $0.priority = priority } }

    /// The time limit of one attempt.
    public static func timeout(_ timeout: Duration) -> JobOption { JobOption { $0.timeout = timeout } }

    /// How often the job is tried again after its first attempt.
    public static func retries(_ count: Int) -> JobOption { JobOption { $0.maxRetries = count } }

    /// Not before this long after its submission.
    public static func delay(_ delay: Duration) -> JobOption { JobOption { $0.delay = delay } }

    /// Not before this time.
    public static func runAt(_ date: Date) -> JobOption { JobOption { $0.runAt = date } }

    /// While a job with this key has not ended, an equal submission returns the id of that one; with `for`, also for
    /// this long after it has completed. All kinds of a queue share their keys.
    public static func unique(by key: String, for duration: Duration? = nil) -> JobOption {
        JobOption {
            $0.scheduling.uniqueKey = key
            $0.scheduling.uniqueFor = duration
        }
    }

    /// Jobs that must complete first; otherwise this one is cancelled.
    public static func after(_ ids: String...) -> JobOption { JobOption { $0.scheduling.dependsOn += ids } }

    /// A job that must complete first. Its result is ``JobContext/result(of:)``.
    public static func after<J: Job>(_ id: JobID<J>) -> JobOption {
        JobOption { $0.scheduling.dependsOn.append(id.taskID) }
    }

    /// Labels that the worker must have: `gpu`, `os=linux`, `zone!=eu`.
    public static func requires(_ labels: String...) -> JobOption { JobOption { $0.scheduling.requires += labels } }

    /// What the job takes of its worker's capacity.
    public static func resources(_ resources: Resources) -> JobOption {
        JobOption { $0.scheduling.resources = resources }
    }

    /// At most `limit` jobs of this key run at once.
    public static func concurrency(_ key: String, limit: Int = 1) -> JobOption {
        JobOption {
            $0.scheduling.concurrencyKey = key
            $0.scheduling.concurrencyLimit = limit
        }
    }

    /// At most so many jobs of this key start in a second, after a burst.
    public static func rate(_ key: String, perSecond: Double, burst: Int = 1) -> JobOption {
        JobOption {
            $0.scheduling.rateKey = key
            $0.scheduling.ratePerSecond = perSecond
            $0.scheduling.rateBurst = burst
        }
    }

    /// Within a priority, tenants share the workers by weight.
    public static func tenant(_ key: String, weight: Double = 1) -> JobOption {
        JobOption {
            $0.scheduling.fairnessKey = key
            $0.scheduling.fairnessWeight = weight
        }
    }
}

extension Duration {
    /// `.minutes(5)`.
    public static func minutes(_ minutes: Int) -> Duration { .seconds(minutes * 60) }
    /// `.hours(2)`.
    public static func hours(_ hours: Int) -> Duration { .seconds(hours * 3600) }
}
