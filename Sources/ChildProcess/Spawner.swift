import CChildProcess
import Glibc

/// Creates the pipes and forks. On failure, no descriptor stays open and no child is left.
///
/// Runs on the reactor's thread: children end with the thread that forked them (`PR_SET_PDEATHSIG`), and the threads of
/// Swift's pool come and go.
enum Spawner {
    static func spawn(
        _ command: ChildProcess.Command, reactor: Reactor
    ) throws(ChildProcessError) -> Reactor.Spawned {
        let arguments = try SpawnArguments(command)
        var descriptors = Descriptors()
        do throws(SystemFailure) {
            let output = try descriptors.pipe()
            let errors = try descriptors.pipe()
            let status = try descriptors.pipe()
            let (input, ourInput) = try descriptors.input(command.standardInput)
            try SystemFailure.check("fcntl", sw_set_nonblocking(output.read))
            try SystemFailure.check("fcntl", sw_set_nonblocking(errors.read))
            try SystemFailure.check("fcntl", sw_set_nonblocking(status.read))

            let startedAt = ContinuousClock.now
            let processID = try reactor.guardian.start { guardian in
                var processID: pid_t = 0
                let code = arguments.withRequest(
                    input: input, output: output.write, errors: errors.write, status: status.write, guardian: guardian
                ) { sw_spawn(&$0, &processID) }
                return code == 0
                    ? .success(processID)
                    : .failure(SystemFailure(what: "could not be forked", code: code))
            }
            let record = ChildRecord(processID: processID, startedAt: startedAt)
            descriptors.keep([output.read, errors.read, status.read, ourInput])

            var pidfd: Int32 = -1
            let code = sw_pidfd_open(processID, &pidfd)
            guard code == 0 else {
                // Without a pidfd the child's end would go unnoticed, so the child must not run.
                record.reap(guardian: reactor.guardian)
                for fd in [output.read, errors.read, status.read, ourInput] where fd >= 0 { close(fd) }
                throw SystemFailure(what: "pidfd_open", code: code)
            }
            var bytes: [UInt8] = []
            if case .bytes(let given) = command.standardInput { bytes = given }
            return Reactor.Spawned(
                id: reactor.nextID(), record: record, pidfd: pidfd, statusPipe: status.read, output: output.read,
                errors: errors.read, input: ourInput, inputBytes: bytes, linger: command.linger,
                marks: command.markEntries)
        } catch {
            throw ChildProcessError(
                program: command.program, reason: error.isLimit ? .tooMany : .system(what: error.what),
                code: error.code)
        }
    }
}

/// A failed system call; the caller adds the program.
struct SystemFailure: Error {
    let what: String
    let code: Int32
    var isLimit = false

    static func check(_ what: String, _ code: Int32) throws(SystemFailure) {
        if code != 0 { throw SystemFailure(what: what, code: code) }
    }
}

/// Descriptors that are closed at the end of the scope, unless kept.
private struct Descriptors: ~Copyable {
    private var open: [Int32] = []

    mutating func pipe() throws(SystemFailure) -> (read: Int32, write: Int32) {
        var ends: (read: Int32, write: Int32) = (-1, -1)
        try SystemFailure.check("pipe", sw_pipe(&ends.read, &ends.write))
        open += [ends.read, ends.write]
        return ends
    }

    /// Opens the child's stdin. Returns the child's end and ours; ours is -1 if there is nothing to write.
    mutating func input(_ input: ChildProcess.Command.StandardInput) throws(SystemFailure) -> (Int32, Int32) {
        if case .bytes(let bytes) = input, !bytes.isEmpty {
            let ends = try pipe()
            try SystemFailure.check("fcntl", sw_set_nonblocking(ends.write))
            return (ends.read, ends.write)
        }
        var null: Int32 = -1
        try SystemFailure.check("/dev/null", sw_open_null(&null))
        open.append(null)
        return (null, -1)
    }

    mutating func keep(_ kept: [Int32]) {
        open.removeAll { kept.contains($0) }
    }

    deinit {
        for fd in open { close(fd) }
    }
}
