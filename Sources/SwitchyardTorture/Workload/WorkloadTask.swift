import NIOCore
import Switchyard

/// A task of the workload: what it does when it runs, and under which options.
struct WorkloadTask: Sendable {
    let id: String
    /// Whether a process runs it, or a handler inside a worker.
    let isCommand: Bool
    /// How long an attempt takes.
    var milliseconds: Int
    /// How many attempts fail before one succeeds, apart from those that faults end.
    let failures: Int
    var options = SchedulingOptions()
    var priority: TaskPriority = .normal
    var delay: Duration?

    /// The label that its worker has.
    private var label: String { isCommand ? "runs=commands" : "runs=handlers" }

    /// The task as a client submits it.
    /// - Parameter journal: the file in which each execution is noted.
    func queued(journal: String) -> QueuedTask {
        var request = BuildRequest()
        if isCommand {
            request.command = ["sh", "-c", Self.script, "torture", "\(milliseconds)", "\(failures)", journal]
        } else {
            request.kind = "torture"
            request.payload = ByteBuffer(string: "{\"ms\":\(milliseconds),\"failures\":\(failures)}")
        }
        var task = QueuedTask(request, priority: priority, id: id)
        task.scheduling = options
        task.scheduling.requires.append(label)
        task.delay = delay
        return task
    }

    /// Notes the start and the end, and fails as often as it is told. The trap notes an end by SIGTERM too; an end by
    /// SIGKILL is not noted.
    private static let script = """
        note() { read -r up rest </proc/uptime; echo "$1 $SWITCHYARD_TASK_ID $SWITCHYARD_ATTEMPT \
        $SWITCHYARD_WORKER_ID $up" >>"$journal"; }
        journal=$3
        trap 'note end' EXIT
        trap 'exit 143' TERM
        note start
        sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"
        [ "$SWITCHYARD_ATTEMPT" -gt "$2" ] || exit 1
        echo "$SWITCHYARD_TASK_ID"
        """
}
