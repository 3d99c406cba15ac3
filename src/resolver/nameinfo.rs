//! The rules of getnameinfo(3): an address becomes the names of its host and its service. AF_UNIX is answered in
//! `abi::names`, where the path is.
#![forbid(unsafe_code)]

use super::settings;
use super::{Failure, LookupError, Resolver, files, numeric};
use libc::{NI_DGRAM, NI_NAMEREQD, NI_NOFQDN, NI_NUMERICHOST, NI_NUMERICSERV, c_int};
use std::net::SocketAddr;

/// NI_IDN of netdb.h and the two flags after it, which do nothing any more.
const NI_IDN: c_int = 0x20;
const NI_IDN_DEPRECATED: c_int = 0xc0;
const NI_KNOWN: c_int =
    NI_NUMERICHOST | NI_NUMERICSERV | NI_NOFQDN | NI_NAMEREQD | NI_DGRAM | NI_IDN | NI_IDN_DEPRECATED;

/// The answer of getnameinfo(3): what was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameAndService {
    /// The host's name or number.
    pub host: Option<String>,
    /// The service's name or number.
    pub service: Option<String>,
}

impl Resolver<'_> {
    /// BadFlags for flags that getnameinfo(3) does not know.
    pub fn check_name_flags(flags: c_int) -> Result<(), LookupError> {
        if flags & !NI_KNOWN != 0 { Err(LookupError::BadFlags) } else { Ok(()) }
    }

    /// getnameinfo(3) for an Internet address. A numeric host is written without the network.
    pub fn name_and_service(
        &self,
        address: SocketAddr,
        wants_host: bool,
        wants_service: bool,
        flags: c_int,
    ) -> Result<NameAndService, LookupError> {
        let host = if wants_host { Some(self.host_name(address, flags)?) } else { None };
        let service = wants_service.then(|| self.service_name(address.port(), flags));
        Ok(NameAndService { host, service })
    }

    /// The name of this machine, gethostname(2).
    pub fn machine_name(&self) -> Option<String> {
        settings::host_name(self.machine)
    }

    fn host_name(&self, address: SocketAddr, flags: c_int) -> Result<String, LookupError> {
        if flags & NI_NUMERICHOST == 0 {
            match self.host_by_address(address.ip()) {
                Ok(host) if flags & NI_NOFQDN != 0 => return Ok(self.without_own_domain(host.name)),
                Ok(host) => return Ok(host.name),
                Err(failure @ (Failure::TimedOut | Failure::ServerFailed | Failure::System(_))) => {
                    return Err(failure.into());
                }
                Err(_) => {}
            }
        }
        if flags & NI_NAMEREQD != 0 { Err(LookupError::NoName) } else { Ok(self.written(address)) }
    }

    /// NI_NOFQDN: a name in the machine's own domain loses the domain.
    fn without_own_domain(&self, name: String) -> String {
        let Some(domain) = settings::own_domain(self.machine) else { return name };
        match name.strip_suffix(&domain).and_then(|host| host.strip_suffix('.')) {
            Some(host) if !host.is_empty() => host.to_owned(),
            _ => name,
        }
    }

    /// The address in numbers; its scope by the name of the interface where the scope is one.
    fn written(&self, address: SocketAddr) -> String {
        let SocketAddr::V6(six) = address else { return address.ip().to_string() };
        let written = numeric::written(*six.ip());
        let interface = match six.scope_id() {
            0 => return written,
            index if numeric::is_link_local(*six.ip()) => self.network.interface_name(index),
            _ => None,
        };
        format!("{written}%{}", interface.unwrap_or_else(|| six.scope_id().to_string()))
    }

    fn service_name(&self, port: u16, flags: c_int) -> String {
        if flags & NI_NUMERICSERV != 0 {
            return port.to_string();
        }
        let services = self.machine.text("/etc/services").unwrap_or_default();
        let protocol = if flags & NI_DGRAM != 0 { "udp" } else { "tcp" };
        files::service_by_port(&services, port, protocol).unwrap_or_else(|| port.to_string())
    }
}
