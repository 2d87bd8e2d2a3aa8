import AsyncHTTPClient
import NIOCore
import Testing

@testable import SwitchyardHTTP

@Suite struct BodyTimerTests {
    private static let body = ByteBuffer(string: "body")

    private static func never() async throws -> ByteBuffer {
        try await Task.sleep(for: .seconds(600))
        return body
    }

    @Test func whatArrivesInTimeIsReturned() async throws {
        let timer = BodyTimer(timeout: .seconds(60))
        #expect(try await timer.collect { Self.body } == Self.body)
        let later = try await timer.collect {
            try await Task.sleep(for: .milliseconds(5))
            return Self.body
        }
        #expect(later == Self.body)
    }

    @Test func eachThatIsLateIsToldSo() async throws {
        let timer = BodyTimer(timeout: .milliseconds(50))
        for _ in 0..<2 {
            let one = Task { try await timer.collect(Self.never) }
            try await Task.sleep(for: .milliseconds(20))
            let other = Task { try await timer.collect(Self.never) }
            await #expect(throws: BodyTimer.Late.self) { try await one.value }
            await #expect(throws: BodyTimer.Late.self) { try await other.value }
        }
    }

    @Test func anotherErrorIsPassedOn() async throws {
        let timer = BodyTimer(timeout: .seconds(60))
        await #expect(throws: NIOTooManyBytesError.self) {
            try await timer.collect { throw NIOTooManyBytesError(maxBytes: 1) }
        }
        let cancelled = Task { try await timer.collect(Self.never) }
        cancelled.cancel()
        await #expect(throws: CancellationError.self) { try await cancelled.value }
    }

    @Test func aRequestWithoutItsBodyIsAnswered408() async throws {
        var options = HTTPServerOptions()
        options.bodyTimeout = .milliseconds(200)
        let world = try await World.start(redis: try await World.shared.redis, options: options)
        let (bytes, more) = AsyncStream.makeStream(of: ByteBuffer.self)
        more.yield(ByteBuffer(string: "{"))
        var request = HTTPClientRequest(url: world.url("/scheduler/task"))
        request.method = .POST
        request.body = .stream(bytes, length: .known(Int64(100)))
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(20))
        #expect(response.status == .requestTimeout)
        more.finish()
        await world.stop()
    }
}
