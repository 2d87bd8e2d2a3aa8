import NIOCore
import NIOHTTP1

/// Tells a client that waits for permission to send its body (`Expect: 100-continue`, RFC 9110, 10.1.1) to go on. curl
/// does so with a body of more than 1 MB, and waits for a second if nothing comes.
///
/// The types behind the codec have no interim responses, so this handler stands before it. A client that has sent a
/// request before it had the response to the former one gets no interim response: it would come between the parts of
/// the former response. Such a client goes on by itself, as RFC 9110 wants.
final class ContinueHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    /// Requests whose response has not ended.
    private var pending = 0

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(let head) = unwrapInboundIn(data) {
            let isFree = pending == 0
            pending += 1
            if isFree, head.version == .http1_1, Self.waits(head) {
                let response = HTTPResponseHead(version: .http1_1, status: .continue)
                context.writeAndFlush(wrapOutboundOut(.head(response)), promise: nil)
            }
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if case .end = unwrapOutboundIn(data) { pending -= 1 }
        context.write(data, promise: promise)
    }

    private static func waits(_ head: HTTPRequestHead) -> Bool {
        head.headers[canonicalForm: "expect"].contains { $0.lowercased() == "100-continue" }
    }
}
