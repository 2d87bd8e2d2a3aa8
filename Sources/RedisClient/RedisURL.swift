// Reading a configuration from a URL. Every part is either understood or refused; no part is ignored. An error says
// what was found and what was expected, and never contains a password.

extension RedisConfiguration {
    /// Reads a configuration from a URL. Accepts
    /// - `redis://[user[:password]@]host[:port][/db]`,
    /// - `redis-sentinel://[user[:password]@]host[:port],…/name[?db=1&sentinel_user=…&sentinel_password=…]`, where the
    ///   hosts are sentinels (port 26379) and the login is the primary's,
    /// - `redis-cluster://[user[:password]@]host[:port],…`, where the hosts are some of the nodes,
    /// - each with `rediss` for TLS, and then `?ca=…` (or `?cafile=…`), `?cert=…&key=…` and `?insecure=1`,
    /// - `unix:///path/to.sock[?db=1&user=…&password=…]`,
    /// - and for all of them `?timeout=` and `?connect_timeout=` (seconds), `?name=` (see ``clientName``).
    ///
    /// User, password, path and option values are percent-decoded.
    /// - Parameter password: the password if the URL has none.
    /// - Throws: a ``RedisError`` of kind `invalidConfiguration`.
    public init(url: String, password: String? = nil) throws {
        do {
            try self.init(plain: url, password: password)
        } catch {
            // The parts of such a URL are not what they seem to be, and an error about one of them would show a piece
            // of the password.
            throw Self.endsALogin(url) ? Self.unencoded : error
        }
    }

    private static let unencoded = invalid(
        "the login before the @ contains a character that ends it; write / in a user or password as %2F, ? as %3F, "
            + "@ as %40, : as %3A and % as %25")

    /// Whether an @ comes after the first / or ? behind the scheme: probably they belong to a password.
    private static func endsALogin(_ url: String) -> Bool {
        guard let scheme = url.firstRange(of: "://"), let at = url.lastIndex(of: "@"),
            !url[..<scheme.lowerBound].lowercased().contains("unix")
        else { return false }
        return url[scheme.upperBound...].firstIndex { "/?".contains($0) }.map { $0 < at } ?? false
    }

    private init(plain url: String, password given: String?) throws {
        guard let schemeEnd = url.firstRange(of: "://") else {
            throw Self.invalid("no scheme found; expected \(Self.schemes)")
        }
        let scheme = url[..<schemeEnd.lowerBound].lowercased()
        let rest = url[schemeEnd.upperBound...]
        let questionMark = rest.firstIndex(of: "?") ?? rest.endIndex
        let location = rest[..<questionMark]
        let query = questionMark < rest.endIndex ? rest[rest.index(after: questionMark)...] : ""

        switch scheme {
        case "redis", "rediss":
            try self.init(tcp: location)
            tls = scheme == "rediss"
        case "unix", "redis+unix":
            let path = try Self.decoded(location, "the socket's path")
            guard path.hasPrefix("/") else {
                throw Self.invalid(
                    "unix:// needs an absolute path (unix:///run/redis.sock); a login is given as ?user=…&password=…")
            }
            self.init(endpoint: .unixSocket(path: path))
        case "redis-sentinel", "rediss-sentinel":
            try self.init(sentinel: location)
            tls = scheme == "rediss-sentinel"
        case "redis-cluster", "rediss-cluster":
            try self.init(cluster: location)
            tls = scheme == "rediss-cluster"
        default:
            throw Self.invalid("unknown scheme \"\(scheme)\"; expected \(Self.schemes)")
        }
        for option in query.split(separator: "&") {
            try apply(option: option)
        }
        password = password ?? given
        try checkOptions()
    }

    private static let schemes =
        "redis://, redis-sentinel://, redis-cluster://, each with rediss for TLS, or unix://"

    /// Reads `[user[:password]@]host[:port][/db]`.
    private init(tcp location: Substring) throws {
        let (hosts, databaseText) = Self.parted(location)
        try self.init(hosts: hosts) { [try Self.endpoint($0, defaultPort: 6379)] }
        if !databaseText.isEmpty {
            database = try Self.database(databaseText)
        }
    }

