/// The hash slots of Redis Cluster: CRC16 in the XMODEM form, modulo 16384.
package enum HashSlot {
    /// The number of slots.
    package static let count = 16384

    /// Returns the slot of a key: of the text in its first pair of braces, if that is not empty, or else of the whole.
    package static func of(key: some Sequence<UInt8>) -> Int {
        let key = ContiguousArray(key)
        guard let open = key.firstIndex(of: UInt8(ascii: "{")),
            let close = key[(open + 1)...].firstIndex(of: UInt8(ascii: "}")), close > open + 1
        else { return of(bytes: key) }
        return of(bytes: key[(open + 1)..<close])
    }

    /// Returns the slot of bytes, braces or not.
    package static func of(bytes: some Sequence<UInt8>) -> Int {
        var crc: UInt16 = 0
        for byte in bytes { crc = crc << 8 ^ table[Int(UInt8(truncatingIfNeeded: crc >> 8) ^ byte)] }
        return Int(crc) % count
    }

    private static let table: [UInt16] = (0..<256).map { byte in
        (0..<8).reduce(UInt16(byte) << 8) { crc, _ in crc & 0x8000 == 0 ? crc << 1 : crc << 1 ^ 0x1021 }
    }
}
