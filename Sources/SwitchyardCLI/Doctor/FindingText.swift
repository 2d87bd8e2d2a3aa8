import Switchyard

typealias Finding = ServerFinding

extension ServerFinding {
    /// The finding as lines of text.
    func text(width: Int, colour: Bool) -> String {
        let colours: [Level: Colour] = [.ok: .green, .warn: .yellow, .fail: .red]
        let word = level.rawValue.padding(toLength: 4, withPad: " ", startingAt: 0)
        let shown = colours[level]?.paint(word, if: colour) ?? word
        let name = subject.padding(toLength: width, withPad: " ", startingAt: 0)
        let indent = String(repeating: " ", count: 4 + 2 + width + 2)
        return "\(shown)  \(name)  \(TerminalText.line(message))\n"
            + (advice.map { "\(indent)→ \(TerminalText.line($0))\n" } ?? "")
    }
}
