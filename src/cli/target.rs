//! Which broker a command talks to: the arguments that every client command shares.

use std::time::Duration;

use clap::Args;

use crate::client::{Client, ClientError, Options};

#[derive(Args, Clone)]
pub struct Target {
    /// Brokers to ask first, separated by commas; the port is 9092 where none is given
    #[arg(
        short = 'b',
        long,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9092",
        env = "KAFKA_BOOTSTRAP_SERVERS"
    )]
    pub bootstrap: String,
    /// Print JSON for machines, errors included
    #[arg(long)]
    pub json: bool,
    /// Seconds to wait for one answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub timeout: u64,
}

impl Target {
    pub fn options(&self) -> Options {
        Options { request_timeout: Duration::from_secs(self.timeout.max(1)), ..Options::new(&self.bootstrap) }
    }

    pub fn connect(&self) -> Result<Client, ClientError> {
        Client::connect(self.options())
    }
}
