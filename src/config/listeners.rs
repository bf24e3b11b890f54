//! `listeners`, `advertised.listeners` and the map from a listener's name to its security protocol.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::error::ConfigError;

/// How bytes travel on a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    /// The protocol of this name, in any case.
    pub fn from_name(name: &str) -> Option<SecurityProtocol> {
        Some(match name.to_ascii_uppercase().as_str() {
            "PLAINTEXT" => SecurityProtocol::Plaintext,
            "SSL" => SecurityProtocol::Ssl,
            "SASL_PLAINTEXT" => SecurityProtocol::SaslPlaintext,
            "SASL_SSL" => SecurityProtocol::SaslSsl,
            _ => return None,
        })
    }

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    /// The number in EndPoint records.
    pub fn wire(self) -> i16 {
        match self {
            SecurityProtocol::Plaintext => 0,
            SecurityProtocol::Ssl => 1,
            SecurityProtocol::SaslPlaintext => 2,
            SecurityProtocol::SaslSsl => 3,
        }
    }
}

/// A named address. As one to listen at, an empty host means every address; as one that is advertised, it
/// means this host's own name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// In capitals, as Kafka normalises it.
    pub name: String,
    pub protocol: SecurityProtocol,
    pub host: String,
    pub port: u16,
}

/// An address that clients are told.
pub type AdvertisedListener = Listener;

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.name, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.name, self.host, self.port)
        }
    }
}

/// Which protocol each listener name has.
pub(super) type ProtocolMap = BTreeMap<String, SecurityProtocol>;

/// The names in a comma-separated list, without blanks and empty ones.
pub(super) fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Kafka's effective `listener.security.protocol.map`: when nobody set it, controller listeners without
/// TLS and SASL anywhere are PLAINTEXT.
///
/// # Errors
/// INVALID_CONFIG for a pair that is none and for a protocol that is none.
pub(super) fn protocol_map(
    map: &str,
    set: bool,
    controller_names: &[String],
    listeners: &str,
) -> Result<ProtocolMap, ConfigError> {
    const KEY: &str = "listener.security.protocol.map";
    let mut protocols = ProtocolMap::new();
    for pair in names(map) {
        let (name, protocol) = pair.rsplit_once(':').ok_or_else(|| {
            ConfigError::config(format!(
                "Error parsing configuration property '{KEY}': {pair} is not of the form NAME:PROTOCOL"
            ))
        })?;
        let known = SecurityProtocol::from_name(protocol.trim()).ok_or_else(|| {
            ConfigError::config(format!("Invalid security protocol `{}` defined in {KEY}", protocol.trim()))
        })?;
        protocols.insert(name.trim().to_uppercase(), known);
    }
    let secured = |name: &str| matches!(name, "SSL" | "SASL_SSL" | "SASL_PLAINTEXT");
    let listener_name = |entry: &String| entry.split(':').next().unwrap_or_default().to_uppercase();
    let any_secured = controller_names.iter().any(|name| secured(name))
        || names(listeners).iter().map(listener_name).any(|name| secured(&name));
    if !set && !any_secured {
        for name in controller_names {
            protocols.entry(name.to_uppercase()).or_insert(SecurityProtocol::Plaintext);
        }
    }
    Ok(protocols)
}

