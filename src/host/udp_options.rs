//! The options of IPPROTO_UDP and IPPROTO_UDPLITE (udp(7), udplite(7)): what each means here.
//!
//! UDP_GRO lets several datagrams be received as one; none ever are, as Linux does it with what comes apart. Checksums
//! over IPv6 are always made and looked at. UDP_ENCAP is of the kernel's own tunnels: ENOPROTOOPT.
#![forbid(unsafe_code)]

use super::Inner;
use super::options::{Value, flag, unknown};
use crate::bridge::name::Identity;
use crate::bridge::options::Options;
use crate::engine::Kind;
use crate::error::{Error, Result};
use libc::{IPPROTO_UDP, IPPROTO_UDPLITE, c_int};

/// Options that libc does not name.
const UDP_NO_CHECK6_TX: c_int = 101;
const UDP_NO_CHECK6_RX: c_int = 102;
const UDPLITE_SEND_CSCOV: c_int = 10;
const UDPLITE_RECV_CSCOV: c_int = 11;

/// Whether a socket has them.
pub(super) fn apply_to(kind: Kind) -> bool {
    matches!(kind, Kind::Datagram | Kind::Lite)
}

/// getsockopt(2)
pub(super) fn get(inner: &mut Inner, identity: &Identity, name: c_int) -> Result<Value> {
    let Options { cork, udp, .. } = &inner.socket(identity.id)?.options;
    Ok(match name {
        libc::UDP_CORK => flag(*cork),
        libc::UDP_ENCAP => Value::Number(0),
        UDP_NO_CHECK6_TX => flag(udp.no_check[0]),
        UDP_NO_CHECK6_RX => flag(udp.no_check[1]),
        libc::UDP_SEGMENT => Value::Number(udp.segment.into()),
        libc::UDP_GRO => flag(udp.coalesce),
        UDPLITE_SEND_CSCOV => Value::Number(udp.coverage.send.into()),
        UDPLITE_RECV_CSCOV => Value::Number(udp.coverage.receive.unwrap_or(0).into()),
        _ => return Err(unknown(level(identity.kind), name)),
    })
}

/// setsockopt(2)
pub(super) fn set(inner: &mut Inner, identity: &Identity, name: c_int, number: c_int) -> Result<()> {
    let on = number != 0;
    let change: &dyn Fn(&mut Options) = match name {
        libc::UDP_CORK => &|options| options.cork = on,
        libc::UDP_ENCAP if number == 0 => return Ok(()),
        UDP_NO_CHECK6_TX => &|options| options.udp.no_check[0] = on,
        UDP_NO_CHECK6_RX => &|options| options.udp.no_check[1] = on,
        libc::UDP_SEGMENT => {
            let size = u16::try_from(number).map_err(|_| Error::InvalidArgument)?;
            &move |options| options.udp.segment = size
        }
        libc::UDP_GRO => &|options| options.udp.coalesce = on,
        UDPLITE_SEND_CSCOV | UDPLITE_RECV_CSCOV if identity.kind != Kind::Lite => {
            return Err(Error::NoSuchOption);
        }
        UDPLITE_SEND_CSCOV => &|options| options.udp.coverage.send = coverage(number),
        UDPLITE_RECV_CSCOV => &|options| options.udp.coverage.receive = Some(coverage(number)),
        _ => return Err(unknown(level(identity.kind), name)),
    };
    inner.set_options(identity.id, change)
}

/// Less than a header cannot be (udp_lib_setsockopt).
fn coverage(number: c_int) -> u16 {
    match number {
        0 => 0,
        number => u16::try_from(number.max(8)).unwrap_or(u16::MAX),
    }
}

fn level(kind: Kind) -> c_int {
    if kind == Kind::Lite { IPPROTO_UDPLITE } else { IPPROTO_UDP }
}
