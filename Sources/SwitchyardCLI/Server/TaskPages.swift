import Foundation
import JSON

/// Reads a list of tasks page by page. A page may be short or empty although another page follows.
enum TaskPages {
    /// The largest page that the server returns, in tasks.
    private static let largestPage = 500

    static func fetch(
        _ api: APIClient, queue: String, limit: Int, filter: [(String, String?)]
    ) async throws -> (tasks: [JSONValue], hasMore: Bool) {
        struct Page: Decodable {
            var tasks: [JSONValue]
            var cursor: String?
            var nextCursor: String?
        }
        var tasks: [JSONValue] = []
        var cursor: String?
        repeat {
            let data = try await api.send(
                .GET, ["scheduler", "tasks"],
                query: [
                    ("queue", queue), ("limit", "\(min(limit - tasks.count, largestPage))"), ("cursor", cursor),
                ] + filter)
            let page = try APIClient.decode(Page.self, data)
            tasks += page.tasks
            cursor = page.nextCursor ?? page.cursor
            if cursor?.isEmpty == true { cursor = nil }
        } while cursor != nil && tasks.count < limit
        return (tasks, cursor != nil)
    }
}
