import Foundation
import HTTPTypes
import Hummingbird
import JSON
import Switchyard

/// The effect of an `Idempotency-Key` header on a submission. The task ids are derived from the key, so that a repeated
/// submission finds the same tasks. The token is derived from key and body: a repetition with the same body gets the
/// same response, one with another body is refused (`TaskExists`).
///
/// A task that names its own id keeps it; a repeated submission then finds it by that id.
struct Idempotency {
    let token: String
    private let key: String
    private let queue: String

    init(key: String, queue: String, token: String) {
        self.key = key
        self.queue = queue
        self.token = token
    }

    /// Returns nil if the request has no such header.
    init?(_ request: Request, queue: String, body: JSONValue) throws {
        guard let key = try Self.key(of: request) else { return nil }
        self.init(key: key, queue: queue, token: ContentDigest("\(key)\n\(body.canonical.text)").hex)
    }

    /// The header of a request; nil if it has none.
    static func key(of request: Request) throws -> String? {
        guard let key = request.headers[.idempotencyKey] else { return nil }
        guard (1...255).contains(key.utf8.count), key.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) else {
            throw Problem.badRequest(
                "Idempotency-Key", "expected 1 to 255 printable ASCII characters, found \(Name.shown(key))")
        }
        return key
    }

    func taskID(_ index: Int?) -> String { IdempotencyKey.taskID(key, queue: queue, index: index) }
    var batchID: String { IdempotencyKey.batchID(key, queue: queue) }
}

/// Returns the W3C trace context of a request; nil if it has none or, as that standard requires, an invalid one.
func traceparent(of request: Request) -> String? {
    guard let text = request.headers[.traceparent] else { return nil }
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    let isHex = parts.joined().utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    return parts.map(\.utf8.count) == [2, 32, 16, 2] && isHex ? text : nil
}
