import NIOCore

/// What a task is to do, as its submitter said it. Opaque to the scheduler, apart from the automatic priority.
///
/// In the task's hash each part is a field of its own: text as it is, lists and maps as JSON, `payload` as the bytes given.
public struct BuildRequest: Sendable, Equatable {
    public var repo: String?
    public var target: String?
    public var args: [String] = []
    /// The merge request or change list.
    public var mr: String?
    public var labels: [String] = []
    /// An argument vector for the command worker; never passed through a shell.
    public var command: [String] = []
    public var environment: [String: String] = [:]
    /// The working directory of the command.
    public var cwd: String?
    /// Any bytes; read back identical. Over HTTP it is JSON text.
    public var payload: ByteBuffer?
    /// W3C trace context, handed to the worker.
    public var traceparent: String?

    public init() {}
}
