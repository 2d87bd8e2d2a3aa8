import Foundation
import NIOCore

/// The tasks of `submit --file`: a JSON object per line. They reach the server as they are written in the file.
struct BatchFile: Sendable {
    let lines: [String]

    private let data: Data

    /// - Throws: ``Failure`` for an empty file.
    init(_ data: Data) throws(Failure) {
        self.data = data
        lines = data.split(separator: UInt8(ascii: "\n")).map { line in
            String(decoding: line, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        }.filter { !$0.isEmpty }
        if lines.isEmpty { throw Failure(.usage, "the file has no tasks: expected a JSON object on each line") }
    }

    /// NDJSON says nothing about the batch; where it has a name or a follow-up, the lines become the array of an object
    /// that can.
    /// - Throws: ``Failure`` that names a line which is no JSON.
    func body(batchID: String?, onComplete: String? = nil) throws(Failure) -> APIClient.Body {
        guard batchID != nil || onComplete != nil else {
            return APIClient.Body(bytes: ByteBuffer(bytes: data), type: "application/x-ndjson")
        }
        // Checked one by one: two bad lines could be one good array.
        for (index, line) in lines.enumerated() where !JSONText.isValid(line) {
            throw Failure(.usage, "task \(index + 1) of the file: expected a JSON object on one line")
        }
        var body = JSONObjectText()
        body.add("batch_id", batchID)
        body.add("on_complete", json: onComplete)
        body.add("tasks", json: "[" + lines.joined(separator: ",") + "]")
        return .json(body.text)
    }
}
