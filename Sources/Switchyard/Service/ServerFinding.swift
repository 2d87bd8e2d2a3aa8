/// The result of one check of a Redis server or of a replica.
package struct ServerFinding: Sendable, Equatable, Encodable {
    /// How bad it is: nothing to do, worth knowing, or something fails or loses tasks.
    package enum Level: String, Sendable, Encodable { case ok, warn, fail }

    package var level: Level
    /// What was checked, in one word.
    package var subject: String
    /// What was found.
    package var message: String
    /// What to do about it; nil if nothing is to be done.
    package var advice: String?

    package static func ok(_ subject: String, _ message: String) -> ServerFinding {
        ServerFinding(level: .ok, subject: subject, message: message)
    }

    package static func warn(_ subject: String, _ message: String, _ advice: String) -> ServerFinding {
        ServerFinding(level: .warn, subject: subject, message: message, advice: advice)
    }

    package static func fail(_ subject: String, _ message: String, _ advice: String) -> ServerFinding {
        ServerFinding(level: .fail, subject: subject, message: message, advice: advice)
    }
}
