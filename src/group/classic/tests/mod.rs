//! Rules of classic groups, one test each.
