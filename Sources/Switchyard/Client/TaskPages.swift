import Foundation
import RedisClient

// The list of tasks, in pages. The pages of several partitions are merged: each partition returns a whole page, and the
// first tasks of all pages make the merged page. A partition of which only some tasks were taken is then called again
// for just these, because its reply has the cursor behind them.

extension SchedulerHandle {
    /// Returns a page of the list: assigned and running tasks first, then tasks in line, waiting and held tasks, and
    /// ended tasks, latest first. The tasks of a batch are listed in the order of the batch.
    ///
    /// A call reads a bounded number of tasks, so a page may be short or empty and have a next page.
    /// - Parameters:
    ///   - limit: 1 to 500.
    ///   - cursor: the cursor that the previous page returned; nil for the first page.
    ///   - longest: a payload or result of more bytes is left out, and named in ``QueuedTask/omitted``.
    /// - Returns: the tasks; the cursor of the next page, or nil; and `scannedUntil`: when the last task that was read
    ///   was submitted or ended (nil at the end, and for a queue with several partitions).
    public func listTasks(
        _ filter: Filter = Filter(), limit: Int = 50, cursor: String? = nil, longest: Int? = nil
    ) async throws -> (tasks: [QueuedTask], cursor: String?, scannedUntil: Date?) {
        guard partitions.count > 1 else {
            let page = try await functions[0].list(filter, limit: limit, cursor: cursor, longest: longest)
            return (page.tasks, page.cursor, page.scannedUntil)
        }
        var cursors = try PageCursors(cursor, partitions: partitions.count)
        let pages = try await pages(of: cursors, filter, longest) { _ in limit }
        let taken = MergedPage(pages, limit: limit).taken
        for index in pages.indices where taken[index] == pages[index].tasks.count {
            cursors.advance(index, pages[index])
        }
        // The partitions of which only a part was taken.
        let cut = pages.indices.filter { 0 < taken[$0] && taken[$0] < pages[$0].tasks.count }
        var shown = pages.indices.map { cut.contains($0) || taken[$0] == 0 ? TaskPage() : pages[$0] }
        if !cut.isEmpty {
            let again = try await self.pages(of: cursors, filter, longest) { cut.contains($0) ? taken[$0] : 0 }
            for index in cut {
                shown[index] = again[index]
                cursors.advance(index, again[index])
            }
        }
        let merged = MergedPage(shown.map { TaskPage(tasks: $0.tasks, lanes: $0.lanes) }, limit: limit)
        return (merged.tasks, cursors.text, nil)
    }

    /// Returns a page of each partition that has a next page and a limit above 0; an empty page for the others.
    private func pages(
        of cursors: PageCursors, _ filter: Filter, _ longest: Int?, limit: (Int) -> Int
    ) async throws -> [TaskPage] {
        try await withThrowingTaskGroup(of: (Int, TaskPage).self) { group in
            for (index, functions) in functions.enumerated() {
                let limit = limit(index)
                guard limit > 0, case .at(let cursor) = cursors.positions[index] else { continue }
                group.addTask {
                    (index, try await functions.list(filter, limit: limit, cursor: cursor, longest: longest))
                }
            }
            var pages = Array(repeating: TaskPage(), count: functions.count)
            for try await (index, page) in group { pages[index] = page }
            return pages
        }
    }
}

/// A page of one partition, and the cursor of its next page, if there is one.
private struct TaskPage: Sendable {
    var tasks: [QueuedTask] = []
    /// The name of each task's lane; empty for none.
    var lanes: [String] = []
    var cursor: String?
    var scannedUntil: Date?

    func place(of index: Int) -> PlaceInList { PlaceInList(tasks[index], lane: lanes[index]) }
}

/// The cursors of all partitions. As a text they are joined by "/", which is escaped in each of them.
private struct PageCursors {
    enum Position {
        /// A partition's cursor; empty for the beginning.
        case at(String)
        case end
    }
    private static let endMark = "."
    var positions: [Position]

    init(_ text: String?, partitions: Int) throws(SchedulerError) {
        let parts = text?.split(separator: "/", omittingEmptySubsequences: false)
        guard (parts?.count ?? partitions) == partitions else {
            throw .invalidInput(
                field: "cursor",
                message: "cursor: expected one that an earlier page gave, found \(Name.shown(text ?? ""))")
        }
        positions =
            parts?.map { $0 == Self.endMark ? .end : .at(Self.unescaped(String($0))) }
            ?? Array(repeating: .at(""), count: partitions)
    }

