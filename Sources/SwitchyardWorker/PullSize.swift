import Switchyard

/// How much a pull asks for. Halved when a call gets no reply in time, because its reply may have been more than the
/// link carries; doubled by each reply.
struct PullSize {
    /// Limit on the tasks of a pull.
    private(set) var tasks: Int
    private let mostTasks: Int
    /// A smaller budget would not make a reply noticeably smaller.
    private static let leastBytes = 1 << 14

    init(mostTasks: Int) {
        tasks = mostTasks
        self.mostTasks = mostTasks
    }

    /// Limit on the bytes of a pull; nil: the limit of the functions.
    var bytes: Int? {
        tasks < mostTasks ? max(Self.leastBytes, WorkerClient.maxReplyBytes / mostTasks * tasks) : nil
    }

    mutating func halve() { tasks = max(1, tasks / 2) }
    mutating func grow() { tasks = min(mostTasks, tasks * 2) }
}
