//! Messages of netlink(7): a header, what belongs to their kind, and attributes. Everything is in the machine's byte order and
//! begins at a multiple of four bytes.

use std::net::IpAddr;

/// sizeof(struct nlmsghdr)
pub(super) const HEADER: usize = 16;
/// sizeof(struct nlattr)
const ATTRIBUTE: usize = 4;
/// NLA_TYPE_MASK: the rest says how the value is written.
const TYPE: u16 = 0x3fff;

/// A message that a program sent.
pub(super) struct Request<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// With its header.
    pub(super) whole: &'a [u8],
}

impl<'a> Request<'a> {
    /// The first of several messages, and what comes behind it; None when there is no whole one (netlink_rcv_skb).
    pub(super) fn first(bytes: &'a [u8]) -> Option<(Request<'a>, &'a [u8])> {
        let (length, kind) = (number_at(bytes, 0)? as usize, short_at(bytes, 4)?);
        let (flags, sequence) = (short_at(bytes, 6)?, number_at(bytes, 8)?);
        if length < HEADER || bytes.len() < HEADER {
            return None;
        }
        let whole = bytes.get(..length)?;
        let rest = bytes.get(aligned(length)..).unwrap_or_default();
        Some((Request { kind, flags, sequence, whole }, rest))
    }

    /// struct nlmsghdr
    pub(super) fn header(&self) -> &'a [u8] {
        &self.whole[..HEADER]
    }

    /// What stands behind it.
    pub(super) fn body(&self) -> &'a [u8] {
        &self.whole[HEADER..]
    }

    /// The value of an attribute, which are behind the first `fixed` bytes of the body. Of several the last, as nla_parse
    /// has it.
    pub(super) fn attribute(&self, fixed: usize, wanted: u16) -> Option<&'a [u8]> {
        let mut rest = self.body().get(aligned(fixed)..)?;
        let mut found = None;
        while let (Some(length), Some(kind)) = (short_at(rest, 0), short_at(rest, 2)) {
            let Some(value) = rest.get(ATTRIBUTE..length.into()) else { break };
            if kind & TYPE == wanted {
                found = Some(value);
            }
            rest = rest.get(aligned(length.into())..).unwrap_or_default();
        }
        found
    }

    /// A number in the body.
    pub(super) fn number(&self, place: usize) -> Option<u32> {
        number_at(self.body(), place)
    }
}

fn short_at(bytes: &[u8], place: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(place..)?.first_chunk()?))
}

fn number_at(bytes: &[u8], place: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(place..)?.first_chunk()?))
}

const fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// A message for a program.
pub(super) struct Message {
    kind: u16,
    body: Vec<u8>,
}

impl Message {
    /// With what belongs to its kind, and no attributes yet.
    pub(super) fn new(kind: u16, fixed: &[u8]) -> Message {
        let mut body = fixed.to_vec();
        body.resize(aligned(body.len()), 0);
        Message { kind, body }
    }

    /// And an attribute.
    pub(super) fn with(mut self, attribute: u16, value: &[u8]) -> Message {
        let length = (ATTRIBUTE + value.len()) as u16;
        self.body.extend(length.to_ne_bytes());
        self.body.extend(attribute.to_ne_bytes());
        self.body.extend(value);
        self.body.resize(aligned(self.body.len()), 0);
        self
    }

    /// And a number.
    pub(super) fn with_number(self, attribute: u16, value: u32) -> Message {
        self.with(attribute, &value.to_ne_bytes())
    }

    /// And a string.
    pub(super) fn with_text(self, attribute: u16, text: &str) -> Message {
        self.with(attribute, &[text.as_bytes(), &[0]].concat())
    }

    /// And an address.
    pub(super) fn with_address(self, attribute: u16, address: IpAddr) -> Message {
        match address {
            IpAddr::V4(v4) => self.with(attribute, &v4.octets()),
            IpAddr::V6(v6) => self.with(attribute, &v6.octets()),
        }
    }

    /// As it is sent, in answer to `request`, to the socket with that port.
    pub(super) fn encode(&self, flags: u16, request: &Request<'_>, port: u32) -> Vec<u8> {
        let length = HEADER + self.body.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend((length as u32).to_ne_bytes());
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(request.sequence.to_ne_bytes());
        bytes.extend(port.to_ne_bytes());
        bytes.extend(&self.body);
        bytes
    }
}
