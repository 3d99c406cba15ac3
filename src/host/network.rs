//! What programs ask of the network that their stack is in: getifaddrs(3), rtnetlink(7) and the resolver. The host of the stack knows;
//! with `nat` everybody does, and no host is started for it.
#![forbid(unsafe_code)]

use super::control::Message;
use super::request::Answer;
use super::{Address, Host, Inner, client, elsewhere, start};
use crate::addressing::{Cidr, MTU_V6, Route};
use crate::engine::Path;
use crate::error::{Error, Result};
use crate::nat;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A stack's view of its link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The stack's own addresses, with their networks.
    pub addresses: Vec<Cidr>,
    /// Ways to other networks than theirs; of a very long list the first.
    pub routes: Vec<Route>,
    /// In the order in which to ask them.
    pub name_servers: Vec<IpAddr>,
    /// Largest packet in bytes.
    pub mtu: usize,
}

/// Routes that are told of: an answer is one message.
const ROUTES_MOST: usize = 2048;

impl Network {
    /// That of `nat`.
    fn translated(mtu: Option<usize>, name_servers: Vec<IpAddr>) -> Network {
        let mut nat = nat::addressing();
        let mtu = mtu.unwrap_or(nat::MTU);
        if mtu < MTU_V6 {
            nat.drop_v6();
        }
        let name_servers = if name_servers.is_empty() { nat.name_servers } else { name_servers };
        Network { addresses: nat.addresses, routes: nat.routes, name_servers, mtu }
    }
}

impl Inner {
    /// The stack's view of its link, as it is now.
    pub(super) fn network(&self) -> Network {
        let interfaces = self.engine.interfaces();
        let link = interfaces.into_iter().find(|interface| interface.path == Path::Link);
        let (addresses, mtu) = link.map(|link| (link.addresses, link.mtu)).unwrap_or_default();
        let routes = self.engine.routes().iter().take(ROUTES_MOST).copied().collect();
        Network { addresses, routes, name_servers: self.name_servers.clone(), mtu }
    }
}

/// The network of this process's stack. Nothing where there is no stack to be had, which the log then says.
pub fn network() -> Network {
    let answered = match (Host::running().filter(|host| host.is_of_this_process()), elsewhere()) {
        (Some(host), _) => Ok(host.lock().network()),
        (None, Some(at)) => ask(at),
        (None, None) => of_a_host_to_come(),
    };
    let answered = match answered {
        Err(error) if client::is_gone(error) => start::abandoned().map(|host| host.lock().network()),
        answered => answered,
    };
    answered.unwrap_or_default()
}

fn of_a_host_to_come() -> Result<Network> {
    if let Some(config) = start::translates() {
        return Ok(Network::translated(config.mtu, config.dns));
    }
    match start::place()? {
        start::Place::Here(host) => Ok(host.lock().network()),
        start::Place::Elsewhere(at) => ask(at),
    }
}

fn ask(at: &Address) -> Result<Network> {
    let message = Message::Network { secret: client::secret(at) };
    match client::exchange(&[client::address(at)?], message, &[], None, None)? {
        (Answer::Network(network), _) => Ok(*network),
        _ => Err(Error::Broken),
    }
}
