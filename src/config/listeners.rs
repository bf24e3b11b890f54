//! `listeners`, `advertised.listeners` and the map from a listener's name to its security protocol.

/// How bytes travel on a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

/// An address to listen at. An empty host means every address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    pub name: String,
    pub protocol: SecurityProtocol,
    pub host: String,
    pub port: u16,
}

/// An address that clients are told. An empty host means "this host's name".
pub type AdvertisedListener = Listener;
