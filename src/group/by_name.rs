//! The groups of a coordinator by name, and the bytes that their names take: what makes a group has to ask whether
//! there is room for it.

use std::ops::Deref;
use std::rc::Rc;

use ahash::AHashMap;

use super::held::{self, Held};
use super::{Group, bounds};

/// Groups by name. It is read as a map; what comes and goes is counted.
#[derive(Debug, Default)]
pub struct ByName {
    groups: AHashMap<Rc<str>, Group>,
    bytes: Held,
}

impl Deref for ByName {
    type Target = AHashMap<Rc<str>, Group>;

    fn deref(&self) -> &Self::Target {
        &self.groups
    }
}

impl ByName {
    /// Whether there is a group of that name, or may be one more.
    pub fn has_room_for(&self, name: &str) -> bool {
        let bytes = counted(name);
        (self.bytes.get() + bytes <= bounds::COORDINATOR_GROUPS_BYTES_MAX && bytes <= held::room())
            || self.groups.contains_key(name)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Group> {
        self.groups.get_mut(name)
    }

    /// Puts a group there; gives the one before.
    pub fn insert(&mut self, name: Rc<str>, group: Group) -> Option<Group> {
        let bytes = counted(&name);
        let before = self.groups.insert(name, group);
        if before.is_none() {
            self.bytes += bytes;
        }
        before
    }

    pub fn remove(&mut self, name: &str) -> Option<Group> {
        let group = self.groups.remove(name)?;
        self.bytes -= counted(name);
        Some(group)
    }
}

fn counted(name: &str) -> usize {
    name.len() + bounds::GROUP_OVERHEAD_BYTES
}

#[cfg(test)]
impl ByName {
    /// Checks that what is counted is there.
    ///
    /// # Panics
    /// Where it is not.
    pub fn check(&self) {
        assert_eq!(self.bytes.get(), self.groups.keys().map(|name| counted(name)).sum::<usize>());
    }
}
