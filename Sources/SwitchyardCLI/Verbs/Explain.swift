import ArgumentParser
import Foundation
import Switchyard

struct Explain: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say why a task does not run, with the numbers.",
        discussion: "With --watch it refreshes until the task has ended.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var output: OutputOptions
    @OptionGroup var watching: WatchOptions

    @Argument(help: ArgumentHelp("The task's id.", valueName: "task-id"))
    var id: String

    func run() async throws {
        let (api, queue) = try await server.connect()
        try await watching.run(isJSON: output.isJSON) {
            let data = try await api.send(.GET, ["scheduler", "task", id, "explain"], query: [("queue", queue)])
            let explanation = try APIClient.decode(ExplanationView.self, data)
            let hasEnded = TaskState(rawValue: explanation.state)?.isTerminal ?? false
            let text =
                output.isJSON
                ? output.json(data)
                : explanation.text(colour: Console.out.hasColour)
            return (text, isLast: hasEnded)
        }
    }
}

/// The response of `GET /scheduler/task/{id}/explain`.
struct ExplanationView: Decodable, Sendable {
    struct Reason: Decodable, Sendable {
        var code: String
        var message: String
    }
    var taskId: String
    var state: String
    var reasons: [Reason]

    /// The state, and one sentence for each reason: the server's message, which has the numbers.
    func text(colour: Bool) -> String {
        let shown = Table.Cell(state, TaskView.colour(ofState: state)).text(colour: colour)
        let width = reasons.map(\.code.count).max() ?? 0
        let lines = reasons.map { reason in
            let code = TerminalText.line(reason.code).padding(toLength: width, withPad: " ", startingAt: 0)
            return "  \(Colour.dim.paint(code, if: colour))  \(TerminalText.line(Self.sentence(reason.message)))\n"
        }
        return "\(TerminalText.line(taskId))  \(shown)\(lines.isEmpty ? remark : "")\n" + lines.joined()
    }

    private var remark: String {
        switch TaskState(rawValue: state) {
        case .pending: ": nothing holds it; a worker is about to take it"
        case .assigned: ": a worker has taken it and is about to start it"
        case .running: ": nothing holds it"
        default: ""
        }
    }

    private static func sentence(_ message: String) -> String {
        let text = message.replacing("\n", with: " ")
        guard let first = text.first, let last = text.last else { return text }
        return first.uppercased() + text.dropFirst() + (".!?".contains(last) ? "" : ".")
    }
}