/// Reads a list such as `PLAINTEXT://:9092,INTERNAL://[::1]:9093`.
///
/// # Errors
/// INVALID_CONFIG for what is no address, a name without protocol, a name or (when `distinct_ports`) a
/// port that comes twice. Two listeners may share a port where one is IPv4 and the other IPv6, or it is 0.
pub(super) fn parse(
    text: &str,
    protocols: &ProtocolMap,
    distinct_ports: bool,
) -> Result<Vec<Listener>, ConfigError> {
    let listeners =
        names(text).iter().map(|entry| one(entry, protocols)).collect::<Result<Vec<_>, _>>().map_err(
            |why| ConfigError::config(format!("Error creating broker listeners from '{text}': {why}")),
        )?;
    let repeated = |same: &dyn Fn(&Listener, &Listener) -> bool| {
        listeners.iter().enumerate().any(|(at, a)| listeners[..at].iter().any(|b| same(a, b)))
    };
    if repeated(&|a, b| a.name == b.name) {
        return Err(ConfigError::config(format!(
            "Each listener must have a different name, listeners: {text}"
        )));
    }
    let families_differ = |a: &Listener, b: &Listener| match (a.host.parse(), b.host.parse()) {
        (Ok(IpAddr::V4(_)), Ok(IpAddr::V6(_))) | (Ok(IpAddr::V6(_)), Ok(IpAddr::V4(_))) => true,
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    };
    if distinct_ports && repeated(&|a, b| a.port != 0 && a.port == b.port && !families_differ(a, b)) {
        return Err(ConfigError::config(format!(
            "Each listener must have a different port unless exactly one listener has an IPv4 address and \
             the other IPv6 address, listeners: {text}"
        )));
    }
    Ok(listeners)
}

fn one(entry: &str, protocols: &ProtocolMap) -> Result<Listener, String> {
    let unreadable = || {
        format!(
            "Unable to parse {entry} to a broker endpoint; write it as NAME://host:port, such as PLAINTEXT://:9092"
        )
    };
    let (name, address) = entry.split_once("://").ok_or_else(unreadable)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(unreadable)?;
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._%:".contains(c);
    let host = bracketed.unwrap_or(host);
    if name.is_empty() || !host.chars().all(legal) {
        return Err(unreadable());
    }
    let port: u16 = port.parse().map_err(|_| unreadable())?;
    let name = name.to_uppercase();
    let protocol = *protocols.get(&name).ok_or_else(|| {
        format!(
            "No security protocol defined for listener {name}; add it to listener.security.protocol.map, \
             such as {name}:PLAINTEXT"
        )
    })?;
    Ok(Listener { name, protocol, host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> ProtocolMap {
        protocol_map("PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,EXTERNAL:SASL_SSL", true, &[], "").expect("good")
    }

    #[test]
    fn reads_names_hosts_and_ports() {
        let text = "PLAINTEXT://:9092, internal://[::1]:9093,EXTERNAL://broker-1.example.com:0";
        let listeners = parse(text, &map(), true).expect("good");
        let shown: Vec<String> = listeners.iter().map(Listener::to_string).collect();
        assert_eq!(
            shown,
            ["PLAINTEXT://:9092", "INTERNAL://[::1]:9093", "EXTERNAL://broker-1.example.com:0"]
        );
        assert_eq!(listeners[2].protocol, SecurityProtocol::SaslSsl);
    }

    #[test]
    fn refuses_what_cannot_stand() {
        for (text, why) in [
            ("PLAINTEXT:9092", "Unable to parse"),
            ("PLAINTEXT://:70000", "Unable to parse"),
            ("OTHER://:1", "No security protocol defined for listener OTHER"),
            ("PLAINTEXT://:1,INTERNAL://:1", "different port"),
            ("PLAINTEXT://:1,PLAINTEXT://:2", "different name"),
        ] {
            let error = parse(text, &map(), true).expect_err(text);
            assert!(error.message.contains(why), "{error}");
        }
        parse("PLAINTEXT://127.0.0.1:1,INTERNAL://[::1]:1", &map(), true).expect("two families");
        parse("PLAINTEXT://a:1,INTERNAL://b:1", &map(), false).expect("advertised ports may repeat");
    }

    #[test]
    fn controller_listeners_are_plaintext_unless_said_otherwise() {
        let controller = ["CONTROLLER".to_owned()];
        let implied = protocol_map("PLAINTEXT:PLAINTEXT", false, &controller, "PLAINTEXT://:1");
        assert!(implied.expect("good").contains_key("CONTROLLER"));
        let explicit = protocol_map("PLAINTEXT:PLAINTEXT", true, &controller, "PLAINTEXT://:1");
        assert!(!explicit.expect("good").contains_key("CONTROLLER"));
        let secured = protocol_map("SSL:SSL", false, &controller, "SSL://:1");
        assert!(!secured.expect("good").contains_key("CONTROLLER"));
    }
}
