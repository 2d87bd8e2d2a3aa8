import NIOCore

/// The work of a task, as submitted. The scheduler reads it only to choose an automatic priority (``PriorityPolicy``).
///
/// The task's hash has one field for each property: text is stored as it is, lists and maps as JSON, and `payload` as
/// the submitted bytes.
public struct BuildRequest: Sendable, Equatable {
    /// The kind of work, for tasks that are not commands: the name by which a worker finds its handler.
    public var kind: String?
    /// The repository's name.
    public var repo: String?
    /// The build target.
    public var target: String?
    /// The arguments of the build.
    public var args: [String] = []
    /// The merge request or change list.
    public var mr: String?
    /// Labels of the build. They are not requirements on a worker: see ``SchedulingOptions/requires``.
    public var labels: [String] = []
    /// The argument vector that the command worker runs. It is never passed through a shell.
    public var command: [String] = []
    /// Environment variables of the command.
    public var environment: [String: String] = [:]
    /// The working directory of the command.
    public var cwd: String?
    /// Opaque bytes, returned unchanged. Over HTTP it is JSON text.
    public var payload: ByteBuffer?
    /// W3C trace context, passed to the worker.
    public var traceparent: String?

    /// An empty request.
    public init() {}
}
