//! File slices to sockets without user space: splice through a pipe borrowed from the core.
