//! Cores and what they are made of: executors, the socket ring, sockets, pipes, mailboxes, broadcast.
