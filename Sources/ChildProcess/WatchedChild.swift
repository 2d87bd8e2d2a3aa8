import CChildProcess
import Glibc

/// The reactor's side of one child: our ends of its pipes, its pidfd and its status pipe.
///
/// The states of a child: starting (the status pipe is open) → running → lingering (the leader has ended, and others
/// may hold its output open) → ended (reaped) → done (no pipe is open).
struct WatchedChild {
    /// The low byte of an epoll token; 0 and 1 are tokens of the reactor itself.
    enum Source: UInt8 {
        case status = 2
        case input, output, errors, end
    }

    /// The default size of a pipe on Linux: one read empties it.
    static let readSize = 64 * 1024

    private let id: UInt64
    let record: ChildRecord
    private let epoll: Int32
    private var started: CheckedContinuation<sw_spawn_failure?, Never>?
    private var statusPipe: Int32
    private var pidfd: Int32
    private var input: Int32
    private var inputBytes: [UInt8]
    private var inputWritten = 0
    private var output: Reader
    private var errors: Reader
    private var paused = false
    private let linger: Duration
    /// When the group is killed, if it was told to end.
    private var killAt: ContinuousClock.Instant?
    private(set) var isLingering = false
    /// See ``ChildProcess/Command/marks``.
    let marks: [String]

    private struct Reader {
        var fd: Int32
        /// The bytes still to be read; nil: until the end of the pipe.
        var remaining: Int?

        /// Limits reading to the bytes that the pipe contains now.
        mutating func endWithWhatIsThere(_ epoll: Int32) {
            guard fd >= 0 else { return }
            let count = Int(sw_bytes_waiting(fd))
            if count == 0 { shut(epoll, &fd) } else { remaining = count }
        }
    }

    init(_ spawned: Reactor.Spawned, _ started: CheckedContinuation<sw_spawn_failure?, Never>, epoll: Int32) {
        id = spawned.id
        record = spawned.record
        self.epoll = epoll
        self.started = started
        statusPipe = spawned.statusPipe
        pidfd = spawned.pidfd
        input = spawned.input
        inputBytes = spawned.inputBytes
        output = Reader(fd: spawned.output)
        errors = Reader(fd: spawned.errors)
        linger = spawned.linger
        marks = spawned.marks
    }

    /// Adds the descriptors to the epoll set. Called once, when the child is in the loop's table. A child that cannot
    /// be watched is killed at once.
    mutating func begin(guardian: Guardian) {
        let watched =
            watch(statusPipe, .status, EPOLLIN.rawValue) && watch(pidfd, .end, EPOLLIN.rawValue)
            && watch(output.fd, .output, EPOLLIN.rawValue) && watch(errors.fd, .errors, EPOLLIN.rawValue)
            && (input < 0 || watch(input, .input, EPOLLOUT.rawValue))
        if !watched { abandon(guardian: guardian) }
    }

    private mutating func abandon(guardian: Guardian) {
        let code = errno
        record.reap(guardian: guardian)
        started?.resume(returning: sw_spawn_failure(stage: 0, error: code))
        started = nil
        shut(epoll, &statusPipe)
        shut(epoll, &pidfd)
        shut(epoll, &input)
        shut(epoll, &output.fd)
        shut(epoll, &errors.fd)
        record.output.finish()
    }

    var isDone: Bool { !isLingering && pidfd < 0 && statusPipe < 0 && input < 0 && output.fd < 0 && errors.fd < 0 }

    /// Reads the status pipe: a report if the child failed, or end of file if its exec succeeded.
    mutating func readStatus() {
        guard statusPipe >= 0 else { return }
        var failure = sw_spawn_failure()
        let size = MemoryLayout<sw_spawn_failure>.size
        let count = Glibc.read(statusPipe, &failure, size)
        if count < 0 && (errno == EAGAIN || errno == EINTR) { return }
        shut(epoll, &statusPipe)
        started?.resume(returning: count == size ? failure : nil)
        started = nil
    }

