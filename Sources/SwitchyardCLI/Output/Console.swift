import Foundation

/// One of the two output streams. It does not buffer. A write throws ``Failure`` when the reader has closed the stream,
/// so that `switchyard logs -f | head` ends.
struct Console: Sendable {
    static let out = Console(descriptor: STDOUT_FILENO)
    static let error = Console(descriptor: STDERR_FILENO)

    let descriptor: Int32
    let isTerminal: Bool
    /// Whether to use colours: on a terminal, unless NO_COLOR is set (https://no-color.org) or TERM is "dumb".
    let hasColour: Bool

    init(descriptor: Int32, environment: [String: String] = ProcessInfo.processInfo.environment) {
        self.descriptor = descriptor
        isTerminal = isatty(descriptor) == 1
        let isRefused = !(environment["NO_COLOR"] ?? "").isEmpty || environment["TERM"] == "dumb"
        hasColour = isTerminal && !isRefused
    }

    func write(_ text: String) throws(Failure) {
        try write(bytes: Array(text.utf8))
    }

    /// Writes a line for people, made safe by ``TerminalText``: no colours, no JSON.
    func line(_ text: String) throws(Failure) {
        try write(TerminalText.line(text) + "\n")
    }

    /// Writes a line of JSON.
    func json(_ text: String) throws(Failure) {
        try write(TerminalText.json(text) + "\n")
    }

    func write(bytes: [UInt8]) throws(Failure) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let written = rest.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            if written >= 0 {
                rest = rest.dropFirst(written)
                continue
            }
            switch errno {
            case EINTR: continue
            case EAGAIN:
                // Another process made the terminal non-blocking: wait until it accepts more.
                var poller = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&poller, 1, 1000)
            case EPIPE: throw Failure(.brokenPipe)
            default: throw Failure(.error, "cannot write the output: \(String(cString: strerror(errno)))")
            }
        }
    }
}

/// A colour or style of text on a terminal, with its SGR code.
enum Colour: String, Sendable {
    case red = "31"
    case green = "32"
    case yellow = "33"
    case blue = "36"
    case dim = "2"
    case bold = "1"

    func paint(_ text: String, if isEnabled: Bool) -> String {
        isEnabled && !text.isEmpty ? "\u{1B}[\(rawValue)m\(text)\u{1B}[0m" : text
    }
}
