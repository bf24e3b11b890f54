//! What a broker does with its partitions: role and watermarks, appends, reads, waiters.
