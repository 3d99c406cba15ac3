//! A variable of the environment whose value is not known when the program starts.
//!
//! setenv(3) may move the environment, which other threads of the program read without a lock, and copy from for exec. So a
//! string is put there at the start (putenv(3) keeps the string itself), with an empty value, and filled in where it
//! lies. Whoever copied it before has the empty value.

use libc::c_char;
use std::sync::atomic::{AtomicU8, Ordering};

/// `NAME=`, and room for a value and the zero that ends it: `N` bytes.
#[derive(Debug)]
pub struct LateVariable<const N: usize> {
    text: [AtomicU8; N],
    value_at: usize,
}

impl<const N: usize> LateVariable<N> {
    /// With an empty value; `name` ends with `=`.
    pub const fn new(name: &str) -> LateVariable<N> {
        let mut text = [const { AtomicU8::new(0) }; N];
        let mut place = 0;
        while place < name.len() {
            text[place] = AtomicU8::new(name.as_bytes()[place]);
            place += 1;
        }
        LateVariable { text, value_at: name.len() }
    }

    /// Puts it into the environment, in the place of one that has its name. Only while the program has one thread.
    pub fn put(&'static self) {
        let text = self.text.as_ptr().cast::<c_char>().cast_mut();
        // SAFETY: a string that lives for ever; its last byte is always zero.
        unsafe { libc::putenv(text) };
    }

    /// Changes the value; one that does not fit is left out. Whoever reads meanwhile finds the old value, none, or the new
    /// one. Async-signal-safe.
    pub fn fill(&self, value: &[u8]) {
        let places = &self.text[self.value_at..];
        let Some((&first, rest)) = value.split_first().filter(|_| value.len() < places.len()) else { return };
        places[0].store(0, Ordering::Release);
        let zeros = core::iter::repeat(&0);
        for (place, &byte) in places[1..].iter().zip(rest.iter().chain(zeros)) {
            place.store(byte, Ordering::Relaxed);
        }
        places[0].store(first, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_appears_where_the_variable_is() {
        static VARIABLE: LateVariable<22> = LateVariable::new("TUBESOCK_TEST_LATE=");
        let value = || std::env::var("TUBESOCK_TEST_LATE");
        VARIABLE.put();
        assert_eq!(value(), Ok(String::new()));
        for (filled, expected) in [("xy", "xy"), ("z", "z"), ("too long", "z"), ("", "z")] {
            VARIABLE.fill(filled.as_bytes());
            assert_eq!(value().as_deref(), Ok(expected), "{filled}");
        }
    }
}
