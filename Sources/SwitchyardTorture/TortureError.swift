/// Why a run could not be made. What a run finds wrong is a ``Violation``.
package struct TortureError: Error, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}
