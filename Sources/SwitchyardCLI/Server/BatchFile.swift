import Foundation
import JSON
import NIOCore

/// The tasks of `submit --file`, one JSON object per line. The server receives each object's text unchanged.
struct BatchFile: Sendable {
    let lines: [String]

    private let data: Data

    /// - Throws: ``Failure`` for an empty file, and for one that is not UTF-8.
    init(_ data: Data) throws(Failure) {
        self.data = data
        guard let text = String(validating: data, as: UTF8.self) else {
            throw Failure(.usage, "the file: expected UTF-8, found other bytes")
        }
        lines = text.utf8.split(separator: UInt8(ascii: "\n")).map { line in
            String(Substring(line)).trimmingCharacters(in: .whitespacesAndNewlines)
        }.filter { !$0.isEmpty }
        if lines.isEmpty { throw Failure(.usage, "the file has no tasks: expected a JSON object on each line") }
    }

    /// The queue that the first task names; nil if it names none. The server refuses a batch for several queues.
    var queue: String? {
        // What is not JSON is left to the server to refuse.
        lines.first.flatMap { try? JSONReader.read(Array($0.utf8)) }?["queue"]?.string
    }

    /// Returns the body of the request.
    ///
    /// Without a batch id, a follow-up task and a number of replicas it is the file itself, as NDJSON. NDJSON cannot
    /// carry them, so with one of them it is a JSON object that has the lines as an array.
    /// - Throws: ``Failure`` that names the first line that is not JSON; NDJSON is left to the server to check.
    func body(
        batchID: String?, onComplete: String? = nil, onCompleteAgain: Bool = false, replicasToWait: Int? = nil
    ) throws(Failure) -> APIClient.Body {
        guard batchID != nil || onComplete != nil || replicasToWait != nil else {
            return APIClient.Body(bytes: ByteBuffer(bytes: data), type: "application/x-ndjson")
        }
        // Each line is checked by itself: two invalid lines can form valid array elements when joined.
        for (index, line) in lines.enumerated() where !JSONReader.isValid(line) {
            throw Failure(.usage, "task \(index + 1) of the file: expected a JSON object on one line")
        }
        var body: JSONValue = [:]
        body.add("batch_id", batchID.map { .string($0) })
        body.add("on_complete", onComplete.map { .raw($0) })
        if onCompleteAgain { body.add("on_complete_again", true) }
        body.add("replicas_to_wait", replicasToWait.map { JSONValue($0) })
        body.add("tasks", .array(lines.map { .raw($0) }))
        return .json(body.text)
    }
}
