import CHiredis
import NIOCore

/// Turns received bytes into values.
///
/// It owns one `redisReader`. hiredis finds where each element begins and ends; it calls a ``ReplyBuilder`` for each, in
/// order, so no C reply tree is built. A string that lies whole in the bytes just fed becomes a slice of them, without
/// an allocation of its own; one that was cut by the end of a read is copied. Bytes that are not RESP2, and arrays nested
/// deeper than hiredis allows (7 in 0.14), throw a `protocolViolation`; the reader must not be used after that. Bound to
/// one event loop.
final class HiredisReader {
    /// hiredis moves what is left in its buffer after each kilobyte consumed; small feeds keep those moves small.
    private static let feedSize = 16 * 1024
    /// An emptied buffer larger than this is given back; hiredis's default (16 KiB) would do so after every feed.
    private static let keptBufferSize = 64 * 1024

    private let reader: UnsafeMutablePointer<redisReader>
    private let builder: ReplyBuilder
    private let endpoint: String

    init(endpoint: String) {
        self.endpoint = endpoint
        builder = ReplyBuilder(endpoint: endpoint)
        guard let reader = redisReaderCreateWithFunctions(ReplyBuilder.callbacks) else {
            // Fails only when malloc does; the Swift runtime traps then too.
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
        // Values keep the memory of the read that they came in: a read that filled little of it is moved to less.
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
    /// Its readable bytes in memory of just their size.
    fileprivate init(copying other: ByteBuffer) {
        self = other.withUnsafeReadableBytes { ByteBuffer(bytes: $0) }
    }
}
