import Foundation
import Testing

@testable import SwitchyardHTTP

/// The page about HTTP has every route, and no other.
@Suite struct HTTPPageTests {
    @Test func hasEveryRoute() async throws {
        let page = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "Sources/Switchyard/Switchyard.docc/HTTP.md")
        let text = try String(contentsOf: page, encoding: .utf8)
        let documented = text.matches(of: #/`(GET|POST|PUT|PATCH|DELETE) (/[^ `]*)`/#).map { "\($0.1) \($0.2)" }
        let routes = try await World.shared.routes
        #expect(Set(documented) == Set(routes))
        #expect(documented.count == routes.count, "one of them is there twice")
    }
}
