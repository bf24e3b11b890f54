//! The `uniform` assignor for a group whose members all subscribe to the same topics.
//!
//! Every member is due the same number of partitions, and the remainder one more. A member keeps what it has
//! up to its due; what is over, and what nobody has, goes to those who are short. So no partition moves that
//! need not, and members' counts differ by at most one.

use super::assignment::id_order;
use super::owners::{NOBODY, Owners, order_by_id};
use super::{Assignments, AssignorError, Spec};

pub(super) fn assign(spec: &Spec) -> Result<Assignments, AssignorError> {
    let order = order_by_id(spec);
    let Some(first) = order.first() else { return Ok(Vec::new()) };
    let mut topics = spec.members[*first].subscribed.to_vec();
    topics.sort_unstable_by_key(|topic| id_order(*topic));
    topics.dedup();
    let mut owners = Owners::new(spec, topics)?;

    // What each member keeps, member after member; `kept_ends` says where each ends.
    let mut kept = Vec::with_capacity(owners.slot_count());
    let mut kept_ends = Vec::with_capacity(order.len());
    for (position, index) in order.iter().enumerate() {
        owners.keep(position as u32, &spec.members[*index].owned, |_| true, |slot| kept.push(slot));
        kept_ends.push(kept.len());
    }
    let mut free: Vec<usize> =
        (0..owners.slot_count()).filter(|slot| owners.owner(*slot) == NOBODY).collect();

    let least_due = owners.slot_count() / order.len();
    let mut extras = owners.slot_count() % order.len();
    let mut short = Vec::new();
    let mut begin = 0;
    for (position, end) in kept_ends.into_iter().enumerate() {
        let own = &kept[begin..end];
        begin = end;
        let mut due = least_due + usize::from(extras > 0);
        free.extend(own.iter().skip(due));
        // One that does not fill its extra place leaves it to a later member, as long as there are enough.
        if extras > 0 {
            if own.len() < due && order.len() - position > extras {
                due -= 1;
            } else {
                extras -= 1;
            }
        }
        if own.len() < due {
            short.push((position as u32, due - own.len()));
        }
    }

    let mut free = free.into_iter();
    for (member, missing) in short {
        free.by_ref().take(missing).for_each(|slot| owners.give(slot, member));
    }
    debug_assert!(free.next().is_none(), "the members' dues add up to all partitions");
    Ok(owners.into_assignments(spec, &order))
}
