//! Bytes that the groups of a core keep in memory, counted as they come and go, and one bound over all of them.
//!
//! Every coordinator of a core counts here, so that many groups, each within its own [`bounds`](super::bounds), or
//! many offsets do not take the memory that the machine needs for the log. What is read back from the log at a
//! start is counted and kept whatever it comes to.

use std::cell::Cell;
use std::ops::{AddAssign, SubAssign};

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MAX: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Sets how many bytes the groups of this core may keep.
pub fn set_bound(bytes_max: usize) {
    MAX.set(bytes_max);
}

/// How many bytes more the groups of this core may keep.
pub fn room() -> usize {
    MAX.get().saturating_sub(HELD.get())
}

/// A count of bytes that is part of its core's for as long as it lives.
#[derive(Debug, Default)]
pub struct Held(usize);

impl Held {
    pub fn get(&self) -> usize {
        self.0
    }
}

impl AddAssign<usize> for Held {
    fn add_assign(&mut self, bytes: usize) {
        self.0 += bytes;
        HELD.set(HELD.get() + bytes);
    }
}

impl SubAssign<usize> for Held {
    fn sub_assign(&mut self, bytes: usize) {
        self.0 -= bytes;
        HELD.set(HELD.get() - bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A thread that ends may drop its groups behind its count.
        let _ended = HELD.try_with(|held| held.set(held.get() - self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_given_back_to_the_core() {
        set_bound(100);
        let (mut one, mut other) = (Held::default(), Held::default());
        one += 70;
        other += 50;
        assert_eq!((one.get(), room()), (70, 0));
        other -= 30;
        assert_eq!(room(), 10);
        drop(one);
        assert_eq!(room(), 80);
    }
}