    /// Reads `[user[:password]@]host[:port],…/name`.
    private init(sentinel location: Substring) throws {
        let (hosts, nameText) = Self.parted(location)
        var sentinels: [Endpoint] = []
        try self.init(hosts: hosts) { hosts in
            sentinels = try Self.endpoints(hosts, defaultPort: 26379)
            return sentinels
        }
        let name = try Self.decoded(nameText, "the name behind the sentinels")
        guard !name.isEmpty, name.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw Self.invalid(
                "expected the name that the sentinels have for the primary (redis-sentinel://h1,h2,h3/NAME), found "
                    + (name.isEmpty ? "none" : "one with spaces or other characters that a name cannot have"))
        }
        deployment = .sentinel(Sentinel(sentinels: sentinels, name: name))
    }

    /// Reads `[user[:password]@]host[:port],…`.
    private init(cluster location: Substring) throws {
        let (hosts, databaseText) = Self.parted(location)
        var nodes: [Endpoint] = []
        try self.init(hosts: hosts) { hosts in
            nodes = try Self.endpoints(hosts, defaultPort: 6379)
            return nodes
        }
        deployment = .cluster(nodes: nodes)
        if !databaseText.isEmpty { database = try Self.database(databaseText) }
    }

    /// Splits `authority/rest` at the first slash.
    private static func parted(_ location: Substring) -> (Substring, Substring) {
        let slash = location.firstIndex(of: "/") ?? location.endIndex
        return (location[..<slash], slash < location.endIndex ? location[location.index(after: slash)...] : "")
    }

    /// Reads `[user[:password]@]hosts`. `read` returns the addresses in `hosts`, at least one.
    private init(hosts authority: Substring, _ read: (Substring) throws -> [Endpoint]) throws {
        let at = authority.lastIndex(of: "@")
        let hosts = at.map { authority[authority.index(after: $0)...] } ?? authority
        self.init(endpoint: try read(hosts)[0])
        guard let at else { return }
        let login = authority[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let user = try Self.decoded(login[0], "the user")
        username = user.isEmpty ? nil : user
        password = login.count > 1 ? try Self.decoded(login[1], "the password") : nil
    }

    private static func endpoints(_ hosts: Substring, defaultPort: Int) throws -> [Endpoint] {
        try hosts.split(separator: ",", omittingEmptySubsequences: false).map {
            try endpoint($0, defaultPort: defaultPort)
        }
    }

    private static func endpoint(_ text: Substring, defaultPort: Int) throws -> Endpoint {
        var host = text
        var port: Substring?
        if text.hasPrefix("["), let bracket = text.firstIndex(of: "]") {
            host = text[text.index(after: text.startIndex)..<bracket]
            let rest = text[text.index(after: bracket)...]
            guard rest.isEmpty || rest.hasPrefix(":") else {
                throw invalid("expected [address]:port, found \"\(text)\"")
            }
            port = rest.isEmpty ? nil : rest.dropFirst()
        } else if let colon = text.firstIndex(of: ":") {
            host = text[..<colon]
            port = text[text.index(after: colon)...]
        }
        guard !host.isEmpty else {
            throw invalid("no host found; expected host[:port] behind the scheme and the login")
        }
        guard let port else { return .tcp(host: String(host), port: defaultPort) }
        guard let number = Int(port), (1...65535).contains(number) else {
            // Other text is not shown: where somebody forgot the host, it is a password.
            let isNumber = port.count <= 5 && port.allSatisfy(\.isNumber)
            throw invalid("expected a port from 1 to 65535" + (isNumber ? ", found \"\(port)\"" : " after the host"))
        }
        return .tcp(host: String(host), port: number)
    }

    private mutating func apply(option: Substring) throws {
        let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let name = parts[0]
        let raw = parts.count > 1 ? parts[1] : ""
        switch name {
        case "db": database = try Self.database(raw)
        case "user": username = try Self.decoded(raw, "user")
        case "password": password = try Self.decoded(raw, "password")
        case "name": clientName = try Self.name(Self.decoded(raw, "name"))
        case "timeout": commandTimeout = try Self.seconds(raw, "timeout")
        case "connect_timeout": connectTimeout = try Self.seconds(raw, "connect_timeout")
        case "ca" where tls, "cafile" where tls: caFile = try Self.decoded(raw, "\(name)")
        case "cert" where tls: certificateFile = try Self.decoded(raw, "cert")
        case "key" where tls: keyFile = try Self.decoded(raw, "key")
        case "insecure" where tls: verifiesCertificates = try !Self.flag(raw, "insecure")
        case "ca", "cafile", "cert", "key", "insecure":
            throw Self.invalid("?\(name)= is for TLS only (rediss://, rediss-sentinel://, rediss-cluster://)")
        case "sentinel_user": try setSentinel(\.username, Self.decoded(raw, "sentinel_user"), "\(name)")
        case "sentinel_password": try setSentinel(\.password, Self.decoded(raw, "sentinel_password"), "\(name)")
        default:
            // After a password it may be a piece of it, behind an & that was not encoded.
            let hasPassword = password != nil || sentinelPassword != nil
            let found = hasPassword ? "an unknown option after the password" : "unknown option \"\(name)\""
            throw Self.invalid(
                "\(found); expected db, user, password, name, timeout, connect_timeout, sentinel_user, "
                    + "sentinel_password, ca, cert, key or insecure"
            )
        }
    }

    private var sentinelPassword: String? {
        if case .sentinel(let sentinel) = deployment { sentinel.password } else { nil }
    }

    private mutating func setSentinel(
        _ field: WritableKeyPath<Sentinel, String?>, _ value: String, _ name: String
    ) throws {
        guard case .sentinel(var sentinel) = deployment else {
            throw Self.invalid("?\(name)= is for redis-sentinel:// only")
        }
        sentinel[keyPath: field] = value
        deployment = .sentinel(sentinel)
    }

    /// Checks what only all options together can show.
    private func checkOptions() throws {
        if username != nil, password == nil {
            throw Self.invalid("a user without a password; expected user:password@host")
        }
        if case .sentinel(let sentinel) = deployment, sentinel.username != nil, sentinel.password == nil {
            throw Self.invalid("sentinel_user without sentinel_password; expected both")
        }
        if (certificateFile == nil) != (keyFile == nil) {
            throw Self.invalid("expected both ?cert= and ?key=, found one of them")
        }
        if case .cluster = deployment, database != 0 {
            throw Self.invalid("a Redis Cluster has database 0 only, found \(database)")
        }
    }
}

