import Foundation
import HTTPTypes
import Hummingbird
import Switchyard

/// What an `Idempotency-Key` header makes of a submission: ids derived from the key, so that the same key meets the
/// same tasks, and a token derived from the body, so that another body under the same key is refused (`TaskExists`)
/// and the same one answered again.
///
/// A task with an id of its own keeps it: there the id is what a second submission meets.
struct Idempotency {
    let token: String
    private let keyDigest: String

    /// - Returns: nil without the header.
    init?(_ request: Request, queue: String, body: JSONValue) throws {
        let field = "Idempotency-Key"
        guard let key = request.headers[.idempotencyKey] else { return nil }
        guard (1...255).contains(key.utf8.count), key.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) else {
            throw Problem.badRequest(field, "expected 1 to 255 printable ASCII characters, found \(Name.shown(key))")
        }
        keyDigest = ContentDigest("\(queue)\n\(key)").hex
        token = ContentDigest("\(key)\n\(body.canonical.text)").hex
    }

    func taskID(_ index: Int?) -> String {
        guard let index else { return "idem-\(keyDigest)-then" }
        return index == 0 ? "idem-\(keyDigest)" : "idem-\(keyDigest)-\(index)"
    }
    var batchID: String { "idem-\(keyDigest)" }
}

/// The W3C trace context of a request, if it has a valid one. An invalid one is dropped, as that standard asks.
func traceparent(of request: Request) -> String? {
    guard let text = request.headers[.traceparent] else { return nil }
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    let isHex = parts.joined().utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    return parts.map(\.utf8.count) == [2, 32, 16, 2] && isHex ? text : nil
}
