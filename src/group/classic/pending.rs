//! Ids that were given out and have not joined yet, counted for their group and for its coordinator.

use std::cell::Cell;
use std::rc::Rc;

use ahash::AHashSet;
use kafka_protocol::error::ResponseError;

use super::super::bounds;
use super::super::held::{self, Held};

/// The ids of one group. What goes with it is given back to the coordinator's count.
#[derive(Debug, Default)]
pub struct Pending {
    ids: AHashSet<Rc<str>>,
    bytes: Held,
    /// The bytes of all groups of the coordinator.
    of_all: Rc<Cell<usize>>,
}

impl Pending {
    pub fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    pub fn get(&self, id: &str) -> Option<&Rc<str>> {
        self.ids.get(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Rc<str>> {
        self.ids.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Keeps an id that nobody has; `of_all` is the coordinator's count, the same at each call.
    ///
    /// # Errors
    /// GROUP_MAX_SIZE_REACHED where the group has given out too many, COORDINATOR_NOT_AVAILABLE where all have,
    /// or the groups of the core take all the memory that they may.
    pub fn add(&mut self, id: Rc<str>, of_all: &Rc<Cell<usize>>) -> Result<(), ResponseError> {
        let bytes = counted(id.len());
        if self.bytes.get() + bytes > bounds::PENDING_BYTES_MAX {
            return Err(ResponseError::GroupMaxSizeReached);
        }
        if !has_room(of_all, id.len()) {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        if self.ids.insert(id) {
            self.bytes += bytes;
            of_all.set(of_all.get() + bytes);
            self.of_all = of_all.clone();
        }
        Ok(())
    }

    pub fn remove(&mut self, id: &str) {
        if self.ids.remove(id) {
            self.bytes -= counted(id.len());
            self.of_all.set(self.of_all.get() - counted(id.len()));
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.of_all.set(self.of_all.get() - self.bytes.get());
    }
}

/// Whether the coordinator may keep one more id of `id_bytes`.
pub fn has_room(of_all: &Cell<usize>, id_bytes: usize) -> bool {
    let bytes = counted(id_bytes);
    of_all.get() + bytes <= bounds::COORDINATOR_PENDING_BYTES_MAX && bytes <= held::room()
}

fn counted(id_bytes: usize) -> usize {
    id_bytes + bounds::PENDING_OVERHEAD_BYTES
}

#[cfg(test)]
impl Pending {
    /// Checks that what is counted is there; gives the bytes.
    ///
    /// # Panics
    /// Where it is not.
    pub fn check(&self) -> usize {
        assert_eq!(self.bytes.get(), self.ids.iter().map(|id| counted(id.len())).sum::<usize>());
        self.bytes.get()
    }
}
