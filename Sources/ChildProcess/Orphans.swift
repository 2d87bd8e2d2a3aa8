import CChildProcess
import Glibc
import Synchronization

/// The descendants of our process that lost their parent and became its children (`PR_SET_CHILD_SUBREAPER`): what a
/// program of ours left behind, such as a daemon with a session of its own.
///
/// All of them are reaped. Those that have the marks of a child whose group is killed are killed too. An orphan
/// escapes if it has cleared its environment, or runs as another user.
final class Orphans: Sendable {
    private struct State {
        var areAdopted = false
        /// Children that our process had before: they are reaped, but belong to nobody's group.
        var foreign: Set<pid_t> = []
    }

    private let state = Mutex(State())

    /// Bounds the search for processes that fork while they are killed.
    private static let maxRounds = 20
    /// The kernel's limit on arguments and environment together is 6 MiB; an environment is rarely above this.
    private static let maxEnvironment = 2 << 20
    /// The guardian of a program that is itself built on this module. It has the marks of its parent, and ends by
    /// itself as soon as it has killed the groups of that parent.
    private static let guardianName = "sw-guardian"

    var areAdopted: Bool { state.withLock { $0.areAdopted } }

    func adopt() {
        state.withLock { $0 = State(areAdopted: true, foreign: Set(Self.children(of: getpid()))) }
    }

    /// Reaps the orphans that have ended.
    func reap(guardian: Guardian) {
        guardian.withOwnChildren { own in
            for child in Self.children(of: getpid()) where !own.contains(child) { sw_reap_if_ended(child) }
        }
    }

    /// Kills the orphans, and their descendants, whose environment contains all `marks`. Called when the leader of the
    /// group has ended, so its other descendants are orphans.
    func end(with marks: [String], guardian: Guardian) {
        let (areAdopted, foreign) = state.withLock { ($0.areAdopted, $0.foreign) }
        guard areAdopted, !marks.isEmpty else { return }
        for _ in 0..<Self.maxRounds {
            var roots: [pid_t] = []
            guardian.withOwnChildren { own in
                roots = Self.children(of: getpid()).filter { !own.contains($0) && !foreign.contains($0) }
            }
            let marked = Self.withDescendants(roots).filter { Self.isMarked($0, marks) }
            if marked.isEmpty { return }
            for processID in marked { kill(processID, SIGKILL) }
        }
    }

    private static func isMarked(_ processID: pid_t, _ marks: [String]) -> Bool {
        // Gone, a zombie (which has no environment), or another user's.
        guard let environment = contents("/proc/\(processID)/environ", maxEnvironment), !environment.isEmpty else {
            return false
        }
        var missing = Set(marks.map { Array($0.utf8) })
        for entry in environment.split(separator: 0) { missing.remove(Array(entry)) }
        guard missing.isEmpty else { return false }
        let name = contents("/proc/\(processID)/comm", 64) ?? []
        return !name.starts(with: guardianName.utf8)
    }

    private static func withDescendants(_ roots: [pid_t]) -> [pid_t] {
        var found = roots
        var next = 0
        while next < found.count {
            found += children(of: found[next])
            next += 1
        }
        return found
    }

    /// Returns the children of all threads of a process, from /proc/PID/task/TID/children. Empty if the process has
    /// ended, or if the kernel lacks that file (CONFIG_PROC_CHILDREN, which distributions have).
    private static func children(of processID: pid_t) -> [pid_t] {
        guard let directory = opendir("/proc/\(processID)/task") else { return [] }
        defer { closedir(directory) }
        var found: [pid_t] = []
        while let entry = readdir(directory) {
            let thread = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard thread.first != "." else { continue }
            let text = contents("/proc/\(processID)/task/\(thread)/children", 1 << 20) ?? []
            found += text.split(separator: UInt8(ascii: " ")).compactMap { pid_t(String(decoding: $0, as: UTF8.self)) }
        }
        return found
    }

    /// Returns at most `limit` bytes of a file; nil if it cannot be read.
    private static func contents(_ path: String, _ limit: Int) -> [UInt8]? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while bytes.count < limit {
            let count = read(file, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            if count < 0 { return nil }
            if count == 0 { break }
            bytes += buffer[..<count]
        }
        return bytes
    }
}
