//! Keys of 32 bytes, in base64 as wg(8) writes them. A key cannot be printed: no log and no panic shows one. It is
//! overwritten when it is dropped.
#![forbid(unsafe_code)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boringtun::x25519::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a key.
const LENGTH: usize = 32;
/// Characters of one in base64.
const TEXT_LENGTH: usize = 44;

/// A key: private, public or preshared.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Zeroizing<[u8; LENGTH]>);

impl Key {
    /// Reads base64. None for anything else; who tells of it must not quote it.
    pub fn parse(text: &str) -> Option<Key> {
        // The decoder counts four characters for three bytes, padding included.
        let mut bytes = Zeroizing::new([0; LENGTH + 1]);
        if text.len() != TEXT_LENGTH {
            return None;
        }
        let length = STANDARD.decode_slice(text, &mut *bytes).ok()?;
        let mut key = Key(Zeroizing::new([0; LENGTH]));
        key.0.copy_from_slice(bytes.get(..length).filter(|key| key.len() == LENGTH)?);
        Some(key)
    }

    /// The public key that belongs to this private one.
    pub fn public(&self) -> Key {
        Key(Zeroizing::new(PublicKey::from(&self.secret()).to_bytes()))
    }

    /// Whether it is no key at all but zeros, which wg(8) shows where there is none.
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|&byte| byte == 0)
    }

    pub(super) fn secret(&self) -> StaticSecret {
        let mut bytes = *self.0;
        let secret = StaticSecret::from(bytes);
        bytes.zeroize();
        secret
    }

    pub(super) fn as_public(&self) -> PublicKey {
        PublicKey::from(*self.0)
    }

    pub(super) fn bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_has_its_public_one() {
        // wg(8): `echo yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk= | wg pubkey`
        let private = Key::parse("yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=").expect("a key");
        let public = Key::parse("HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=").expect("a key");
        assert!(private.public() == public && private != public && !private.is_zero());
        assert!(Key::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").is_some_and(|key| key.is_zero()));
    }

    #[test]
    fn what_is_no_key() {
        for text in [
            "",
            "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk",
            "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBm==",
            "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmkA",
            // The last character says two bits more than there are.
            "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBml=",
            "yAnz5TF-lXXJte14tji3zlMNq-hd2rYUIgJBgB3fBmk=",
            "ÿAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=",
        ] {
            assert!(Key::parse(text).is_none(), "{text}");
        }
    }
}
