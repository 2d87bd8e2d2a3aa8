import CHiredis
import NIOCore

/// Parses received bytes into values.
///
/// It owns one `redisReader`. hiredis finds where each element begins and ends, and calls a ``ReplyBuilder`` for each
/// in order, so that no C reply tree is built. A string that lies completely in the bytes just fed becomes a slice of
/// them, without an allocation of its own; a string that was split between two reads is copied. Bytes that are not
/// RESP2, and arrays nested deeper than hiredis allows (7 in 0.14), throw a `protocolViolation`; the reader must not be
/// used after that. Bound to one event loop.
final class HiredisReader {
    /// hiredis moves the rest of its buffer after each kilobyte that it consumes; small feeds keep those moves small.
    private static let feedSize = 16 * 1024
    /// hiredis frees an empty buffer larger than this; its default (16 KiB) would free it after every feed.
    private static let keptBufferSize = 64 * 1024

    private let reader: UnsafeMutablePointer<redisReader>
    private let builder: ReplyBuilder
    private let endpoint: String

    init(endpoint: String) {
        self.endpoint = endpoint
        builder = ReplyBuilder(endpoint: endpoint)
        guard let reader = redisReaderCreateWithFunctions(ReplyBuilder.callbacks) else {
            // This fails only if malloc does; the Swift runtime traps then too.
            fatalError("hiredis could not create a reader: out of memory")
        }
        self.reader = reader
        reader.pointee.maxbuf = Self.keptBufferSize
        // Unretained: the builder lives as long as self, and self frees the reader.
        reader.pointee.privdata = Unmanaged.passUnretained(builder).toOpaque()
    }

    deinit {
        redisReaderFree(reader)
    }

    /// Calls `deliver` with each value that these bytes complete.
    func feed(_ buffer: ByteBuffer, deliver: (RESPValue) -> Void) throws(RedisError) {
        // Values keep the memory of their read alive: a read that fills less than half of its memory is copied.
        var rest = buffer.storageCapacity > 2 * buffer.readableBytes ? ByteBuffer(copying: buffer) : buffer
        defer { builder.source = nil }
        while let part = rest.readSlice(length: min(rest.readableBytes, Self.feedSize)), part.readableBytes > 0 {
            let fed = part.withUnsafeReadableBytes { bytes in
                redisReaderFeed(reader, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
            }
            guard fed == REDIS_OK else { throw violation() }
            builder.source = ReplyBuilder.Source(bytes: part, reader: reader)
            while true {
                var isComplete: UnsafeMutableRawPointer?
                guard redisReaderGetReply(reader, &isComplete) == REDIS_OK else { throw violation() }
                guard isComplete != nil else { break }
                guard let value = builder.takeReply() else { throw violation() }
                deliver(value)
            }
        }
    }

    private func violation() -> RedisError {
        let reason = withUnsafeBytes(of: reader.pointee.errstr) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        return RedisError(
            kind: .protocolViolation,
            message: "\(endpoint) sent something that is not RESP2: \(reason.isEmpty ? "unknown type" : reason)",
            endpoint: endpoint)
    }
}

extension ByteBuffer {
    /// Copies the readable bytes into memory of exactly their size.
    fileprivate init(copying other: ByteBuffer) {
        self = other.withUnsafeReadableBytes { ByteBuffer(bytes: $0) }
    }
}
