import NIOCore

/// The inbound end of a channel's pipeline: parses bytes and passes the values to the ``RedisConnection``.
///
/// Writes do not pass through it: the connection writes formatted bytes to the channel. Any error (bytes that are not
/// RESP2, a TLS error, a lost connection) closes the connection and is its reason. Bound to the channel's event loop.
final class RedisChannelHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let connection: RedisConnection
    private let reader: HiredisReader

    init(connection: RedisConnection) {
        self.connection = connection
        reader = HiredisReader(endpoint: connection.endpoint)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        connection.receivedBytes()
        do {
            try reader.feed(unwrapInboundIn(data)) { connection.received($0) }
        } catch {
            connection.close(error)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        connection.close(describe(error))
    }

    func channelInactive(context: ChannelHandlerContext) {
        connection.close("the other end closed it")
        context.fireChannelInactive()
    }
}
