import CChildProcess
import Glibc
import Synchronization

/// The thread that serves all children: their exits, output, input and deadlines.
///
/// Other threads send it requests through an inbox and an eventfd; its other state is confined to the thread
/// (``ReactorLoop``). It is created when the first child starts, and lives as long as the process. It never waits for a
/// single child. All signals are blocked on it, so that writing to a child that closed its input fails with EPIPE and
/// raises no SIGPIPE.
final class Reactor: Sendable {
    enum Request: Sendable {
        case spawn(ChildProcess.Command, CheckedContinuation<Result<Spawned, ChildProcessError>, Never>)
        case watch(Spawned, CheckedContinuation<sw_spawn_failure?, Never>)
        /// The buffer has room again.
        case resumeReading(id: UInt64)
        /// SIGTERM goes to the group now, and SIGKILL at a time.
        case terminate(id: UInt64, killAt: ContinuousClock.Instant)
        /// Nothing will read the output: read and drop it.
        case discardOutput(id: UInt64)
        /// From now on orphans are reaped.
        case adopt
    }

    /// A forked child and our ends of its pipes, which the loop now owns.
    struct Spawned: Sendable {
        let id: UInt64
        let record: ChildRecord
        let pidfd: Int32
        let statusPipe: Int32
        let output: Int32
        let errors: Int32
        let input: Int32
        let inputBytes: [UInt8]
        let linger: Duration
        let marks: [String]
    }

    // Epoll tokens of the reactor itself; those of children have a low byte of 2 or more.
    static let wakeupToken: UInt64 = 0
    static let guardianToken: UInt64 = 1

    let epoll: Int32
    let guardian: Guardian
    let orphans = Orphans()
    private let wakeup: Int32
    private let inbox = Mutex<[Request]>([])
    private let lastID = Atomic<UInt64>(0)

    private static let instance = Mutex<Reactor?>(nil)

    /// Returns the reactor of this process; the first call creates it. `program` is for the error only.
    static func shared(program: String) throws(ChildProcessError) -> Reactor {
        let result = instance.withLock { instance -> Result<Reactor, ChildProcessError> in
            if let instance { return .success(instance) }
            do throws(ChildProcessError) {
                let reactor = try Reactor(program: program)
                instance = reactor
                return .success(reactor)
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private init(program: String) throws(ChildProcessError) {
        func failure(_ what: String, _ code: Int32) -> ChildProcessError {
            ChildProcessError(program: program, reason: .system(what: what), code: code)
        }
        let epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard epoll >= 0 else { throw failure("epoll_create1", errno) }
        let wakeup = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        guard wakeup >= 0 else {
            let code = errno
            close(epoll)
            throw failure("eventfd", code)
        }
        self.epoll = epoll
        self.wakeup = wakeup
        // No events: hang-ups are always reported, and the guardian never writes.
        guardian = Guardian(
            watch: { epollAdd(epoll, $0, events: 0, token: Reactor.guardianToken | UInt64($0) << 8) },
            unwatch: { epollRemove(epoll, $0) })
        let watched = epollAdd(epoll, wakeup, events: EPOLLIN.rawValue, token: Reactor.wakeupToken)

        var thread = pthread_t()
        let code = watched ? startThread(&thread, Unmanaged.passRetained(self).toOpaque()) : errno
        guard code == 0 else {
            if watched { Unmanaged.passUnretained(self).release() }
            close(epoll)
            close(wakeup)
            throw failure(watched ? "pthread_create" : "epoll_ctl", code)
        }
    }

    func nextID() -> UInt64 { lastID.add(1, ordering: .relaxed).newValue }

    func send(_ request: Request) {
        inbox.withLock { $0.append(request) }
        var one: UInt64 = 1
        // EAGAIN: the counter is full, so the loop is awake anyway.
        _ = write(wakeup, &one, MemoryLayout<UInt64>.size)
    }

    func takeInbox() -> [Request] {
        var count: UInt64 = 0
        _ = read(wakeup, &count, MemoryLayout<UInt64>.size)
        return inbox.withLock { inbox in
            defer { inbox = [] }
            return inbox
        }
    }
}

/// Starts a thread with all signals blocked that runs the loop of the reactor in `argument`. The caller has retained
/// the reactor for it. Returns 0 or an errno value.
private func startThread(_ thread: inout pthread_t, _ argument: UnsafeMutableRawPointer) -> Int32 {
    var all = sigset_t()
    var before = sigset_t()
    sigfillset(&all)
    pthread_sigmask(SIG_SETMASK, &all, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    let code = pthread_create(
        &thread, nil,
        { argument in
            sw_name_thread("sw-children")
            guard let argument else { return nil }
            let reactor = Unmanaged<Reactor>.fromOpaque(argument).takeRetainedValue()
            var loop = ReactorLoop(reactor: reactor)
            loop.run()
        }, argument)
    if code == 0 { pthread_detach(thread) }
    return code
}

/// Adds a descriptor to an epoll set. Returns false, with errno set, if the kernel has no memory or the user's limit on
/// watches is reached.
@discardableResult
func epollAdd(_ epoll: Int32, _ fd: Int32, events: UInt32, token: UInt64) -> Bool {
    var event = epoll_event(events: events, data: epoll_data_t(u64: token))
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0
}

/// Removes a descriptor from an epoll set. Call it before `close`: a child between fork and exec holds a copy of the
/// descriptor, which would keep the registration alive.
func epollRemove(_ epoll: Int32, _ fd: Int32) {
    var event = epoll_event()
    _ = epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event)
}
