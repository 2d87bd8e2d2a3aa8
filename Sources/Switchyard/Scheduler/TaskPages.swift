import Foundation
import RedisClient

// The list of tasks, a page at a time. Of several partitions the pages are merged: each is asked for a whole page, the first
// tasks of all together make the page, and each is asked once more for just those of its own, which gives the cursor behind
// them.

extension SchedulerHandle {
    /// A page: running and assigned tasks first, then those in line, those held, and the ended, latest first.
    /// - Parameters:
    ///   - limit: 1 to 500.
    ///   - cursor: of the page before; nil for the first.
    /// - Returns: the tasks, and the cursor of the next page unless this was the last. A page may be short, or empty, for a call
    ///   looks at a bounded number of tasks: `scannedUntil` is when the last one that it looked at was submitted or ended (nil
    ///   at the end, and of several partitions).
    public func listTasks(
        _ filter: Filter = Filter(), limit: Int = 50, cursor: String? = nil
    ) async throws -> (tasks: [QueuedTask], cursor: String?, scannedUntil: Date?) {
        guard partitions.count > 1 else {
            let page = try await functions[0].list(filter, limit: limit, cursor: cursor)
            return (page.tasks, page.cursor, page.scannedUntil)
        }
        var cursors = try PageCursors(cursor, partitions: partitions.count)
        let pages = try await pages(of: cursors, filter) { _ in limit }
        let taken = MergedPage(pages, limit: limit).taken
        for index in pages.indices where taken[index] == pages[index].tasks.count {
            cursors.advance(index, pages[index])
        }
        // Those of which only a part was taken.
        let cut = pages.indices.filter { 0 < taken[$0] && taken[$0] < pages[$0].tasks.count }
        var shown = pages.indices.map { cut.contains($0) || taken[$0] == 0 ? TaskPage() : pages[$0] }
        if !cut.isEmpty {
            let again = try await self.pages(of: cursors, filter) { cut.contains($0) ? taken[$0] : 0 }
            for index in cut {
                shown[index] = again[index]
                cursors.advance(index, again[index])
            }
        }
        let merged = MergedPage(shown.map { TaskPage(tasks: $0.tasks) }, limit: limit)
        return (merged.tasks, cursors.text, nil)
    }

    /// A page of each partition that has not come to its end and is asked for more than 0 tasks.
    private func pages(
        of cursors: PageCursors, _ filter: Filter, limit: (Int) -> Int
    ) async throws -> [TaskPage] {
        try await withThrowingTaskGroup(of: (Int, TaskPage).self) { group in
            for (index, functions) in functions.enumerated() {
                let limit = limit(index)
                guard limit > 0, case .at(let cursor) = cursors.places[index] else { continue }
                group.addTask { (index, try await functions.list(filter, limit: limit, cursor: cursor)) }
            }
            var pages = Array(repeating: TaskPage(), count: functions.count)
            for try await (index, page) in group { pages[index] = page }
            return pages
        }
    }
}

/// What one partition lists, and its cursor where it has more.
private struct TaskPage: Sendable {
    var tasks: [QueuedTask] = []
    var cursor: String?
    var scannedUntil: Date?
}

/// How far a list has come in each partition; as a text, their cursors joined by "/", which is escaped in them.
private struct PageCursors {
    enum Place {
        /// "": at the beginning.
        case at(String)
        case end
    }
    private static let endMark = "."
    var places: [Place]

    init(_ text: String?, partitions: Int) throws(SchedulerError) {
        let parts = text?.split(separator: "/", omittingEmptySubsequences: false)
        guard (parts?.count ?? partitions) == partitions else {
            throw .invalidInput(
                field: "cursor",
                message: "cursor: expected one that an earlier page gave, found \(Name.shown(text ?? ""))")
        }
        places =
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
        if case .end = places[index] { return }
        places[index] = page.cursor.map { .at($0) } ?? .end
    }

    /// Nil when all are at their end.
    var text: String? {
        let texts = places.map { place in
            switch place {
            case .at(let cursor): Self.escaped(cursor)
            case .end: Self.endMark
            }
        }
        return texts.allSatisfy { $0 == Self.endMark } ? nil : texts.joined(separator: "/")
    }
}

/// The first tasks of several pages together, each page in its own order.
private struct MergedPage {
    var tasks: [QueuedTask] = []
    /// How many of each.
    var taken: [Int]

    init(_ pages: [TaskPage], limit: Int) {
        taken = pages.map { _ in 0 }
        while tasks.count < limit {
            let rests = pages.indices.filter { taken[$0] < pages[$0].tasks.count }
            // Whoever is at the end of a page that has a next one may have the next task.
            let isKnown = pages.indices.allSatisfy { rests.contains($0) || pages[$0].cursor == nil }
            guard isKnown,
                let first = rests.min(by: { left, right in
                    pages[left].tasks[taken[left]].placeInList < pages[right].tasks[taken[right]].placeInList
                })
            else { return }
            tasks.append(pages[first].tasks[taken[first]])
            taken[first] += 1
        }
    }
}

extension QueuedTask {
    /// The order of a list across partitions (`Functions/api/tasks/list.lua` has that within one).
    fileprivate var placeInList: (Int, Int, Double) {
        let level = priority?.level ?? 0
        let submitted = submittedAt?.timeIntervalSince1970 ?? 0
        if state.isTerminal { return (5, 0, -(finishedAt?.timeIntervalSince1970 ?? 0)) }
        if state != .pending { return (0, 0, leaseExpiresAt?.timeIntervalSince1970 ?? 0) }
        return switch heldBy {
        case nil, .paused: (1, level, submitted)
        case .concurrencyLimit: (2, level, submitted)
        case .dependencies: (3, level, submitted)
        case .schedule, .retry, .rateLimit: (4, 0, dueAt?.timeIntervalSince1970 ?? 0)
        }
    }
}

extension QueueFunctions {
    fileprivate func list(_ filter: SchedulerHandle.Filter, limit: Int, cursor: String?) async throws -> TaskPage {
        var arguments: [RedisArgument] = ["limit", .integer(Int64(limit))]
        let filters = [
            ("state", filter.state?.rawValue), ("priority", filter.priority?.rawValue), ("repo", filter.repo),
            ("worker", filter.worker), ("batch", filter.batch), ("cursor", cursor),
        ]
        for case (let name, let value?) in filters { arguments += [.string(name), .string(value)] }
        let page = try await call("list", arguments).array ?? []
        guard page.count == 3, let next = page[0].string, let tasks = page[1].array else {
            throw SchedulerError.internal(
                message: "switchyard_list answered something else than a page", redisAway: false)
        }
        return TaskPage(
            tasks: try tasks.map { try QueuedTask(ReplyFields($0)) }, cursor: next.isEmpty ? nil : next,
            scannedUntil: page[2].string.flatMap(Double.init).map { Date(timeIntervalSince1970: $0 / 1000) })
    }
}
