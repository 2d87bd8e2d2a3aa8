import Foundation

extension Double {
    /// The number in the form that the functions read: decimal digits without an exponent. It has at most six decimal
    /// places, the precision of amounts and rates.
    var plainText: String {
        var text = String(format: "%.6f", self)
        while text.last == "0" { text.removeLast() }
        if text.last == "." { text.removeLast() }
        return text
    }
}
