import Foundation
import JSON
import Switchyard

/// The reasons why a task does not run.
enum ExplanationJSON {
    static func json(_ explanation: Explanation) -> JSONValue {
        [
            "task_id": .string(explanation.id), "state": .string(explanation.state.rawValue),
            "reasons": .array(explanation.reasons.map(reason)),
        ]
    }

    /// Details that stay texts even if they look like numbers.
    private static let texts: Set<String> = ["key", "priority"]

    static func reason(_ reason: Explanation.Reason) -> JSONValue {
        var json: JSONValue = ["code": .string(reason.code), "message": .string(reason.message)]
        for (name, value) in reason.details.sorted(by: { $0.key < $1.key }) {
            switch (name, Int(value)) {
            case ("due_at", let milliseconds?):
                json.add(name, JSONValue(Date(milliseconds: Double(milliseconds), field: name)))
            case (_, let number?) where !texts.contains(name): json.add(name, JSONValue(number))
            default: json.add(name, .string(value))
            }
        }
        return json
    }
}
