//! A partition's log on disk: segments, indexes, producer state, recovery, retention. Knows no replication.
