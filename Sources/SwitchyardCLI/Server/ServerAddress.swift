/// The URL of a server as messages show it.
enum ServerAddress {
    /// Replaces the login, everything between the scheme and the last "@", by `***`. A "/" does not end the login: a
    /// password may contain one although it should not.
    static func shown(_ url: String) -> String {
        guard let end = url.lastIndex(of: "@") else { return url }
        let start = url.firstRange(of: "://").map(\.upperBound) ?? url.startIndex
        guard start <= end else { return url }
        return url[..<start] + "***" + url[end...]
    }
}