// MARK: - Parts

extension RedisConfiguration {
    private static func invalid(_ message: String) -> RedisError {
        RedisError(kind: .invalidConfiguration, message: "invalid Redis URL: \(message)")
    }

    private static func database(_ text: Substring) throws -> Int {
        guard let number = Int(text), number >= 0 else {
            throw invalid("expected a database number (0, 1, …), found \"\(text)\"")
        }
        return number
    }

    private static func seconds(_ text: Substring, _ name: String) throws -> Duration {
        guard let seconds = Double(text), seconds > 0, seconds <= 86_400 else {
            throw invalid("expected \(name) in seconds, more than 0 and at most 86400, found \"\(text)\"")
        }
        return .milliseconds(Int64((seconds * 1000).rounded(.up)))
    }

    private static func flag(_ text: Substring, _ name: String) throws -> Bool {
        switch text {
        case "1", "true": return true
        case "0", "false": return false
        default: throw invalid("expected \(name)=1 or \(name)=0, found \"\(text)\"")
        }
    }

    private static func name(_ text: String) throws -> String {
        guard !text.isEmpty, text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw invalid("expected a client name of printable characters without spaces, found \"\(text)\"")
        }
        return text
    }

    /// Percent-decodes a part; the result must be UTF-8. An error names the part, not its content, which may be secret.
    private static func decoded(_ text: Substring, _ part: String) throws -> String {
        guard text.utf8.contains(UInt8(ascii: "%")) else { return String(text) }
        var bytes: [UInt8] = []
        var rest = Substring(text).utf8
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst()?.hexDigit, let low = rest.popFirst()?.hexDigit else {
                throw invalid("\(part) has a % that two hexadecimal digits do not follow; a plain % is written %25")
            }
            bytes.append(high << 4 | low)
        }
        guard let decoded = String(validating: bytes, as: UTF8.self) else {
            throw invalid("\(part) is not UTF-8 once decoded")
        }
        return decoded
    }
}

extension UInt8 {
    fileprivate var hexDigit: UInt8? {
        switch self {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): self - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): self - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): self - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}
