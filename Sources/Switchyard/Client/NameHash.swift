/// The hash that spreads names over partitions: the hash slot that Redis Cluster gives to a key of this name. Any Redis
/// client library can compute it (`key_slot` in redis-py, `CLUSTER KEYSLOT` of a server in cluster mode).
///
/// It is CRC16 in the XMODEM form, modulo 16384. It must never change, because tasks are stored by it.
enum NameHash {
    static func slot(_ name: String) -> Int {
        var crc: UInt16 = 0
        for byte in name.utf8 { crc = crc << 8 ^ table[Int(UInt8(truncatingIfNeeded: crc >> 8) ^ byte)] }
        return Int(crc % 16384)
    }

    private static let table: [UInt16] = (0..<256).map { byte in
        (0..<8).reduce(UInt16(byte) << 8) { crc, _ in crc & 0x8000 == 0 ? crc << 1 : crc << 1 ^ 0x1021 }
    }
}
