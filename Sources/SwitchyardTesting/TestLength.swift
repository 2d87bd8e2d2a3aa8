import Foundation

/// How much random and exhaustive tests do. They are short in `scripts/test`, and long with `SWITCHYARD_TEST_LONG=1`,
/// which `scripts/test --all` and `scripts/mutate` set.
package enum TestLength {
    /// Whether tests take the time that they need to look at everything.
    package static let isLong = ProcessInfo.processInfo.environment["SWITCHYARD_TEST_LONG"] == "1"

    /// Returns `long` in a long run, and else `short`.
    package static func of<Value>(_ short: Value, long: Value) -> Value { isLong ? long : short }
}