    private static func escaped(_ cursor: String) -> String {
        cursor.replacing("%", with: "%25").replacing("/", with: "%2F")
    }

    private static func unescaped(_ text: String) -> String {
        text.replacing("%2F", with: "/").replacing("%25", with: "%")
    }

    mutating func advance(_ index: Int, _ page: TaskPage) {
        if case .end = positions[index] { return }
        positions[index] = page.cursor.map { .at($0) } ?? .end
    }

    /// Nil if all partitions are at their end.
    var text: String? {
        let texts = positions.map { position in
            switch position {
            case .at(let cursor): Self.escaped(cursor)
            case .end: Self.endMark
            }
        }
        return texts.allSatisfy { $0 == Self.endMark } ? nil : texts.joined(separator: "/")
    }
}

/// The first tasks of several pages. Tasks of one page keep their order.
private struct MergedPage {
    var tasks: [QueuedTask] = []
    /// How many tasks were taken of each page.
    var taken: [Int]

    init(_ pages: [TaskPage], limit: Int) {
        taken = pages.map { _ in 0 }
        while tasks.count < limit {
            let rests = pages.indices.filter { taken[$0] < pages[$0].tasks.count }
            // If the tasks of a page are used up and it has a next page, the next task may be there.
            let isKnown = pages.indices.allSatisfy { rests.contains($0) || pages[$0].cursor == nil }
            guard isKnown,
                let first = rests.min(by: { left, right in
                    pages[left].place(of: taken[left]) < pages[right].place(of: taken[right])
                })
            else { return }
            tasks.append(pages[first].tasks[taken[first]])
            taken[first] += 1
        }
    }
}

/// The order of the tasks of different partitions. `Functions/api/tasks/list.lua` has the order within a partition:
/// sections, of which that of the lanes has them in the order of their names.
private struct PlaceInList: Comparable {
    private enum Section: Int { case live, line, lanes, waiting, held, ended }
    private var section: Section
    private var lane = ""
    private var level = 0
    private var time: Double

    init(_ task: QueuedTask, lane: String) {
        func seconds(_ date: Date?) -> Double { date?.timeIntervalSince1970 ?? 0 }
        guard task.state == .pending else {
            section = task.state.isTerminal ? .ended : .live
            time = task.state.isTerminal ? -seconds(task.finishedAt) : seconds(task.leaseExpiresAt)
            return
        }
        switch task.heldBy {
        case .schedule, .retry, .ending:
            section = .held
            time = seconds(task.dueAt)
        case nil, .paused, .concurrencyLimit, .rateLimit, .dependencies:
            section = task.heldBy == .dependencies ? .waiting : lane.isEmpty ? .line : .lanes
            self.lane = section == .lanes ? lane : ""
            level = task.priority?.level ?? 0
            time = seconds(task.submittedAt)
        }
    }

    static func < (one: PlaceInList, other: PlaceInList) -> Bool {
        if one.section != other.section { return one.section.rawValue < other.section.rawValue }
        // Redis compares bytes.
        if one.lane != other.lane { return one.lane.utf8.lexicographicallyPrecedes(other.lane.utf8) }
        return (one.level, one.time) < (other.level, other.time)
    }
}

extension QueueFunctions {
    fileprivate func list(
        _ filter: SchedulerHandle.Filter, limit: Int, cursor: String?, longest: Int?
    ) async throws -> TaskPage {
        var arguments: [RedisArgument] = ["limit", .integer(Int64(limit))]
        let filters = [
            ("state", filter.state?.rawValue), ("priority", filter.priority?.rawValue), ("kind", filter.kind),
            ("repo", filter.repo),
            ("worker", filter.worker), ("batch", filter.batch), ("cursor", cursor),
            ("longest", longest.map { "\($0)" }),
        ]
        for case (let name, let value?) in filters { arguments += [.string(name), .string(value)] }
        let page = try await call("list", arguments, traffic: .bulk).array ?? []
        guard page.count == 3, let next = page[0].string, let tasks = page[1].array else {
            throw SchedulerError.internal(
                message: "switchyard_list returned something other than a page", redisAway: false)
        }
        let fields = try tasks.map { try ReplyFields($0) }
        return TaskPage(
            tasks: try fields.map { try QueuedTask($0) }, lanes: fields.map { $0.string("lane") ?? "" },
            cursor: next.isEmpty ? nil : next,
            scannedUntil: page[2].string.flatMap(Double.init).flatMap { Date(milliseconds: $0) })
    }
}
