//! Listeners: each port bound once by trial, then accepted on every core; limits on connections.
//!
//! The counts are the process's: `max.connections` over all, and no more than the limit of open files leaves
//! room for; `max.connections.per.ip` by address. The limits are
//! those of the moment; what is open when one is lowered stays. A connection past a limit is closed at once,
//! and said at a bounded rate.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::config::{Listener as ListenerConfig, SecurityProtocol, ServerConfig};
use crate::runtime::socket::Listeners;
use crate::shard::Endpoint;

/// How long a port of a broker that was killed may stay taken; measured at 10 to 60 ms.
const RING_TEARDOWN: Duration = Duration::from_millis(750);

/// A listener whose port is taken for this process.
pub struct Bound {
    pub name: Arc<str>,
    pub listeners: Listeners,
    /// What clients are told that come by it; none where `advertised.listeners` leaves it out.
    pub endpoint: Option<Endpoint>,
}

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "listener {name}: {host}:{port} is in use; stop what listens there, or choose another port with -o listeners={name}://{host}:PORT"
    )]
    InUse { name: String, host: String, port: u16 },
    #[error(
        "listener {name}: cannot listen on {host}:{port}: {error}; name an address of this host in listeners"
    )]
    Io { name: String, host: String, port: u16, error: io::Error },
    #[error("listener {name}: the protocol {protocol:?} is not served yet; use PLAINTEXT")]
    Protocol { name: String, protocol: SecurityProtocol },
}

/// Takes the ports of all client listeners of `server`. A listener that is not in the `file` came by a dynamic
/// key: where it cannot be bound, it is left out or gives way to the file's of that name, so that no change
/// that was once made while running keeps the broker from starting.
pub fn bind_all(server: &ServerConfig, file: &ServerConfig, cores: usize) -> Result<Vec<Bound>, ListenError> {
    let mut bound: Vec<Option<Bound>> = server.listeners.iter().map(|_| None).collect();
    let own = |listener: &ListenerConfig| file.listeners.iter().find(|own| own.name == listener.name);
    // Those of the file first, so that none that came later has taken the port that they fall back on.
    for is_own in [true, false] {
        let places = bound.iter_mut().zip(&server.listeners);
        for (place, listener) in places.filter(|(_, listener)| own(listener).is_some() == is_own) {
            *place = match bind(listener, server, cores) {
                Ok(bound) => Some(bound),
                Err(error) if file.listeners.contains(listener) => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "a listener of the dynamic configuration is not open");
                    own(listener).map(|own| bind(own, file, cores)).transpose()?
                }
            };
        }
    }
    Ok(bound.into_iter().flatten().collect())
}

/// What `server` has a listener advertise that is bound to `port`.
fn endpoint(listener: &ListenerConfig, server: &ServerConfig, port: u16) -> Option<Endpoint> {
    let advertised =
        server.advertised_listeners.iter().find(|advertised| advertised.name == listener.name)?;
    let host = if advertised.host.is_empty() { own_host_name() } else { advertised.host.clone() };
    let port = if advertised.port == 0 { port } else { advertised.port };
    Some(Endpoint { listener: advertised.name.as_str().into(), host, port })
}

/// Takes the port of one listener; blocks while its host is looked up.
pub fn bind(listener: &ListenerConfig, server: &ServerConfig, cores: usize) -> Result<Bound, ListenError> {
    let (name, host, port) = (listener.name.clone(), listener.host.clone(), listener.port);
    if listener.protocol != SecurityProtocol::Plaintext {
        return Err(ListenError::Protocol { name, protocol: listener.protocol });
    }
    let error = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { name: name.clone(), host: host.clone(), port },
        _ => ListenError::Io { name: name.clone(), host: host.clone(), port, error },
    };
    let addresses: Vec<SocketAddr> = match host.as_str() {
        // Every address, over both protocols where the host has both.
        "" => vec![
            (std::net::Ipv6Addr::UNSPECIFIED, port).into(),
            (std::net::Ipv4Addr::UNSPECIFIED, port).into(),
        ],
        host => (host, port).to_socket_addrs().map_err(&error)?.collect(),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in addresses {
        match bind_patiently(address, cores) {
            Ok(listeners) => {
                let endpoint = endpoint(listener, server, listeners.address().port());
                return Ok(Bound { name: listener.name.as_str().into(), listeners, endpoint });
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(self::ListenError::InUse { name, host, port });
            }
            Err(error) => last = error,
        }
    }
    Err(error(last))
}

