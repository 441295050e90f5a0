import Synchronization

/// A value that is given once and awaited once, by a task whose cancellation does not end the wait.
package final class OneAnswer<Value: Sendable>: Sendable {
    private struct State: Sendable {
        var waiting: CheckedContinuation<Value, Never>?
        var given: Value?
    }

    private let state = Mutex(State())

    package init() {}

    /// Gives it, unless it was given before.
    ///
    /// - Returns: whether it was this call that gave it.
    @discardableResult
    package func give(_ value: Value) -> Bool {
        let (isFirst, waiting) = state.withLock { state -> (Bool, CheckedContinuation<Value, Never>?) in
            guard state.given == nil else { return (false, nil) }
            state.given = value
            return (true, state.waiting.take())
        }
        waiting?.resume(returning: value)
        return isFirst
    }

    /// Waits for it.
    package func value() async -> Value {
        await withCheckedContinuation { continuation in
            let given = state.withLock { state -> Value? in
                if state.given == nil { state.waiting = continuation }
                return state.given
            }
            if let given { continuation.resume(returning: given) }
        }
    }
}
