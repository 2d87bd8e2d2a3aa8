import Foundation

/// One execution of an attempt, as the process that ran it noted.
struct Execution: Sendable {
    var task: String
    var attempt: Int
    var worker: String
    var from: Uptime
    /// Nil: it noted no end. It was killed.
    var to: Uptime?

    /// Reads the journal: a line for each start and each end.
    /// - Throws: if the file cannot be read or a line cannot be understood.
    static func read(_ path: String) throws -> [Execution] {
        let text = try String(contentsOfFile: path, encoding: .utf8)
        var executions: [Execution] = []
        var open: [String: Int] = [:]
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 5, let attempt = Int(words[2]), let seconds = Double(words[4]) else {
                throw TortureError(
                    "the journal has the line \"\(line)\": expected an event, a task, an attempt, a worker, a time")
            }
            let key = "\(words[1]) \(attempt) \(words[3])"
            if words[0] == "start" {
                open[key] = executions.count
                executions.append(
                    Execution(
                        task: String(words[1]), attempt: attempt, worker: String(words[3]),
                        from: Uptime(seconds: seconds)))
            } else if let index = open.removeValue(forKey: key) {
                executions[index].to = Uptime(seconds: seconds)
            }
        }
        return executions
    }
}
