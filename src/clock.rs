//! Time as the broker uses it: wall-clock milliseconds for what is stored or sent, monotonic milliseconds
//! for time-outs.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 by the system clock.
pub fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds since the process first asked; never goes back.
pub fn monotonic_ms() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The time that a decision is made at, by both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Milliseconds since 1970: what is stored or sent.
    pub wall_ms: i64,
    /// Milliseconds of [`monotonic_ms`]: what time-outs are counted in.
    pub ticks_ms: u64,
}

/// The time now.
pub fn now() -> Now {
    Now { wall_ms: wall_ms(), ticks_ms: monotonic_ms() }
}
