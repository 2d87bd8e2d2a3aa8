import CHiredis
import NIOCore

/// Assembles one reply from the elements that hiredis reports in order, depth first.
///
/// hiredis expects a non-NULL pointer from each callback, which it does not dereference: a constant marker serves.
/// Bound to the event loop of its ``HiredisReader``.
final class ReplyBuilder {
    private struct OpenArray {
        var missing: Int
        var elements: [RESPValue]

        mutating func add(_ value: RESPValue) {
            elements.append(value)
            missing -= 1
        }
    }

    /// Limit on the elements for which memory is reserved before they arrive: a server may announce any length.
    private static let largestReservation = 1024

    /// The bytes that are being parsed. They are also the last bytes of the reader's buffer.
    struct Source {
        let bytes: ByteBuffer
        let reader: UnsafeMutablePointer<redisReader>

        /// Returns the part of `bytes` that hiredis found in its copy of them; nil if some of it was fed earlier.
        func slice(_ found: UnsafeRawBufferPointer) -> ByteBuffer? {
            let buffer = UnsafeRawPointer(reader.pointee.buf)
            guard let buffer, let start = found.baseAddress else { return nil }
            // hiredis removes consumed bytes from the front of its buffer, so the offset is computed from the buffer's
            // end.
            let offset = bytes.readableBytes - (Int(reader.pointee.len) - (start - buffer))
            guard offset >= 0 else { return nil }
            return bytes.getSlice(at: bytes.readerIndex + offset, length: found.count)
        }
    }

    var source: Source?
    private let endpoint: String
    /// The innermost incomplete array, and those around it, outermost first.
    private var innermost: OpenArray?
    private var around: [OpenArray] = []
    private var reply: RESPValue?

    init(endpoint: String) {
        self.endpoint = endpoint
    }

    /// Returns the finished reply; nil if hiredis reported an element that RESP2 does not have.
    func takeReply() -> RESPValue? {
        defer { reply = nil }
        return reply
    }

    private func add(_ value: consuming RESPValue) {
        if innermost?.add(value) == nil {
            reply = value
            return
        }
        while innermost?.missing == 0, let array = innermost {
            innermost = around.popLast()
            let value = RESPValue.array(array.elements)
            if innermost?.add(value) == nil { reply = value }
        }
    }

    private func addString(type: CInt, _ bytes: UnsafeRawBufferPointer) {
        switch type {
        case REDIS_REPLY_ERROR:
            add(.error(.server(String(decoding: bytes, as: UTF8.self), endpoint: endpoint)))
        case REDIS_REPLY_STATUS:
            add(.simpleString(String(decoding: bytes, as: UTF8.self)))
        default:
            add(.bulkString(source?.slice(bytes) ?? ByteBuffer(bytes: bytes)))
        }
    }

    private func openArray(count: Int) {
        guard count > 0 else { return add(.array([])) }
        var elements: [RESPValue] = []
        elements.reserveCapacity(min(count, Self.largestReservation))
        if let array = innermost { around.append(array) }
        innermost = OpenArray(missing: count, elements: elements)
    }
}

// MARK: - The callbacks of hiredis

extension ReplyBuilder {
    // Safe, though the compiler cannot see it: filled here, then only read, and never freed.
    nonisolated(unsafe) static let callbacks: UnsafeMutablePointer<redisReplyObjectFunctions> = {
        // Zero-initialized: newer versions of hiredis have more callbacks (RESP3), which stay unset.
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

    /// Calls `body` with the reader's builder and returns the marker; NULL, an error for hiredis, if there is none.
    private static func element(
        of task: UnsafePointer<redisReadTask>?, _ body: (ReplyBuilder, CInt) -> Void
    ) -> UnsafeMutableRawPointer? {
        guard let task, let carried = task.pointee.privdata else { return nil }
        // Called for every element: the builder is alive, so retaining it each time is avoided.
        Unmanaged<ReplyBuilder>.fromOpaque(carried)._withUnsafeGuaranteedRef { body($0, task.pointee.type) }
        return UnsafeMutableRawPointer(bitPattern: 1)
    }
}
