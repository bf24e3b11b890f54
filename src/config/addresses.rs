//! The listeners of a broker, sorted into the clients' and the controller's, and the rules between them.

use std::collections::{BTreeMap, BTreeSet};

use super::error::ConfigError;
use super::layers;
use super::listeners::{self, AdvertisedListener, Listener, SecurityProtocol};
use super::rules::require;
use super::server::ServerConfig;
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
        let advertised = match typed.text("advertised.listeners") {
            Some(text) => listeners::parse(text, &protocols, false)?,
            None => bound.clone(),
        };
        let is_known =
            |name: &String| names.contains(name) || advertised.iter().any(|listener| listener.name == *name);
        require(
            controller_names.is_empty() || controller_names.iter().any(is_known),
            "controller.listener.names must contain at least one value appearing in the 'listeners' \
             configuration when running the KRaft controller role",
        )?;
        require(
            controller_names.iter().all(|name| names.contains(name)),
            "controller.listener.names must only contain values appearing in the 'listeners' configuration \
             when running the KRaft controller role",
        )?;
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

/// What may not change of the listeners while they are open, as Kafka's `DynamicListenerConfig` has it: what is
/// advertised stays, and a listener that stays keeps its protocol and the keys of its own. Its address may be
/// another one; that counts from the next start on.
///
/// # Errors
/// Kafka's sentence.
pub(super) fn check_change(old: &ServerConfig, new: &ServerConfig) -> Result<(), String> {
    let (before, after) = (all_listeners(old), all_listeners(new));
    let advertised = || old.advertised_listeners.iter().map(|listener| listener.name.as_str());
    if !advertised().all(|name| after.iter().any(|listener| listener.name == name)) {
        return Err(format!(
            "Advertised listeners '{}' must be a subset of listeners '{}'",
            scala_set(advertised()),
            scala_set(names_in_order(new).iter().map(String::as_str))
        ));
    }
    for listener in after {
        let Some(same) = before.iter().find(|same| same.name == listener.name) else { continue };
        let name = &listener.name;
        if fixed_keys(old, name).ne(fixed_keys(new, name)) {
            return Err(format!(
                "Configs cannot be updated dynamically for existing listener ListenerName({name}), restart \
                 broker or create a new listener for update"
            ));
        }
        if same.protocol != listener.protocol {
            return Err(format!(
                "Security protocol cannot be updated for existing listener ListenerName({name})"
            ));
        }
    }
    Ok(())
}

fn all_listeners(server: &ServerConfig) -> Vec<&Listener> {
    server.listeners.iter().chain(&server.controller_listeners).collect()
}

fn names_in_order(server: &ServerConfig) -> Vec<String> {
    let entries = listeners::names(server.text("listeners").unwrap_or_default());
    let name = |entry: &String| entry.split("://").next().unwrap_or_default().to_uppercase();
    entries.iter().map(name).collect()
}

/// A listener's own keys, but for those that may change while it is open.
fn fixed_keys<'a>(server: &'a ServerConfig, name: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let prefix = format!("listener.name.{}.", name.to_lowercase());
    server.all.iter().filter_map(move |(key, value)| {
        let key = key.strip_prefix(&prefix)?;
        let changes = layers::is_bare_security_key(key) || layers::OF_THE_CLUSTER.contains(&key);
        (!changes).then_some((key, value.as_str()))
    })
}

/// A set of listener names as Scala prints it. From five names on it has an order of its own there.
fn scala_set<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("ListenerName({name})")).collect();
    let kind = if names.len() > 4 { "HashSet" } else { "Set" };
    format!("{kind}({})", names.join(", "))
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

#[cfg(test)]
mod tests {
    use super::super::change::{Change, Op, incremental, preprocess_incremental};
    use super::super::describe::{Resource, ResourceType};
    use super::super::layers::Layers;
    use super::super::properties::Properties;
    use super::*;

    const BOTH: &str = "PLAINTEXT://127.0.0.1:19392,CONTROLLER://127.0.0.1:20392";
    const MAP: &str = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT";
    const WITH_EXTRA: &str = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,EXTRA:PLAINTEXT";

    struct Broker {
        base: Layers,
        stored: BTreeMap<String, String>,
    }

    impl Broker {
        fn start(more: &str) -> Broker {
            let file = format!(
                "listeners={BOTH}\nlistener.security.protocol.map={MAP}\nlog.dirs=/x\n\
                 controller.listener.names=CONTROLLER\noffsets.topic.replication.factor=1\n{more}"
            );
            let file = Properties::parse(&file).expect("well-formed");
            let base = Layers::new(ServerConfig::load(&file).expect("it can stand").0);
            Broker { base, stored: BTreeMap::new() }
        }

