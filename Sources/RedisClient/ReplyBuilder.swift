import CHiredis
import NIOCore

/// Assembles one reply from the elements that hiredis reports in order, depth first.
///
/// hiredis only needs something that is not NULL from each callback: a marker, never dereferenced. Bound to the event
/// loop of its ``HiredisReader``.
final class ReplyBuilder {
    private struct OpenArray {
        var missing: Int
        var elements: [RESPValue]
    }

    /// A server may announce an array of any length; room is made for so many at most before they arrive.
    private static let largestReservation = 1024

    private let endpoint: String
    private var openArrays: [OpenArray] = []
    private var reply: RESPValue?

    init(endpoint: String) {
        self.endpoint = endpoint
    }

    /// The finished reply; nil if hiredis reported an element that RESP2 does not have.
    func takeReply() -> RESPValue? {
        defer { reply = nil }
        return reply
    }

    private func add(_ value: RESPValue) {
        var value = value
        while let last = openArrays.indices.last {
            openArrays[last].elements.append(value)
            openArrays[last].missing -= 1
            guard openArrays[last].missing == 0 else { return }
            value = .array(openArrays[last].elements)
            openArrays.removeLast()
        }
        reply = value
    }

    private func addString(type: CInt, _ bytes: UnsafeRawBufferPointer) {
        switch type {
        case REDIS_REPLY_ERROR:
            add(.error(.server(String(decoding: bytes, as: UTF8.self), endpoint: endpoint)))
        case REDIS_REPLY_STATUS:
            add(.simpleString(String(decoding: bytes, as: UTF8.self)))
        default:
            add(.bulkString(ByteBuffer(bytes: bytes)))
        }
    }

    private func openArray(count: Int) {
        guard count > 0 else { return add(.array([])) }
        var elements: [RESPValue] = []
        elements.reserveCapacity(min(count, Self.largestReservation))
        openArrays.append(OpenArray(missing: count, elements: elements))
    }
}

// MARK: - What hiredis calls

extension ReplyBuilder {
    // Unsafe only to the compiler: filled here, then only read, and never freed.
    nonisolated(unsafe) static let callbacks: UnsafeMutablePointer<redisReplyObjectFunctions> = {
        // Zeroed first: newer hiredis has more callbacks (RESP3), which stay unset.
        var functions = redisReplyObjectFunctions()
        functions.createString = { task, start, count in
            ReplyBuilder.element(of: task) { builder, type in
                builder.addString(type: type, UnsafeRawBufferPointer(start: start, count: Int(count)))
            }
        }
        functions.createArray = { task, count in
            ReplyBuilder.element(of: task) { builder, _ in builder.openArray(count: Int(count)) }
        }
        functions.createInteger = { task, number in
            ReplyBuilder.element(of: task) { builder, _ in builder.add(.integer(Int64(number))) }
        }
        functions.createNil = { task in
            ReplyBuilder.element(of: task) { builder, _ in builder.add(.null) }
        }
        functions.freeObject = { _ in }
        let pointer = UnsafeMutablePointer<redisReplyObjectFunctions>.allocate(capacity: 1)
        pointer.initialize(to: functions)
        return pointer
    }()

    /// Finds the builder that the reader carries, and returns the marker; NULL (hiredis then reports an error) if none.
    private static func element(
        of task: UnsafePointer<redisReadTask>?, _ body: (ReplyBuilder, CInt) -> Void
    ) -> UnsafeMutableRawPointer? {
        guard let task, let carried = task.pointee.privdata else { return nil }
        body(Unmanaged<ReplyBuilder>.fromOpaque(carried).takeUnretainedValue(), task.pointee.type)
        return UnsafeMutableRawPointer(bitPattern: 1)
    }
}
