/// Events in the order of their times; events of the same time in the order of their addition.
struct EventQueue<Event> {
    private var heap: [(time: Int, number: Int, event: Event)] = []
    private var added = 0

    mutating func add(_ event: Event, at time: Int) {
        heap.append((time, added, event))
        added += 1
        var child = heap.count - 1
        while child > 0, isBefore(child, (child - 1) / 2) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    /// Removes and returns the next event unless it comes after `horizon`.
    mutating func next(until horizon: Int) -> (time: Int, event: Event)? {
        guard let first = heap.first, first.time <= horizon else { return nil }
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && isBefore(child, least) {
                least = child
            }
            if least == parent { break }
            heap.swapAt(parent, least)
            parent = least
        }
        return (first.time, first.event)
    }

    private func isBefore(_ left: Int, _ right: Int) -> Bool {
        (heap[left].time, heap[left].number) < (heap[right].time, heap[right].number)
    }
}
