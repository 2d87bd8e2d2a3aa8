import CChildProcess
import Glibc

/// The loop of the reactor's thread. Its state is confined to that thread and needs no lock.
///
/// A child leaves the table when its leader has been reaped and its pipes are closed.
struct ReactorLoop {
    private let reactor: Reactor
    private var children: [UInt64: WatchedChild] = [:]
    private var deadlines: [Deadline] = []
    private let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: WatchedChild.readSize, alignment: 16)

    private struct Deadline {
        let at: ContinuousClock.Instant
        let id: UInt64
        let action: Action
        enum Action { case kill, reap, stopDraining }
    }

    /// Pipes normally end at once when the leader ends. If a process outside the group holds them open, only what they
    /// contain after this time is still read.
    private static let drainTime: Duration = .milliseconds(200)
    /// How often adopted orphans are reaped. The kernel tells nobody but a handler of SIGCHLD, of which a process has
    /// only one.
    private static let orphanInterval: Duration = .milliseconds(500)
    private var orphansDue = ContinuousClock.now

    init(reactor: Reactor) {
        self.reactor = reactor
    }

    mutating func run() -> Never {
        var events = [epoll_event](repeating: epoll_event(), count: 128)
        while true {
            let count = epoll_wait(reactor.epoll, &events, Int32(events.count), millisecondsToNextDeadline())
            for event in events.prefix(Int(max(count, 0))) {
                let token = event.data.u64
                switch token & 0xff {
                case Reactor.wakeupToken: handleInbox()
                case Reactor.guardianToken: reactor.guardian.hungUp(Int32(truncatingIfNeeded: token >> 8))
                default: handle(id: token >> 8, source: UInt8(token & 0xff))
                }
            }
            handleDeadlines()
            reapOrphans()
        }
    }

    private mutating func reapOrphans() {
        let now = ContinuousClock.now
        guard reactor.orphans.areAdopted, now >= orphansDue else { return }
        reactor.orphans.reap(guardian: reactor.guardian)
        orphansDue = now + Self.orphanInterval
    }

    private mutating func handleInbox() {
        let guardian = reactor.guardian
        for request in reactor.takeInbox() {
            switch request {
            case .spawn(let command, let continuation):
                let reactor = reactor
                continuation.resume(
                    returning: Result { () throws(ChildProcessError) in
                        try Spawner.spawn(command, reactor: reactor)
                    })
            case .watch(let spawned, let continuation):
                children[spawned.id] = WatchedChild(spawned, continuation, epoll: reactor.epoll)
                children[spawned.id]?.begin(guardian: guardian)
                settle(spawned.id)
            case .resumeReading(let id):
                children[id]?.resumeReading()
                settle(id)
            case .discardOutput(let id):
                children[id]?.discardOutput()
                settle(id)
            case .adopt: orphansDue = .now
            case .terminate(let id, let killAt):
                // This thread sends the signal too, so that it knows of the grace when the leader ends.
                children[id]?.noteKill(at: killAt)
                children[id]?.record.signalGroup(SIGTERM)
                if children[id] != nil { deadlines.append(Deadline(at: killAt, id: id, action: .kill)) }
            }
        }
    }

    private mutating func handle(id: UInt64, source: UInt8) {
        guard let source = WatchedChild.Source(rawValue: source), children[id] != nil else { return }
        let scratch = scratch
        switch source {
        case .status: children[id]?.readStatus()
        case .input: children[id]?.writeInput()
        case .output, .errors: children[id]?.read(source, into: scratch)
        case .end:
            if let at = children[id]?.leaderEnded() {
                if at <= .now { reap(id) } else { deadlines.append(Deadline(at: at, id: id, action: .reap)) }
            }
        }
        settle(id)
    }

    /// Reaps a child that may be reaped, and forgets one that is done.
    private mutating func settle(_ id: UInt64) {
        if children[id]?.mayBeReaped == true { reap(id) }
        if children[id]?.isDone == true { children[id] = nil }
    }

    private mutating func reap(_ id: UInt64) {
        guard let child = children[id], child.isLingering else { return }
        let guardian = reactor.guardian
        children[id]?.reap(guardian: guardian)
        reactor.orphans.end(with: child.marks, guardian: guardian)
        let at = ContinuousClock.now + Self.drainTime
        if children[id]?.isDone == false { deadlines.append(Deadline(at: at, id: id, action: .stopDraining)) }
    }

    private mutating func handleDeadlines() {
        guard !deadlines.isEmpty else { return }
        let now = ContinuousClock.now
        let due = deadlines.filter { $0.at <= now }
        deadlines.removeAll { $0.at <= now }
        for deadline in due {
            switch deadline.action {
            case .kill: children[deadline.id]?.record.signalGroup(SIGKILL)
            case .reap: reap(deadline.id)
            case .stopDraining: children[deadline.id]?.stopDraining()
            }
            settle(deadline.id)
        }
        deadlines.removeAll { children[$0.id] == nil }
    }

    /// Returns -1 if there is no deadline. Rounds up, so that the loop does not spin in the last fraction of a
    /// millisecond.
    private func millisecondsToNextDeadline() -> Int32 {
        let times = deadlines.map(\.at) + (reactor.orphans.areAdopted ? [orphansDue] : [])
        guard let next = times.min() else { return -1 }
        let left = next - .now
        guard left > .zero else { return 0 }
        return left > .seconds(60) ? 60_000 : Int32(left / .milliseconds(1)) + 1
    }
}
