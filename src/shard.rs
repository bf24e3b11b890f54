//! All that one core owns, and the order in which it starts and stops.