    /// Called when the leader has ended. Returns when to reap it, and to kill the rest of its group, at the latest.
    ///
    /// The leader stays a zombie until then, so its group's ID still means this group. A group that was told to end
    /// lingers until it would have been killed.
    mutating func leaderEnded() -> ContinuousClock.Instant? {
        guard pidfd >= 0 else { return nil }
        // A child that failed before exec has ended too; its report is in the pipe already.
        readStatus()
        record.noteEnd()
        shut(epoll, &pidfd)
        shut(epoll, &input)
        isLingering = true
        guard linger > .zero else { return .now }
        return max(.now + linger, killAt ?? .now)
    }

    /// The leader has ended, and nobody writes any more.
    var mayBeReaped: Bool { isLingering && output.fd < 0 && errors.fd < 0 }

    mutating func reap(guardian: Guardian) {
        guard isLingering else { return }
        isLingering = false
        record.reap(guardian: guardian)
    }

    /// The group was told to end, and is killed then.
    mutating func noteKill(at: ContinuousClock.Instant) {
        killAt = min(killAt ?? at, at)
    }

    mutating func writeInput() {
        guard input >= 0 else { return }
        let count = inputBytes.withUnsafeBytes { bytes in
            Glibc.write(input, bytes.baseAddress.map { $0 + inputWritten }, bytes.count - inputWritten)
        }
        if count < 0 && (errno == EAGAIN || errno == EINTR) { return }
        inputWritten += max(count, 0)
        // EPIPE: the child has closed its input.
        guard count < 0 || inputWritten == inputBytes.count else { return }
        shut(epoll, &input)
        inputBytes = []
    }

    mutating func read(_ source: Source, into scratch: UnsafeMutableRawBufferPointer) {
        var reader = source == .output ? output : errors
        defer { if source == .output { output = reader } else { errors = reader } }
        guard reader.fd >= 0, !paused else { return }

        let wanted = min(scratch.count, reader.remaining ?? scratch.count)
        let count = Glibc.read(reader.fd, scratch.baseAddress, wanted)
        if count < 0 && (errno == EAGAIN || errno == EINTR) { return }
        if count > 0 {
            let bytes = [UInt8](scratch[..<count])
            reader.remaining? -= count
            let pause = record.output.push(.init(stream: source == .output ? .stdout : .stderr, bytes: bytes))
            if pause { pauseReading() }
        }
        if count <= 0 || reader.remaining == 0 {
            shut(epoll, &reader.fd)
            let other = source == .output ? errors : output
            if other.fd < 0 { record.output.finish() }
        }
    }

    /// Removes the pipes from the epoll set: a hang-up would be reported even without a requested event.
    private mutating func pauseReading() {
        paused = true
        for fd in [output.fd, errors.fd] where fd >= 0 { epollRemove(epoll, fd) }
    }

    mutating func resumeReading() {
        guard paused else { return }
        paused = false
        // A pipe that cannot be watched again is closed: the child gets SIGPIPE, the reader the end of the output.
        if output.fd >= 0 && !watch(output.fd, .output, EPOLLIN.rawValue) { shut(epoll, &output.fd) }
        if errors.fd >= 0 && !watch(errors.fd, .errors, EPOLLIN.rawValue) { shut(epoll, &errors.fd) }
        if output.fd < 0 && errors.fd < 0 { record.output.finish() }
    }

    mutating func discardOutput() {
        record.output.discard()
        resumeReading()
    }

    /// Called some time after the end of the leader, if another process holds its pipes open: only what they contain
    /// now is still read.
    mutating func stopDraining() {
        output.endWithWhatIsThere(epoll)
        errors.endWithWhatIsThere(epoll)
        if output.fd < 0 && errors.fd < 0 { record.output.finish() }
    }

    private func watch(_ fd: Int32, _ source: Source, _ events: UInt32) -> Bool {
        epollAdd(epoll, fd, events: events, token: id << 8 | UInt64(source.rawValue))
    }

}

/// Removes a descriptor from the epoll set and closes it.
private func shut(_ epoll: Int32, _ fd: inout Int32) {
    guard fd >= 0 else { return }
    epollRemove(epoll, fd)
    close(fd)
    fd = -1
}