/// The kernel closes what a killed process had in its rings a moment after the process is gone, so the port
/// of a broker that is started again at once may still be taken.
fn bind_patiently(address: SocketAddr, cores: usize) -> io::Result<Listeners> {
    let deadline = Instant::now() + RING_TEARDOWN;
    loop {
        match Listeners::bind(address, cores) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            outcome => return outcome,
        }
    }
}

fn own_host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The process's count of connections, over all and by address.
pub struct ConnectionCounts {
    /// What the limit of open files leaves for connections.
    most: u32,
    all: AtomicU32,
    by_ip: Mutex<HashMap<IpAddr, u32>>,
}

/// How many connections there may be, as the configuration has it at one moment.
#[derive(Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    all_max: u32,
    per_ip_max: u32,
    /// `max.connections.per.ip.overrides` as it was given, and the addresses that its hosts have.
    overrides: BTreeMap<String, u32>,
    by_address: HashMap<IpAddr, u32>,
}

/// A place for one connection; given back when dropped.
pub struct Admission {
    counts: Arc<ConnectionCounts>,
    ip: IpAddr,
}

impl ConnectionLimits {
    /// The limits of `config`. Hosts are looked up only where they are not those of `before`; a name may take
    /// its time, so that happens on another thread.
    pub async fn of(config: &ServerConfig, before: Option<&ConnectionLimits>) -> ConnectionLimits {
        let overrides = config.max_connections_per_ip_overrides.clone();
        let by_address = match before.filter(|before| before.overrides == overrides) {
            Some(before) => before.by_address.clone(),
            None if overrides.is_empty() => HashMap::new(),
            None => {
                let hosts = overrides.clone();
                glommio::executor().spawn_blocking(move || addresses(&hosts)).await
            }
        };
        let (all_max, per_ip_max) = (config.max_connections, config.max_connections_per_ip);
        ConnectionLimits { all_max, per_ip_max, overrides, by_address }
    }
}

fn addresses(overrides: &BTreeMap<String, u32>) -> HashMap<IpAddr, u32> {
    let of_host = |(host, most): (&String, &u32)| {
        let most = *most;
        let found = (host.as_str(), 0).to_socket_addrs();
        found.into_iter().flatten().map(move |address| (address.ip(), most)).collect::<Vec<_>>()
    };
    overrides.iter().flat_map(of_host).collect()
}

impl ConnectionCounts {
    /// None yet, and never more than `most`.
    pub fn new(most: usize) -> ConnectionCounts {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        ConnectionCounts { most, all: AtomicU32::new(0), by_ip: Mutex::default() }
    }

    /// A place for a connection from `ip`, or the name of the limit that it would pass. All are counted, as the
    /// limits may change while they are open.
    pub fn admit(self: &Arc<Self>, ip: IpAddr, limits: &ConnectionLimits) -> Result<Admission, &'static str> {
        let ip = ip.to_canonical();
        if self.all.fetch_add(1, Ordering::Relaxed) >= limits.all_max.min(self.most) {
            self.all.fetch_sub(1, Ordering::Relaxed);
            return Err(if limits.all_max <= self.most {
                "max.connections"
            } else {
                "the limit of open files"
            });
        }
        let per_ip_max = limits.by_address.get(&ip).copied().unwrap_or(limits.per_ip_max);
        let mut by_ip = self.by_ip.lock().expect("no panic happens under this lock");
        let count = by_ip.get(&ip).copied().unwrap_or(0);
        if count >= per_ip_max {
            self.all.fetch_sub(1, Ordering::Relaxed);
            return Err("max.connections.per.ip");
        }
        by_ip.insert(ip, count + 1);
        drop(by_ip);
        Ok(Admission { counts: self.clone(), ip })
    }

    pub fn count(&self) -> u32 {
        self.all.load(Ordering::Relaxed)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.counts.all.fetch_sub(1, Ordering::Relaxed);
        let mut by_ip = self.counts.by_ip.lock().expect("no panic happens under this lock");
        if let Some(count) = by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                by_ip.remove(&self.ip);
            }
        }
    }
}
