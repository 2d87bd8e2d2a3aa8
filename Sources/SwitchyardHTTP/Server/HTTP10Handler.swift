import NIOCore
import NIOHTTP1

/// Serves clients of HTTP/1.0, which know neither chunked bodies nor connections that stay open. The types behind the
/// codec have no version, so this handler stands before it.
///
/// The response's head gets the version of the request: the encoder then sends a body of unknown length without chunks,
/// and the connection is closed after it.
final class HTTP10Handler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    /// Whether the request is of HTTP/1.0. No request follows it, for its connection is closed.
    private var isOld = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(var head) = unwrapInboundIn(data), head.version.major == 1, head.version.minor == 0 {
            isOld = true
            // The server closes the connection after the response, whatever the client said.
            head.headers.replaceOrAdd(name: "connection", value: "close")
            return context.fireChannelRead(wrapInboundOut(.head(head)))
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if isOld, case .head(var head) = unwrapOutboundIn(data) {
            head.version = .http1_0
            head.headers.replaceOrAdd(name: "connection", value: "close")
            return context.write(wrapOutboundOut(.head(head)), promise: promise)
        }
        context.write(data, promise: promise)
    }
}
