import RedisClient

/// The hash that spreads names over partitions: the hash slot that Redis Cluster gives to a key of this name. Any Redis
/// client library can compute it (`key_slot` in redis-py, `CLUSTER KEYSLOT` of a server in cluster mode).
///
/// It is CRC16 in the XMODEM form, modulo 16384. It must never change, because tasks are stored by it.
enum NameHash {
    static func slot(_ name: String) -> Int { HashSlot.of(bytes: name.utf8) }
}
