/// The result of one check of `doctor`.
struct Finding: Sendable, Equatable, Encodable {
    enum Level: String, Sendable, Encodable { case ok, warn, fail }

    var level: Level
    var subject: String
    var message: String
    /// What to do about it; nil if nothing is to be done.
    var advice: String?

    static func ok(_ subject: String, _ message: String) -> Finding {
        Finding(level: .ok, subject: subject, message: message)
    }

    static func warn(_ subject: String, _ message: String, _ advice: String) -> Finding {
        Finding(level: .warn, subject: subject, message: message, advice: advice)
    }

    static func fail(_ subject: String, _ message: String, _ advice: String) -> Finding {
        Finding(level: .fail, subject: subject, message: message, advice: advice)
    }

    func text(width: Int, colour: Bool) -> String {
        let colours: [Level: Colour] = [.ok: .green, .warn: .yellow, .fail: .red]
        let word = level.rawValue.padding(toLength: 4, withPad: " ", startingAt: 0)
        let shown = colours[level]?.paint(word, if: colour) ?? word
        let name = subject.padding(toLength: width, withPad: " ", startingAt: 0)
        let indent = String(repeating: " ", count: 4 + 2 + width + 2)
        return "\(shown)  \(name)  \(Console.out.printable(message.replacing("\n", with: " ")))\n"
            + (advice.map { "\(indent)→ \($0)\n" } ?? "")
    }
}
