import CHiredis
import NIOCore

/// One argument of a command: bytes. Strings and numbers can be written as literals.
public enum RedisArgument: Sendable, ExpressibleByStringInterpolation, ExpressibleByIntegerLiteral {
    case string(String)
    case buffer(ByteBuffer)
    case integer(Int64)

    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int64) { self = .integer(value) }
    public init(_ value: String) { self = .string(value) }
    public init(_ value: ByteBuffer) { self = .buffer(value) }
    public init(_ value: some BinaryInteger) { self = .integer(Int64(clamping: value)) }
}

/// A command, formatted once by hiredis and ready to be written any number of times.
///
/// Formatting happens in the caller's thread, so an event loop only copies finished bytes. Arguments are length
/// prefixed: no byte in them can be taken for protocol. A command of more than 1 GiB traps.
public struct RedisCommand: Sendable {
    /// The command's name, for messages. Arguments are never shown: they may be secret or large.
    public let name: String
    let formatted: FormattedCommand

    public init(_ name: String) {
        self.init(name: name, arguments: [])
    }

    /// `RedisCommand("FCALL", [name, 2], keys, arguments)`: the lists are joined.
    public init(_ name: String, _ arguments: [RedisArgument]...) {
        self.init(name: name, arguments: arguments.count == 1 ? arguments[0] : Self.joined(arguments))
    }

    private static func joined(_ lists: [[RedisArgument]]) -> [RedisArgument] {
        var joined: [RedisArgument] = []
        joined.reserveCapacity(lists.reduce(0) { $0 + $1.count })
        for list in lists { joined += list }
        return joined
    }

    /// `RedisCommand("SET", "key", "value")`.
    public init(_ name: String, _ arguments: RedisArgument...) {
        self.init(name: name, arguments: arguments)
    }

    private init(name: String, arguments: [RedisArgument]) {
        self.name = name
        self.formatted = FormattedCommand(name: name, arguments: arguments)
    }
}

/// The bytes of one command, in the memory that hiredis allocated for them; freed with the last reference.
final class FormattedCommand: Sendable {
    /// hiredis 0.14 adds lengths up in a C int. Redis itself refuses arguments above 512 MB.
    private static let maximumSize = 1 << 30

    // Unsafe only to the compiler: written by init, then only read until deinit.
    nonisolated(unsafe) private let start: UnsafeMutablePointer<CChar>
    private let count: Int

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: count) }

    init(name: String, arguments: [RedisArgument]) {
        // hiredis wants all arguments as stable pointers at once. Small Swift strings have none: they are laid out in one
        // scratch buffer. Bytes are read where they are, which `arguments` keeps alive.
        let size = arguments.reduce(name.utf8.count) { $0 + $1.byteCountHint }
        precondition(size <= Self.maximumSize, "a Redis command must not be larger than 1 GiB")
        var scratch = ByteBuffer()
        scratch.reserveCapacity(arguments.reduce(name.utf8.count) { $0 + $1.scratchByteCountHint })
        let argumentCount = arguments.count + 1

        var formatted: UnsafeMutablePointer<CChar>?
        var length: CInt = -1
        withUnsafeTemporaryAllocation(of: Int.self, capacity: argumentCount) { lengths in
            lengths[0] = scratch.writeString(name)
            for (index, argument) in arguments.enumerated() {
                lengths[index + 1] = argument.length(writingTextTo: &scratch)
            }
            scratch.withUnsafeReadableBytes { bytes in
                withUnsafeTemporaryAllocation(of: UnsafePointer<CChar>?.self, capacity: argumentCount) { pointers in
                    // Every pointer but those of empty arguments is read; an empty scratch has no address.
                    let base = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
                    pointers[0] = base
                    var offset = lengths[0]
                    for (index, argument) in arguments.enumerated() {
                        if case .buffer(let buffer) = argument {
                            pointers[index + 1] = buffer.stableAddress
                        } else {
                            pointers[index + 1] = base.map { $0 + offset }
                            offset += lengths[index + 1]
                        }
                    }
                    withExtendedLifetime(arguments) {
                        length = CInt(
                            clamping: redisFormatCommandArgv(
                                &formatted, CInt(argumentCount), pointers.baseAddress, lengths.baseAddress))
                    }
                }
            }
        }
        guard let formatted, length >= 0 else {
            // hiredis fails only when malloc does; the Swift runtime traps then too.
            fatalError("hiredis could not format \(name) with \(arguments.count) arguments: out of memory")
        }
        start = formatted
        count = Int(length)
    }

    deinit {
        redisFreeCommand(start)
    }
}

extension RedisArgument {
    /// Exact for bytes; enough for any integer.
    fileprivate var byteCountHint: Int {
        switch self {
        case .string(let text): text.utf8.count
        case .buffer(let buffer): buffer.readableBytes
        case .integer: 20
        }
    }

    /// What of it lies in the scratch buffer.
    fileprivate var scratchByteCountHint: Int {
        if case .buffer = self { 0 } else { byteCountHint }
    }

    fileprivate func length(writingTextTo scratch: inout ByteBuffer) -> Int {
        switch self {
        case .string(let text): scratch.writeString(text)
        case .buffer(let bytes): bytes.readableBytes
        case .integer(let number): scratch.writeString(String(number))
        }
    }
}

extension ByteBuffer {
    /// Where its readable bytes are, for as long as the buffer lives unchanged.
    fileprivate var stableAddress: UnsafePointer<CChar>? {
        withUnsafeReadableBytesWithStorageManagement { bytes, _ in
            bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
        }
    }
}
