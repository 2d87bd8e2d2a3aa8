import NIOCore
import RedisClient

/// Valid replies of the functions and valid texts, which fuzz targets change.
enum FuzzExamples {
    typealias Pairs = [(name: RESPValue, value: RESPValue)]

    private static func pairs(_ texts: [(String, String)]) -> Pairs {
        texts.map { (.bulkString(ByteBuffer(string: $0.0)), .bulkString(ByteBuffer(string: $0.1))) }
    }

    static let task = pairs([
        ("id", "t1"), ("task", "t1"), ("state", "running"), ("priority", "high"), ("priority_reason", "given"),
        ("timeout_ms", "7200000"), ("max_retries", "2"), ("run_at", "1767225600000"), ("request", "r"), ("kind", "k"),
        ("repo", "core"), ("target", "//a:b"), ("args", #"["a","b"]"#), ("mr", "17"), ("labels", #"["hotfix"]"#),
        ("command", #"["make","-j"]"#), ("env", #"{"A":"1"}"#), ("cwd", "/tmp"), ("payload", #"{"a":1}"#),
        ("traceparent", "00-a-b-01"), ("held_by", "retry"), ("position", "3"), ("attempt", "2"), ("retry_count", "1"),
        ("worker", "w1"), ("batch", "b"), ("submitted_at", "1767225600000"), ("due_at", "1767225600000"),
        ("assigned_at", "1767225600000"), ("started_at", "1767225600000"), ("finished_at", "1767225600000"),
        ("lease_expires_at", "1767225600000"), ("progress", "half"), ("result", "[1,2]"), ("omitted", "payload"),
        ("exit_code", "1"), ("error_code", "Failed"), ("error_message", "no"), ("outcome", "failed"),
        (
            "attempt:1",
            #"{"attempt":1,"worker":"w","assigned_at":1767225600000,"started_at":1e3,"finished_at":2.5,"#
                + #""outcome":"lost","error_code":"x","error_message":"y","exit_code":3}"#
        ),
        ("requires", "os=linux,gpu"), ("cpu", "1.5"), ("memory_mb", "512"), ("resources", "gpu=1,license=0.5"),
        ("affinity_key", "a"), ("group_key", "g"), ("fairness_key", "f"), ("fairness_weight", "2"),
        ("concurrency_key", "c"), ("concurrency_limit", "3"), ("rate_key", "r"), ("rate_per_second", "0.5"),
        ("rate_burst", "4"), ("depends_on", "x,y"), ("run_anyway", "1"), ("unique_key", "u"),
        ("unique_for_ms", "1000"), ("uses", "1"), ("dependency_results", #"{"x":"1"}"#), ("deps_left", "1"),
    ])
    static let worker = pairs([
        ("slots", "4"), ("labels", "os=linux,gpu"), ("cpu", "8"), ("memory_mb", "1024"), ("resources", "gpu=2"),
        ("host", "h"), ("pid", "17"), ("version", "1"), ("note", "disk full"), ("draining", "0"),
        ("cordoned_at", "1767225600000"), ("registered_at", "1767225600000"), ("id", "w1"), ("class", "gpu,+cpu=8"),
        ("busy", "2"), ("last_assigned", "1767225600123456"), ("expires_at", "1767225600000"),
    ])
    static let schedule = pairs([
        ("cron", "0 3 * * *"), ("zone", "Europe/Berlin"), ("missed", "once"), ("id", "nightly"),
        ("template", #"["task","x","repo","r","delay_ms","5","args","[\"a\"]"]"#), ("next", "1767225600000"),
        ("last", "1767225600000"),
    ])
    static let stats = pairs([
        ("pending", "1"), ("held", "2"), ("waiting", "3"), ("blocked", "4"), ("unroutable", "5"), ("assigned", "6"),
        ("running", "7"), ("completed", "8"), ("failed", "9"), ("timeout", "10"), ("cancelled", "11"),
        ("finished", "12"), ("pending_critical", "1"), ("pending_high", "1"), ("pending_normal", "1"),
        ("pending_low", "1"), ("workers", "2"), ("idle_workers", "1"), ("cordoned", "1"), ("slots", "8"),
        ("queue_full_errors", "0"), ("retries", "1"), ("lost", "1"), ("repaired", "0"),
        ("oldest_pending_at", "1767225600000"), ("now", "1767225601000"), ("paused", "0"),
        ("instance", "1767225600123456"),
    ])
    static let batch = pairs([
        ("total", "7"), ("pending", "1"), ("assigned", "1"), ("running", "1"), ("completed", "1"), ("failed", "1"),
        ("timeout", "1"), ("cancelled", "1"), ("submitted_at", "1767225600000"), ("finished_at", "1767225600000"),
        ("follow_up", "f"),
    ])
    static let reason = pairs([
        ("code", "schedule"), ("message", "its run_at is in 5 s"), ("due_at", "1767225600000"), ("ahead", "3"),
        ("key", "17"), ("priority", "high"), ("limit", "3"),
    ])
    static let settings = pairs([
        ("paused", "0"), ("instance", "1767225600123456"), ("max_queue_length", "500"), ("lease_ms", "15000"),
        ("heartbeat_ms", "5000"), ("retention_ms", "7200000"), ("default_timeout_ms", "7200000"),
        ("default_max_retries", "2"), ("aging_ms", "0"), ("draining", "0"), ("partitions", "1"),
    ])
    static let heartbeat = pairs([
        ("lease_ms", "15000"), ("heartbeat_ms", "5000"), ("drain", "0"), ("partitions", "1"),
    ])
    static let log = pairs([("attempt", "1"), ("stream", "stdout"), ("data", "hello\n")])

    static let json =
        #"{"id":"a","repo":"core","target":"//x","args":["a","b"],"mr":"1","labels":["hotfix"],"command":["make"],"#
        + #""env":{"A":"1"},"cwd":"/tmp","payload":{"a":[1,2.5e3,null,true,"\u00e9\ud83d\ude00"]},"priority":"high","#
        + #""timeout_seconds":1.5,"max_retries":2,"run_at":"2026-01-31T12:00:00.5+01:00","delay_seconds":3,"#
        + #""depends_on":["x"],"requires":["os=linux"],"resources":{"cpu":1.5,"memory_mb":512,"gpu":1},"#
        + #""affinity_key":"k","fairness_key":"f","fairness_weight":2,"concurrency_key":"c","concurrency_limit":3,"#
        + #""unique_key":"u","if_no_workers":"reject"}"#
    static let crons = [
        "0 3 * * *", "*/5 * * * *", "30 2 29 2 *", "0 0 1,15 * mon-fri", "1 2 3 4 5 6", "@daily", "0 0 L * *",
        "59 23 31 12 7", "0 0 30 2 *", "5/15 8-17 * jan,mar *",
    ]
    static let zones = ["UTC", "Europe/Berlin", "America/New_York", "Africa/Casablanca", "Asia/Kathmandu"]
    static let urls = [
        "redis://localhost", "redis://user:p%40ss@10.0.0.1:6380/3?timeout=5", "rediss://h:1?insecure=1",
        "unix:///tmp/r.sock?db=2", "redis-sentinel://a,b:26380/main/1", "redis-cluster://[::1]:7000,b",
        "rediss-sentinel://u:p@a/main",
    ]
    static let resp = [
        "+OK\r\n", ":-42\r\n", "$-1\r\n", "*-1\r\n", "$0\r\n\r\n", "*2\r\n*1\r\n:1\r\n-ERR no\r\n", "*0\r\n",
        "$5\r\na\r\nbc\r\n", "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n",
    ]
}