        /// Sets keys (`None` unsets); what a refusal says, or nothing.
        fn alter(&mut self, changes: &[(&str, Option<&str>)]) -> String {
            let changes: Vec<Change> = changes
                .iter()
                .map(|(name, value)| Change {
                    name: (*name).to_owned(),
                    op: if value.is_some() { Op::Set } else { Op::Delete } as i8,
                    value: value.map(str::to_owned),
                })
                .collect();
            let resource = Resource { kind: ResourceType::Broker, name: "1".to_owned() };
            let layers = self.base.with_dynamic(&BTreeMap::new(), &self.stored).0;
            if let Err(error) = preprocess_incremental(&layers, &resource, &self.stored, &changes) {
                assert_eq!(error.kind, crate::config::ErrorKind::InvalidRequest, "{error}");
                return error.message;
            }
            for write in
                incremental(&layers, &resource, &self.stored, &changes, true).expect("it was checked")
            {
                match write.value {
                    Some(value) => self.stored.insert(write.name, value),
                    None => self.stored.remove(&write.name),
                };
            }
            String::new()
        }
    }

    fn sentence(inner: &str) -> String {
        format!(
            "Invalid value org.apache.kafka.common.config.ConfigException: {inner} for configuration Invalid \
             dynamic configuration"
        )
    }

    /// Each sentence as Apache Kafka 4.1.1 gave it to the same changes.
    #[test]
    fn a_change_of_listeners_is_refused_as_kafka_refuses_it() {
        const NEEDS_CONTROLLER: &str = "requirement failed: controller.listener.names must contain at least one \
                                        value appearing in the 'listeners' configuration when running the \
                                        KRaft controller role";
        let mut broker = Broker::start("");
        let with = |more: &str| format!("{BOTH},{more}");
        let extra = with("EXTRA://127.0.0.1:19402");
        let unmapped = format!(
            "Error creating broker listeners from '{extra}': No security protocol defined for listener EXTRA"
        );
        for (listeners, map, why) in [
            (extra.as_str(), MAP, unmapped.as_str()),
            ("PLAINTEXT://127.0.0.1:19392", MAP, NEEDS_CONTROLLER),
            ("", MAP, NEEDS_CONTROLLER),
            (
                "CONTROLLER://127.0.0.1:20392,EXTRA://127.0.0.1:19402",
                WITH_EXTRA,
                "requirement failed: inter.broker.listener.name must be a listener name defined in \
                 advertised.listeners. The valid options based on currently configured listeners are EXTRA",
            ),
            (
                &with("EXTRA://0.0.0.0:19402"),
                WITH_EXTRA,
                "requirement failed: advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use \
                 a routable IP address.",
            ),
            (
                BOTH,
                "PLAINTEXT:NONE",
                "Invalid security protocol `NONE` defined in listener.security.protocol.map",
            ),
        ] {
            let said = broker
                .alter(&[("listeners", Some(listeners)), ("listener.security.protocol.map", Some(map))]);
            assert!(said.starts_with(why), "{listeners} {map}: {said}");
        }
        let controllers = "CONTROLLER:SASL_PLAINTEXT,PLAINTEXT:PLAINTEXT";
        let said = broker.alter(&[("listener.security.protocol.map", Some(controllers))]);
        let protocol = "Security protocol cannot be updated for existing listener ListenerName(CONTROLLER)";
        assert_eq!(said, sentence(protocol));
    }

    #[test]
    fn what_is_advertised_stays_and_what_is_not_may_go() {
        const LISTENERS: &str = "listeners";
        let with_extra = format!("{BOTH},EXTRA://127.0.0.1:19402");
        let moved = format!("{BOTH},EXTRA://127.0.0.1:19403");
        let mapped = ("listener.security.protocol.map", Some(WITH_EXTRA));
        let mut broker = Broker::start("");
        assert_eq!(broker.alter(&[(LISTENERS, Some(&with_extra)), mapped]), "");
        assert_eq!(
            broker.alter(&[(LISTENERS, Some(&moved))]),
            "",
            "an address counts from the next start on"
        );
        let stays = sentence(
            "Advertised listeners 'Set(ListenerName(PLAINTEXT), ListenerName(EXTRA))' must be a subset of \
             listeners 'Set(ListenerName(PLAINTEXT), ListenerName(CONTROLLER))'",
        );
        assert_eq!(broker.alter(&[(LISTENERS, Some(BOTH))]), stays);
        assert_eq!(broker.alter(&[(LISTENERS, None)]), stays);

        let mut broker = Broker::start("advertised.listeners=PLAINTEXT://127.0.0.1:19392\n");
        assert_eq!(broker.alter(&[(LISTENERS, Some(&with_extra)), mapped]), "");
        let own_key = ("listener.name.extra.sasl.enabled.mechanisms", Some("PLAIN"));
        let said = broker.alter(&[(LISTENERS, Some(&moved)), own_key]);
        let fixed = "Configs cannot be updated dynamically for existing listener ListenerName(EXTRA), restart \
                     broker or create a new listener for update";
        assert_eq!(said, sentence(fixed));
        assert_eq!(broker.alter(&[(LISTENERS, None)]), "");
    }
}
