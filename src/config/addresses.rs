//! The listeners of a broker, sorted into the clients' and the controller's, and the rules between them.

use std::collections::{BTreeMap, BTreeSet};

use super::error::ConfigError;
use super::listeners::{self, AdvertisedListener, Listener, SecurityProtocol};
use super::rules::{REQUIREMENT_FAILED, require};
use super::typed::Typed;

/// The listeners, sorted into ours and the controller's.
pub(super) struct Addresses {
    pub(super) listeners: Vec<Listener>,
    pub(super) advertised: Vec<AdvertisedListener>,
    pub(super) controllers: Vec<Listener>,
    pub(super) controller_names: Vec<String>,
    pub(super) inter_broker: String,
}

impl Addresses {
    pub(super) fn resolve(typed: &Typed, all: &BTreeMap<String, String>) -> Result<Addresses, ConfigError> {
        const MAP: &str = "listener.security.protocol.map";
        let controller_names = listeners::names(typed.text("controller.listener.names").unwrap_or_default());
        let text = typed.text("listeners").unwrap_or_default();
        let map = typed.text(MAP).unwrap_or_default();
        let protocols = listeners::protocol_map(map, all.contains_key(MAP), &controller_names, text)?;
        let bound = listeners::parse(text, &protocols, true)?;
        let names: BTreeSet<String> = bound.iter().map(|listener| listener.name.clone()).collect();
        let is_controller = |listener: &Listener| controller_names.contains(&listener.name);
        if !controller_names.iter().all(|name| names.contains(name)) {
            return Err(ConfigError::config(format!(
                "{REQUIREMENT_FAILED}controller.listener.names must only contain values appearing in the \
                 'listeners' configuration when running the KRaft controller role"
            )));
        }
        let advertised = match typed.text("advertised.listeners") {
            Some(text) => listeners::parse(text, &protocols, false)?,
            None => bound.clone(),
        };
        // Where nothing is advertised by name, a controller may listen at every address.
        let explicit = typed.text("advertised.listeners").is_some();
        let nonroutable = advertised.iter().any(|a| a.host == "0.0.0.0" && (explicit || !is_controller(a)));
        let advertised: Vec<Listener> = advertised.into_iter().filter(|a| !is_controller(a)).collect();
        let inter_broker = inter_broker(typed, all, &protocols)?;
        check_advertised(&advertised, &inter_broker, &names)?;
        require(
            !nonroutable,
            "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address.",
        )?;
        let (controllers, listeners): (Vec<_>, Vec<_>) = bound.into_iter().partition(is_controller);
        if let Some(secured) = listeners.iter().find(|l| l.protocol != SecurityProtocol::Plaintext) {
            return Err(ConfigError::config(format!(
                "Listener {} is {}, and only PLAINTEXT works yet: set listener.security.protocol.map={}:PLAINTEXT \
                 or leave the listener out",
                secured.name,
                secured.protocol.name(),
                secured.name
            )));
        }
        Ok(Addresses { listeners, advertised, controllers, controller_names, inter_broker })
    }
}

fn inter_broker(
    typed: &Typed,
    all: &BTreeMap<String, String>,
    protocols: &listeners::ProtocolMap,
) -> Result<String, ConfigError> {
    let Some(name) = typed.text("inter.broker.listener.name") else {
        return Ok(typed.text("security.inter.broker.protocol").unwrap_or("PLAINTEXT").to_owned());
    };
    if all.contains_key("security.inter.broker.protocol") {
        return Err(ConfigError::config(
            "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.",
        ));
    }
    let name = name.to_uppercase();
    if !protocols.contains_key(&name) {
        return Err(ConfigError::config(format!(
            "Listener with name {name} defined in inter.broker.listener.name not found in \
             listener.security.protocol.map."
        )));
    }
    Ok(name)
}

fn check_advertised(
    advertised: &[AdvertisedListener],
    inter_broker: &str,
    bound: &BTreeSet<String>,
) -> Result<(), ConfigError> {
    let names: Vec<&str> = advertised.iter().map(|listener| listener.name.as_str()).collect();
    require(
        !names.is_empty(),
        "There must be at least one broker advertised listener. Perhaps all listeners appear in \
         controller.listener.names?",
    )?;
    require(
        names.contains(&inter_broker),
        &format!(
            "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid \
             options based on currently configured listeners are {}",
            names.join(",")
        ),
    )?;
    let known: Vec<&str> = bound.iter().map(String::as_str).collect();
    require(
        names.iter().all(|name| known.contains(name)),
        &format!(
            "advertised.listeners listener names must be equal to or a subset of the ones defined in \
             listeners. Found {}. The valid options based on the current configuration are {}",
            names.join(","),
            known.join(",")
        ),
    )
}
