import Testing

@testable import RedisClient

@Suite(.timeLimit(.minutes(1))) struct URLTests {
    struct Good: Sendable, CustomTestStringConvertible {
        let url: String
        let endpoint: RedisConfiguration.Endpoint
        var user: String?
        var password: String?
        var database = 0
        var tls = false
        var testDescription: String { url }
    }

    @Test(arguments: [
        Good(url: "redis://localhost", endpoint: .tcp(host: "localhost", port: 6379)),
        Good(url: "REDIS://localhost/", endpoint: .tcp(host: "localhost", port: 6379)),
        Good(url: "redis://h:1234/5", endpoint: .tcp(host: "h", port: 1234), database: 5),
        Good(url: "redis://u:p@h", endpoint: .tcp(host: "h", port: 6379), user: "u", password: "p"),
        Good(url: "redis://:p%40%3a%2F@h:1", endpoint: .tcp(host: "h", port: 1), password: "p@:/"),
        Good(url: "redis://u:a:b@c@h:1", endpoint: .tcp(host: "h", port: 1), user: "u", password: "a:b@c"),
        Good(url: "redis://:%C3%BC@h", endpoint: .tcp(host: "h", port: 6379), password: "ü"),
        Good(url: "rediss://h:2", endpoint: .tcp(host: "h", port: 2), tls: true),
        Good(url: "redis://[::1]:7000/1", endpoint: .tcp(host: "::1", port: 7000), database: 1),
        Good(url: "redis://[::1]", endpoint: .tcp(host: "::1", port: 6379)),
        Good(url: "unix:///run/r.sock", endpoint: .unixSocket(path: "/run/r.sock")),
        Good(
            url: "unix:///a%20b.sock?db=1&password=x%26y", endpoint: .unixSocket(path: "/a b.sock"), password: "x&y",
            database: 1),
        Good(
            url: "unix:///r.sock?user=w&password=x", endpoint: .unixSocket(path: "/r.sock"), user: "w", password: "x"),
    ])
    func isRead(_ good: Good) throws {
        let read = try RedisConfiguration(url: good.url)
        #expect(read.endpoint == good.endpoint)
        #expect(read.username == good.user)
        #expect(read.password == good.password)
        #expect(read.database == good.database)
        #expect(read.tls == good.tls)
    }

    @Test(arguments: [
        ("localhost:6379", "no scheme"),
        ("http://h", "unknown scheme \"http\""),
        ("redis-sentinel://h", "expected the name that the sentinels have for the primary"),
        ("redis-sentinel://h1,h2/a%20b", "with spaces"),
        ("redis-sentinel://h1,,h2/name", "no host"),
        ("redis-sentinel://h/name?sentinel_user=u", "sentinel_user without sentinel_password"),
        ("redis-sentinel://u@h/name", "a user without a password"),
        ("redis://h?sentinel_password=p", "for redis-sentinel:// only"),
        ("redis-cluster://h,", "no host"),
        ("redis-cluster://h1,h2:x", "expected a port from 1 to 65535 after the host"),
        ("redis-cluster://h/1", "has database 0 only, found 1"),
        ("redis-cluster://h?db=2", "has database 0 only, found 2"),
        ("rediss://h?cert=/c", "expected both ?cert= and ?key="),
        ("rediss-cluster://h?key=/k", "expected both ?cert= and ?key="),
        ("redis-cluster://h?cert=/c&key=/k", "is for TLS only"),
        ("redis://", "no host"),
        ("redis://h:0", "expected a port from 1 to 65535, found \"0\""),
        ("redis://h:x", "expected a port from 1 to 65535 after the host"),
        ("redis://:a/b@h", "write / in a user or password as %2F"),
        ("redis://u:a?b@h:6379/1", "? as %3F"),
        ("redis://a:b:1", "expected a port"),
        ("redis://[::1]x", "expected [address]:port"),
        ("redis://h/one", "expected a database number (0, 1, …), found \"one\""),
        ("redis://h/-1", "found \"-1\""),
        ("redis://user@h", "a user without a password"),
        ("redis://:%zz@h", "the password has a %"),
        ("redis://:%FF@h", "the password is not UTF-8"),
        ("redis://h?color=red", "unknown option \"color\""),
        ("redis://h?cafile=/x", "is for TLS only"),
        ("rediss://h?insecure=maybe", "found \"maybe\""),
        ("redis://h?timeout=0", "expected timeout in seconds"),
        ("redis://h?name=a%20b", "without spaces"),
        ("unix://relative.sock", "absolute path"),
    ])
    func isRefusedWithAReason(url: String, reason: String) throws {
        let error = #expect(throws: RedisError.self) { try RedisConfiguration(url: url) }
        #expect(error?.kind == .invalidConfiguration)
        #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
    }

    @Test func optionsAreRead() throws {
        let read = try RedisConfiguration(
            url: "rediss://h?cafile=/c%20a.pem&insecure=1&timeout=0.25&connect_timeout=3&name=replica-1")
        #expect(read.caFile == "/c a.pem")
        #expect(!read.verifiesCertificates)
        #expect(read.commandTimeout == .milliseconds(250))
        #expect(read.connectTimeout == .seconds(3))
        #expect(read.clientName == "replica-1")
    }

    @Test func sentinelsAndNodesAreRead() throws {
        let three: [RedisConfiguration.Endpoint] = [
            .tcp(host: "a", port: 26379), .tcp(host: "b", port: 1), .tcp(host: "::1", port: 26379),
        ]
        var read = try RedisConfiguration(
            url: "rediss-sentinel://u:p%2F@a,b:1,[::1]/my-primary?db=3&sentinel_user=s&sentinel_password=q%26")
        #expect(
            read.deployment
                == .sentinel(.init(sentinels: three, name: "my-primary", username: "s", password: "q&")))
        #expect((read.username, read.password, read.database, read.tls) == ("u", "p/", 3, true))
        #expect("\(read)" == "rediss-sentinel://u:***@a:26379,b:1,[::1]:26379/my-primary?db=3")

        read = try RedisConfiguration(url: "redis-cluster://a,b:7001?name=x", password: "given")
        #expect(read.deployment == .cluster(nodes: [.tcp(host: "a", port: 6379), .tcp(host: "b", port: 7001)]))
        #expect((read.password, read.tls, read.clientName) == ("given", false, "x"))
        #expect("\(read)" == "redis-cluster://:***@a:6379,b:7001")

        read = try RedisConfiguration(url: "rediss-cluster://a?cert=/c.pem&key=/k%20.pem&ca=/ca.pem")
        #expect((read.certificateFile, read.keyFile, read.caFile) == ("/c.pem", "/k .pem", "/ca.pem"))
    }

    @Test(arguments: [
        ("redis://h", "p/?@", "p/?@"), ("redis://u@h", "p", "p"), ("redis://:own@h", "p", "own"),
        ("unix:///s?user=u", "p", "p"), ("unix:///s?password=", "p", ""),
    ])
    func aPasswordBesideTheURLIsForOneWithout(url: String, given: String, password: String) throws {
        #expect(try RedisConfiguration(url: url, password: given).password == password)
    }

    /// Errors about what was taken for a port, a database or an option.
    @Test(arguments: [
        "redis://u:secret", "redis://u:secret/@h", "redis://u:secret?@h", "redis://:1/secret@h",
        "redis://:a@b/secret@h", "redis://:a@h?secret@h", "unix:///s?password=a&secret", "unix://u:secret@/s",
        "redis://u:1?timeout=secret@h", "redis-sentinel://u:p@h,secret@h2/n?x=1", "redis-cluster://u:secret,h",
        "redis-sentinel://h/n?sentinel_password=a&secret", "redis-sentinel://u:a/secret@h/n",
    ])
    func noErrorShowsAPassword(url: String) {
        let error = #expect(throws: RedisError.self) { try RedisConfiguration(url: url) }
        #expect(error?.message.contains("secret") == false, "\(error?.message ?? "")")
    }

    @Test func thePasswordIsNeverShown() throws {
        for url in ["redis://u:secret@h:1/2", "unix:///r.sock?password=secret"] {
            let text = "\(try RedisConfiguration(url: url))"
            #expect(!text.contains("secret"))
            #expect(text.contains("***"))
        }
        #expect("\(try RedisConfiguration(url: "redis://u:secret@h:1/2"))" == "redis://u:***@h:1/2")
    }
}
