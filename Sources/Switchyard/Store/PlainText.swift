import Foundation

extension Double {
    /// As the functions read a number: decimal digits, never an exponent. Six decimal places at most, which is as exact as
    /// amounts and rates are kept.
    var plainText: String {
        var text = String(format: "%.6f", self)
        while text.last == "0" { text.removeLast() }
        if text.last == "." { text.removeLast() }
        return text
    }
}
