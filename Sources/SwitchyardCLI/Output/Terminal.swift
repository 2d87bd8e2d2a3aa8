import Dispatch
import Foundation
import Synchronization

/// The terminal as a screen: text is redrawn in place, and keys are read as they are pressed. ``leave()`` restores it.
///
/// It uses only sequences that every terminal supports (home, clear, line wrap, cursor), and no curses library.
final class Terminal: Sendable {
    /// The keys that were pressed. SIGINT and SIGTERM are delivered as `q`.
    let keys: AsyncStream<Character>

    private let found: Mutex<termios?>
    // Safe without a lock: set by init, and afterwards only cancelled, which Dispatch allows from any thread.
    private nonisolated(unsafe) let sources: [any DispatchSourceProtocol]

    /// Takes over the terminal and clears it.
    init() throws(Failure) {
        let (keys, pressed) = AsyncStream<Character>.makeStream(bufferingPolicy: .bufferingNewest(16))
        self.keys = keys
        var sources: [any DispatchSourceProtocol] = []
        for number in [SIGINT, SIGTERM] {
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { pressed.yield("q") }
            source.resume()
            sources.append(source)
        }
        var settings = termios()
        var before: termios?
        if isatty(STDIN_FILENO) == 1, tcgetattr(STDIN_FILENO, &settings) == 0 {
            before = settings
            // ISIG stays set: Ctrl-C is still a signal.
            settings.c_lflag &= ~tcflag_t(ICANON | ECHO)
            tcsetattr(STDIN_FILENO, TCSANOW, &settings)
            let source = DispatchSource.makeReadSource(fileDescriptor: STDIN_FILENO, queue: .global())
            source.setEventHandler {
                var bytes = [UInt8](repeating: 0, count: 64)
                let count = read(STDIN_FILENO, &bytes, bytes.count)
                // Dispatch would report the end of the input again and again.
                if count <= 0 { return source.cancel() }
                for byte in bytes.prefix(count) { pressed.yield(Character(UnicodeScalar(byte))) }
            }
            source.resume()
            sources.append(source)
        }
        found = Mutex(before)
        self.sources = sources
        try Console.out.write("\u{1B}[?7l\u{1B}[?25l\u{1B}[H\u{1B}[2J")
    }

    /// The size of the terminal; 24 × 80 if it is unknown.
    var size: (rows: Int, columns: Int) {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 0 else { return (24, 80) }
        return (Int(size.ws_row), Int(size.ws_col))
    }

    /// Overwrites the screen line by line, without clearing it first, so that it does not flicker.
    func draw(_ text: String) throws(Failure) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).prefix(size.rows)
        try Console.out.write("\u{1B}[H" + lines.map { $0 + "\u{1B}[K" }.joined(separator: "\r\n") + "\u{1B}[J")
    }

    /// Stops reading keys and signals, and restores the terminal's settings.
    func leave() {
        for source in sources { source.cancel() }
        if var settings = found.withLock({ $0 }) { tcsetattr(STDIN_FILENO, TCSANOW, &settings) }
        try? Console.out.write("\u{1B}[?25h\u{1B}[?7h\r\n")
        signal(SIGINT, SIG_DFL)
        signal(SIGTERM, SIG_DFL)
    }
}
