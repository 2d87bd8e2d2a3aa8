import JSON
import RedisClient

extension QueuedTask {
    /// Returns the template of the task: a JSON list of names and values that begins with `task`, from which the
    /// functions submit it later.
    /// - Parameter field: the name of the field in the error.
    /// - Throws: ``SchedulerError/invalidInput(field:message:)`` for a payload that is not UTF-8.
    func template(field: String) throws(SchedulerError) -> String {
        var texts: [String] = []
        for argument in submission {
            switch argument {
            case .string(let text): texts.append(text)
            case .integer(let number): texts.append(String(number))
            case .buffer(let bytes):
                guard let text = String(validating: bytes.readableBytesView, as: UTF8.self) else {
                    throw .invalidInput(
                        field: field, message: "\(field): expected a payload in UTF-8, found bytes that are not")
                }
                texts.append(text)
            }
        }
        return JSONValue(texts).text
    }
}
