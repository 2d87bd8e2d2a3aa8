import Instrumentation
import ServiceContextModule
import Switchyard
import Tracing

/// The trace context of a task: the header `traceparent` of W3C Trace Context, carried with it.
enum TraceParent {
    /// Of the Swift task that calls; nil without a tracer.
    static var current: String? {
        guard let context = ServiceContext.current else { return nil }
        var carrier: [String: String] = [:]
        InstrumentationSystem.instrument.inject(context, into: &carrier, using: Headers())
        return carrier["traceparent"]
    }

    /// The context in which an attempt of the task runs.
    static func context(of task: QueuedTask) -> ServiceContext {
        var context = ServiceContext.topLevel
        if let parent = task.request.traceparent {
            InstrumentationSystem.instrument.extract(["traceparent": parent], into: &context, using: Headers())
        }
        return context
    }

    private struct Headers: Injector, Extractor {
        func inject(_ value: String, forKey key: String, into carrier: inout [String: String]) {
            carrier[key.lowercased()] = value
        }
        func extract(key: String, from carrier: [String: String]) -> String? { carrier[key.lowercased()] }
    }
}
