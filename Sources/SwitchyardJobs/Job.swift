import Foundation
import NIOCore

/// A kind of work, with its parameters as properties: what is submitted, and what a handler receives.
///
/// ```swift
/// struct Render: Job {
///     static let kind = "render"
///     var scene: String
///     typealias Result = Image
/// }
/// ```
///
/// The properties travel as JSON in the task's payload, the result as JSON in the task's result.
public protocol Job: Codable, Sendable {
    /// What a handler returns for it. `NoResult` where nothing is to be returned.
    associatedtype Result: Codable & Sendable = NoResult

    /// The name by which a worker finds its handler: 1 to 190 characters of `A-Z a-z 0-9 . _ : -`. Tasks that wait in a
    /// queue carry it, so it outlives a renaming of the type.
    static var kind: String { get }
}

/// The result of a job that has none.
public struct NoResult: Codable, Sendable, Equatable {
    public init() {}
}

/// A submitted job's id, which knows the type of its result. Its text is the task's id: `JobID<Render>("r-17")` is the
/// id of a job that another process has submitted.
public struct JobID<J: Job>: Sendable, Hashable, Codable, CustomStringConvertible {
    public let taskID: String

    public init(_ taskID: String) { self.taskID = taskID }

    public init(from decoder: any Decoder) throws {
        taskID = try decoder.singleValueContainer().decode(String.self)
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(taskID)
    }

    public var description: String { taskID }
}

/// How jobs and their results become bytes. Everybody who works with a queue must use the same.
public protocol JobCoder: Sendable {
    /// Returns the bytes of a job or a result.
    func encode(_ value: some Encodable) throws -> ByteBuffer
    /// Returns the value that the bytes are.
    func decode<Value: Decodable>(_ type: Value.Type, from bytes: ByteBuffer) throws -> Value
}

/// JSON with sorted keys, dates as ISO 8601 and data as Base64. The HTTP API shows payloads in JSON as they are.
public struct JSONJobCoder: JobCoder {
    public init() {}

    /// Returns the JSON text of the value.
    public func encode(_ value: some Encodable) throws -> ByteBuffer {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .iso8601
        return ByteBuffer(bytes: try encoder.encode(value))
    }

    /// Reads a value from its JSON text.
    public func decode<Value: Decodable>(_ type: Value.Type, from bytes: ByteBuffer) throws -> Value {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        return try decoder.decode(type, from: Data(bytes.readableBytesView))
    }
}
