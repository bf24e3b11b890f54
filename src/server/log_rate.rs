//! A bound on how often one kind of line is logged: so many a second, then silence until the next.

use std::cell::Cell;

use crate::clock;

/// Allows a number of lines in each second. One core's.
pub struct Rate {
    per_second: u32,
    second: Cell<u64>,
    used: Cell<u32>,
}

impl Rate {
    pub fn per_second(per_second: u32) -> Rate {
        Rate { per_second, second: Cell::new(0), used: Cell::new(0) }
    }

    /// Whether one more line may be logged now.
    pub fn allows(&self) -> bool {
        self.allows_at(clock::monotonic_ms() / 1000)
    }

    fn allows_at(&self, second: u64) -> bool {
        if self.second.replace(second) != second {
            self.used.set(0);
        }
        let used = self.used.get();
        self.used.set(used.saturating_add(1));
        used < self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_so_many_lines_in_each_second() {
        let rate = Rate::per_second(2);
        let seen: Vec<bool> = [7, 7, 7, 8].into_iter().map(|second| rate.allows_at(second)).collect();
        assert_eq!(seen, [true, true, false, true]);
    }
}
