/// A measurement that cannot be made or has failed: says what was expected and what was found.
package struct BenchError: Error, Equatable, CustomStringConvertible {
    package let description: String

    init(_ description: String) { self.description = description }
}
