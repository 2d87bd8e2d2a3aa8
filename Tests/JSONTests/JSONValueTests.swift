import Foundation
import JSON
import Testing

/// Parts of values, and values as members of decoded types.
@Suite struct JSONValueTests {
    @Test func partsAreReadByKind() throws {
        let value = try JSONReader.read(
            Array(#"{"a":"x","n":2,"half":2.5,"big":12345678901234567890123,"list":[1],"a":"last"}"#.utf8))
        #expect(value["a"]?.string == "last" && value["a"]?.int == nil && value["a"]?.plainText == "last")
        #expect(value["n"]?.int == 2 && value["n"]?.double == 2 && value["n"]?.string == nil)
        #expect(value["half"]?.double == 2.5)
        #expect(value["big"]?.int == nil && value["big"]?.plainText == "12345678901234567890123")
        #expect(value["list"]?.array == [.number("1")] && value["list"]?["a"] == nil && value["none"] == nil)
    }

    /// The names of a value are the submitter's: they are not converted as the names of the type are.
    @Test func aValueIsAMemberOfADecodedType() throws {
        struct View: Decodable {
            var payload: JSONValue?
            var fullName: String
        }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let text = #"{"full_name":"n","payload":{"b_b":[1,2.5,true,null,"x/y"],"a":9007199254740993}}"#
        let view = try decoder.decode(View.self, from: Data(text.utf8))
        #expect(view.fullName == "n")
        #expect(view.payload?.text == #"{"a":9007199254740993,"b_b":[1,2.5,true,null,"x/y"]}"#)
    }

    @Test(arguments: [("{}", true), (" [1] ", true), ("\"a\"", true), ("{oops", false), ("", false), ("1 2", false)])
    func textsAreChecked(text: String, expected: Bool) {
        #expect(JSONReader.isValid(text) == expected)
    }

    private struct Whole: Decodable, Equatable {
        struct Part: Decodable, Equatable {
            var firstName: String?
            var count: Int
        }
        var taskId: String
        var parts: [Part]
        var flags: [String: Bool]
        var ratio: Double?
        var missing: Int?
        var payload: JSONValue?
    }

    @Test func aTypeIsDecodedFromAValue() throws {
        let text = #"""
            {"task_id":"t","parts":[{"first_name":"n","count":2.0},{"count":1e3,"first_name":null}],
             "flags":{"snake_case":true,"camelCase":false},"ratio":1,"missing":null,"extra":[1],
             "payload":{"z":12345678901234567890,"a":[1.10,{"y":null}]}}
            """#
        let whole = try JSONValueDecoder.decode(Whole.self, from: try JSONReader.read(Array(text.utf8)))
        #expect(whole.taskId == "t")
        #expect(whole.parts == [.init(firstName: "n", count: 2), .init(firstName: nil, count: 1000)])
        #expect(whole.flags == ["snake_case": true, "camelCase": false])
        #expect(whole.ratio == 1)
        #expect(whole.missing == nil)
        #expect(whole.payload?.text == #"{"z":12345678901234567890,"a":[1.10,{"y":null}]}"#)
    }

    @Test(arguments: [
        "[]", "null", #"{"task_id":1,"parts":[],"flags":{}}"#, #"{"parts":[],"flags":{}}"#,
        #"{"task_id":"t","parts":[{"count":1.5}],"flags":{}}"#,
        #"{"task_id":"t","parts":[{"count":99999999999999999999}],"flags":{}}"#,
        #"{"task_id":"t","parts":{},"flags":{}}"#, #"{"task_id":"t","parts":[],"flags":{"a":1}}"#,
    ])
    func whatIsOfAnotherTypeIsAnError(text: String) throws {
        let value = try JSONReader.read(Array(text.utf8))
        #expect(throws: DecodingError.self) { try JSONValueDecoder.decode(Whole.self, from: value) }
    }
}
