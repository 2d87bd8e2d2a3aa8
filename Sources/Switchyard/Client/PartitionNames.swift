import RedisClient

/// The names of the partitions of a queue in a Redis Cluster: `Q` for the first, and `Q/k` for the others, with numbers
/// that put the partitions into hash slots as far apart as possible. The primaries of a Cluster usually have ranges of
/// slots of the same size, so they get the same number of partitions, or nearly.
///
/// The numbers follow from the queue's name and the number of partitions alone. They must never change, because tasks
/// are stored by them.
package enum PartitionNames {
    /// The largest number in a name.
    package static let largest = 99

    /// Returns the numbers of the partitions, in their order; the first is 0.
    ///
    /// The targets are `count` slots at equal distances, from the slot of `{Q}` on, around the end of the slots. Each
    /// partition in turn gets the number, of those that are left, whose slot is nearest to its target; of two that are
    /// as near, the lower one.
    package static func numbers(queue: String, count: Int) -> [Int] {
        var slots: [Int: Int] = [:]
        for number in 1...largest { slots[number] = slot(queue: queue, number: number) }
        let first = slot(queue: queue, number: 0)
        var numbers = [0]
        for index in 1..<max(count, 1) {
            let target = (first + HashSlot.count * index / count) % HashSlot.count
            let nearest = slots.min { (distance($0.value, target), $0.key) < (distance($1.value, target), $1.key) }
            guard let nearest else { break }
            slots[nearest.key] = nil
            numbers.append(nearest.key)
        }
        return numbers
    }

    /// Returns the hash slot of a partition.
    package static func slot(queue: String, number: Int) -> Int {
        HashSlot.of(key: Keys(queue: queue, number: number).prefix.utf8)
    }

    private static func distance(_ slot: Int, _ other: Int) -> Int {
        let distance = abs(slot - other)
        return min(distance, HashSlot.count - distance)
    }
}
