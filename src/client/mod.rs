//! One small Kafka client for the command line (and later for followers).
