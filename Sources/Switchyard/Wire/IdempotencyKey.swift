/// The ids that a server derives from the `Idempotency-Key` of a request. A client without a response derives the same.
package enum IdempotencyKey {
    /// Returns the id of a task without an id of its own.
    /// - Parameter index: the task's index in its batch; nil for the task of `on_complete`.
    package static func taskID(_ key: String, queue: String, index: Int?) -> String {
        guard let index else { return "\(base(key, queue))-then" }
        return index == 0 ? base(key, queue) : "\(base(key, queue))-\(index)"
    }

    /// Returns the id of a batch without an id of its own.
    package static func batchID(_ key: String, queue: String) -> String { base(key, queue) }

    private static func base(_ key: String, _ queue: String) -> String {
        "idem-\(ContentDigest("\(queue)\n\(key)").hex)"
    }
}
