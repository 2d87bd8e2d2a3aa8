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

        mutating func add(_ value: RESPValue) {
            elements.append(value)
            missing -= 1
        }
    }

    /// A server may announce an array of any length; room is made for so many at most before they arrive.
    private static let largestReservation = 1024

    /// The bytes that are being read, which are also the last in the reader's buffer.
    struct Source {
        let bytes: ByteBuffer
        let reader: UnsafeMutablePointer<redisReader>

        /// The part of `bytes` that hiredis points at in its copy of them; nil if any of it was fed before them.
        func slice(_ found: UnsafeRawBufferPointer) -> ByteBuffer? {
            let buffer = UnsafeRawPointer(reader.pointee.buf)
            guard let buffer, let start = found.baseAddress else { return nil }
            // hiredis drops from its buffer's front what it has read: only the distance to its end is certain.
            let offset = bytes.readableBytes - (Int(reader.pointee.len) - (start - buffer))
            guard offset >= 0 else { return nil }
            return bytes.getSlice(at: bytes.readerIndex + offset, length: found.count)
        }
    }

    var source: Source?
    private let endpoint: String
    /// The innermost array that is not complete, and those around it.
    private var innermost: OpenArray?
    private var around: [OpenArray] = []
    private var reply: RESPValue?

    init(endpoint: String) {
        self.endpoint = endpoint
    }

    /// The finished reply; nil if hiredis reported an element that RESP2 does not have.
    func takeReply() -> RESPValue? {
        defer { reply = nil }
        return reply
    }

    private func add(_ value: consuming RESPValue) {
        if innermost?.add(value) == nil { return reply = value }
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
        // Called for every element: the builder is known to live, and is not retained each time.
        Unmanaged<ReplyBuilder>.fromOpaque(carried)._withUnsafeGuaranteedRef { body($0, task.pointee.type) }
        return UnsafeMutableRawPointer(bitPattern: 1)
    }
}
