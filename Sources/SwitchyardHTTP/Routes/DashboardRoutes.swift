import HTTPTypes
import Hummingbird
import NIOCore

// The dashboard: static files that are built into the program.

extension API {
    /// The browser runs, loads and contacts only what this server serves, and runs nothing inline.
    private static let contentSecurityPolicy = """
        default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; \
        form-action 'none'; frame-ancestors 'none'
        """

    func addDashboard(to routes: inout Routes) {
        let files: [(path: String, type: String, bytes: [UInt8])] = [
            ("/", "text/html; charset=utf-8", PackageResources.index_html),
            ("/dashboard.css", "text/css; charset=utf-8", PackageResources.dashboard_css),
            ("/elements.js", "text/javascript; charset=utf-8", PackageResources.elements_js),
            ("/dashboard.js", "text/javascript; charset=utf-8", PackageResources.dashboard_js),
            ("/icon.svg", "image/svg+xml", PackageResources.icon_svg),
        ]
        for file in files {
            let buffer = ByteBuffer(bytes: file.bytes)
            routes.on(.get, file.path) { _, _ in
                Response(
                    status: .ok,
                    headers: [
                        .contentType: file.type, .cacheControl: "no-cache", .xContentTypeOptions: "nosniff",
                        .contentSecurityPolicy: Self.contentSecurityPolicy, .referrerPolicy: "no-referrer",
                    ],
                    body: ResponseBody(byteBuffer: buffer))
            }
        }
    }
}
