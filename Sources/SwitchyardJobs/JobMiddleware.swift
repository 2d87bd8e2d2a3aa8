/// What is done around every attempt of a worker, whatever its kind. What is left out does nothing.
public protocol JobMiddleware: Sendable {
    /// Before the handler. An error thrown here fails the attempt, as one of the handler does.
    func before(_ context: JobContext) async throws
    /// After a handler that has returned.
    func after(_ context: JobContext) async
    /// After an error: of the handler, of ``before(_:)``, or of a payload that cannot be read.
    func failed(_ context: JobContext, _ error: any Error) async
}

extension JobMiddleware {
    /// Does nothing.
    public func before(_ context: JobContext) async throws {}
    /// Does nothing.
    public func after(_ context: JobContext) async {}
    /// Does nothing.
    public func failed(_ context: JobContext, _ error: any Error) async {}
}
