import HTTPTypes
import Hummingbird
import Switchyard

/// Refuses requests whose `Host` is a name that is not known to be ours.
///
/// A page of another site may give its own name the address 127.0.0.1 after it was loaded (DNS rebinding). The browser
/// then takes this server for that site, and no check of `Origin` helps. An address in `Host` cannot be such a name.
struct HostMiddleware: RouterMiddleware {
    typealias Context = ClientContext

    /// Names in lower case; "*" allows any.
    private let allowed: Set<String>

    init(listeningHost: String, allowed: [String]) {
        self.allowed = Set((allowed + [listeningHost, "localhost"]).map { $0.lowercased() })
    }

    func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        // HTTP/1.0 has none. Browsers always send one.
        if let host = request.head.authority ?? request.headers[.host], !isAllowed(host) {
            let name = Name.shown(host)
            throw Problem(
                .forbidden, code: "Forbidden",
                "Host: \(name) is not served here; allow it with --allowed-host (SWITCHYARD_ALLOWED_HOST)",
                field: "Host")
        }
        return try await next(request, context)
    }

    /// - Parameter host: with or without a port.
    func isAllowed(_ host: String) -> Bool {
        if allowed.contains("*") { return true }
        // [::1]:8080
        if host.hasPrefix("[") { return Self.isPort(host.split(separator: "]", maxSplits: 1).dropFirst().first ?? "") }
        let parts = host.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 1 || Self.isPort(":" + parts[1]) else { return false }
        var name = parts[0].lowercased()
        if name.hasSuffix(".") { name.removeLast() }
        return allowed.contains(name) || Self.isIPv4(name)
    }

    private static func isPort(_ text: some StringProtocol) -> Bool {
        text.isEmpty || text.hasPrefix(":") && text.dropFirst().allSatisfy { $0.isASCII && $0.isNumber }
    }

    private static func isIPv4(_ name: String) -> Bool {
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts.allSatisfy { UInt8($0) != nil }
    }
}
