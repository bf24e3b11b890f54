//! Kafka's configuration keys, their values here, and the server.properties file.
