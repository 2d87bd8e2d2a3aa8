import RedisClient

extension QueuedTask {
    /// The task as a JSON list of names and values that begins with `task`: how Redis keeps one that it makes later.
    /// - Parameter field: blamed when the task cannot be kept so.
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
        return JSONText.list(texts)
    }
}
