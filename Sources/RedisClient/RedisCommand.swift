import CHiredis
import NIOCore

/// One argument of a command. Redis receives bytes; strings and integers can be written as literals.
public enum RedisArgument: Sendable, ExpressibleByStringInterpolation, ExpressibleByIntegerLiteral {
    /// A text, sent as UTF-8.
    case string(String)
    /// Bytes, sent as they are.
    case buffer(ByteBuffer)
    /// An integer, sent as decimal text.
    case integer(Int64)

    /// Creates an argument from a string literal.
    public init(stringLiteral value: String) { self = .string(value) }
    /// Creates an argument from an integer literal.
    public init(integerLiteral value: Int64) { self = .integer(value) }
    /// Creates an argument from a text.
    public init(_ value: String) { self = .string(value) }
    /// Creates an argument from bytes.
    public init(_ value: ByteBuffer) { self = .buffer(value) }
    /// Creates an argument from an integer, clamped to 64 bits.
    public init(_ value: some BinaryInteger) { self = .integer(Int64(clamping: value)) }
}

/// A command, formatted once by hiredis; it can be sent any number of times.
///
/// Formatting runs on the caller's thread, so the event loop only copies bytes. Arguments are length-prefixed: no byte
/// in them can be taken for protocol. A command of more than 1 GiB traps.
public struct RedisCommand: Sendable {
    /// The command's name, for messages. Messages never show arguments, which may be secret or large.
    public let name: String
    let formatted: FormattedCommand

    /// Creates a command without arguments.
    public init(_ name: String) {
        self.init(name: name, arguments: [])
    }

    /// Creates a command whose arguments are the joined lists: `RedisCommand("FCALL", [name, 2], keys, arguments)`.
    public init(_ name: String, _ arguments: [RedisArgument]...) {
        self.init(name: name, arguments: arguments.count == 1 ? arguments[0] : Self.joined(arguments))
    }

    private static func joined(_ lists: [[RedisArgument]]) -> [RedisArgument] {
        var joined: [RedisArgument] = []
        joined.reserveCapacity(lists.reduce(0) { $0 + $1.count })
        for list in lists { joined += list }
        return joined
    }

    /// Creates a command: `RedisCommand("SET", "key", "value")`.
    public init(_ name: String, _ arguments: RedisArgument...) {
        self.init(name: name, arguments: arguments)
    }

    private init(name: String, arguments: [RedisArgument]) {
        self.name = name
        self.formatted = FormattedCommand(name: name, arguments: arguments)
    }
}

/// The bytes of one command, in memory that hiredis allocated. They are freed with the last reference.
final class FormattedCommand: Sendable {
    /// hiredis 0.14 adds lengths up in a C int. Redis itself refuses arguments above 512 MB.
    private static let maximumSize = 1 << 30

    // Safe, though the compiler cannot see it: written by init, then only read until deinit.
    nonisolated(unsafe) private let start: UnsafeMutablePointer<CChar>
    private let count: Int

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: count) }

    init(name: String, arguments: [RedisArgument]) {
        // hiredis needs stable pointers to all arguments at once. Small Swift strings have none, so texts are copied
        // into one scratch buffer. Buffers are read in place; `arguments` keeps them alive.
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
                    // hiredis reads every pointer except those of empty arguments; an empty scratch buffer has no
                    // address.
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
            // This fails only if malloc does; the Swift runtime traps then too.
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
    /// Exact for texts and buffers; an upper bound for integers.
    fileprivate var byteCountHint: Int {
        switch self {
        case .string(let text): text.utf8.count
        case .buffer(let buffer): buffer.readableBytes
        case .integer: 20
        }
    }

    /// The part of it that is written to the scratch buffer.
    fileprivate var scratchByteCountHint: Int {
        if case .buffer = self { 0 } else { byteCountHint }
    }

    /// Returns the length of the argument. Writes it to `scratch` unless it is a buffer.
    fileprivate func length(writingTextTo scratch: inout ByteBuffer) -> Int {
        switch self {
        case .string(let text): scratch.writeString(text)
        case .buffer(let bytes): bytes.readableBytes
        case .integer(let number): scratch.writeString(String(number))
        }
    }
}

extension ByteBuffer {
    /// The address of the readable bytes, valid while the buffer is alive and unchanged.
    fileprivate var stableAddress: UnsafePointer<CChar>? {
        withUnsafeReadableBytesWithStorageManagement { bytes, _ in
            bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
        }
    }
}
