import Testing

@testable import Switchyard

@Suite("Digests of contents")
struct ContentDigestTests {
    /// Digests by Python's hashlib: of the empty text, the examples of FIPS 180-4, and every way to fill the last
    /// block.
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb924"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223"),
        ("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039"),
        (String(repeating: "a", count: 55), "9f4390f8d30c2dd92ec9f095b65e2b9a"),
        (String(repeating: "a", count: 56), "b35439a4ac6f0948b6d6f9e3c6af0f5f"),
        (String(repeating: "a", count: 63), "7d3e74a05d7db15bce4ad9ec0658ea98"),
        (String(repeating: "a", count: 64), "ffe054fe7ae0cb6dc65c3af9b61d5209"),
        (String(repeating: "a", count: 65), "635361c48bb9eab14198e76ea8ab7f1a"),
        (String(repeating: "a", count: 119), "31eba51c313a5c08226adf18d4a359cf"),
        (String(repeating: "a", count: 120), "2f3d335432c70b580af0e8e1b3674a7c"),
        (String(repeating: "ä", count: 1000), "f02bb0d3c6e620be53d966e99864685c"),
    ])
    func areTheFirstHalfOfSHA256(text: String, expected: String) {
        #expect(ContentDigest(text).hex == expected)
        var digest = ContentDigest()
        for character in text { digest.update(String(character)) }
        #expect(digest.hex == expected)
    }
}
