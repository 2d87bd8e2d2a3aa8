import HTTPTypes
import HummingbirdCore
import NIOCore
import NIOHTTPTypes
import NIOHTTPTypesHTTP1

/// Looks after one connection: counts it, refuses it when there are too many, tells the request when its client has
/// left, and closes it when a request's body is not wanted.
///
/// It is the handler next to the HTTP codec, so that it sees all of a request, even what nobody reads.
final class ConnectionHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// The event that makes a visitor leave, because another one came: soon and with 503 at first, and at once if it
    /// comes again.
    struct MakeRoom: Sendable {}

    private enum Phase {
        /// Before the first request. Can transition to: all others.
        case new
        case serving
        /// The last response has been sent; what still comes is not read on. Can transition to: nothing.
        case draining
    }

    private let connections: Connections
    private let firstHeadTimeout: TimeAmount
    private var client: Client?
    private var phase = Phase.new
    /// Requests of which the response is not complete.
    private var requestsInProgress = 0
    /// The end of the latest request has not come.
    private var isReading = false
    /// Bytes that make no request came.
    private var hasFailed = false
    private var mustClose = false
    private var isLeaving = false
    private var drainedBytes = 0
    private var timer: Scheduled<Void>?

    /// A client that still sends is told to stop by a closed connection, which may also take the response from it. So
    /// it has this long, and this much, to notice the response first.
    private static let drainTime: TimeAmount = .seconds(2)
    private static let drainBytes = 16 << 20
    /// The place of a visitor is needed for the next.
    private static let visitorDrainTime: TimeAmount = .milliseconds(100)
    /// Time for a visitor's request.
    private static let visitTime: TimeAmount = .seconds(2)
    /// Time for a request that has arrived and was not read yet.
    private static let lateTime: TimeAmount = .milliseconds(20)
    private static let probes: Set<String> = ["/livez", "/readyz"]

    init(connections: Connections, firstHeadTimeout: TimeAmount) {
        self.connections = connections
        self.firstHeadTimeout = firstHeadTimeout
    }

    // MARK: Coming and going

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        do {
            let pipeline = context.pipeline.syncOperations
            let codec = try pipeline.handler(type: HTTP1ToHTTPServerCodec.self)
            try pipeline.addHandlers([HTTP10Handler(), ContinueHandler()], position: .before(codec))
        } catch {
            // The connection is closed already. Otherwise a client of HTTP/1.0 could not be served.
            context.close(promise: nil)
        }
        // Nil if the channel has no descriptor or is closed already.
        let descriptor = try? channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(of: CInt.self) { Int($0) }
        let client = connections.enter(channel, descriptor: descriptor)
        self.client = client
        channel.closeFuture.whenComplete { [connections] _ in connections.leave(client) }
        close(context, in: client.isVisitor ? Self.visitTime : firstHeadTimeout)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        timer?.cancel()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case is MakeRoom:
            // A probe in progress ends soon.
            guard phase != .serving else { return }
            guard phase == .new, !isLeaving else { return context.close(promise: nil) }
            isLeaving = true
            timer?.cancel()
            timer = context.eventLoop.assumeIsolated().scheduleTask(in: Self.lateTime) {
                self.refuse(context)
                // The client has sent nothing, so that this takes no response from it.
                context.close(promise: nil)
            }
            return
        case ChannelEvent.inputClosed:
            client?.hasLeft()
            if phase == .draining { return context.close(promise: nil) }
        default: break
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        client?.hasLeft()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // The server responds with 400, if it can.
        hasFailed = true
        close(context, in: Self.drainTime)
        context.fireErrorCaught(error)
    }

    private func close(_ context: ChannelHandlerContext, in time: TimeAmount) {
        timer?.cancel()
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: time) { context.close(promise: nil) }
    }

    // MARK: Requests

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = unwrapInboundIn(data)
        if phase == .draining { return drain(part, context) }
        switch part {
        case .head(let head):
            timer?.cancel()
            if client?.isVisitor == true {
                guard Self.probes.contains(head.path.map { String($0.prefix { $0 != "?" }) } ?? "") else {
                    return refuse(context)
                }
                mustClose = true
            }
            if head.headerFields[.connection]?.lowercased() == "close" { mustClose = true }
            phase = .serving
            requestsInProgress += 1
            isReading = true
        case .body: break
        case .end: isReading = false
        }
        context.fireChannelRead(data)
    }

    private func drain(_ part: HTTPRequestPart, _ context: ChannelHandlerContext) {
        if case .body(let bytes) = part { drainedBytes += bytes.readableBytes }
        if drainedBytes > Self.drainBytes { context.close(promise: nil) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        // Nobody behind this handler asks for more.
        if phase == .draining { context.read() }
        context.fireChannelReadComplete()
    }

    // MARK: Responses

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .head(var head):
            guard isReading || mustClose else { break }
            mustClose = true
            head.headerFields[.connection] = "close"
            return context.write(wrapOutboundOut(.head(head)), promise: promise)
        case .body: break
        case .end:
            requestsInProgress = max(0, requestsInProgress - 1)
            guard mustClose || hasFailed else { break }
            context.writeAndFlush(data, promise: promise)
            return beginDraining(context)
        }
        context.write(data, promise: promise)
    }

    /// Closes our half of the connection, and the other one when the client has, or soon.
    private func beginDraining(_ context: ChannelHandlerContext) {
        phase = .draining
        context.close(mode: .output, promise: nil)
        close(context, in: client?.isVisitor == true ? Self.visitorDrainTime : Self.drainTime)
        context.read()
    }

    /// Sends the response to whom there is no room for.
    private func refuse(_ context: ChannelHandlerContext) {
        let problem = Problem.tooManyConnections(limit: connections.limits.most)
        let body = problem.body.buffer
        var head = HTTPResponse(status: problem.status, headerFields: problem.response.headers)
        head.headerFields[.contentLength] = "\(body.readableBytes)"
        head.headerFields[.connection] = "close"
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(body)), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        beginDraining(context)
    }
}
