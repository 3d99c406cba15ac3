//! Which of many entries has been idle longest: a list in order of use, O(1) for every operation. With one
//! timeout for all of its entries, the order of use is the order of expiry too.
#![forbid(unsafe_code)]

use crate::time::Instant;
use core::time::Duration;

#[derive(Clone, Copy, Debug)]
struct Entry {
    older: Option<usize>,
    newer: Option<usize>,
    used: Instant,
}

/// Entries are the small integers of a slab; each at most once.
#[derive(Debug)]
pub(super) struct Recency {
    timeout: Duration,
    entries: Vec<Option<Entry>>,
    oldest: Option<usize>,
    newest: Option<usize>,
}

impl Recency {
    pub(super) fn new(timeout: Duration) -> Recency {
        Recency { timeout, entries: Vec::new(), oldest: None, newest: None }
    }

    /// `key` was used now; it need not be known before.
    pub(super) fn touch(&mut self, key: usize, now: Instant) {
        self.remove(key);
        if key >= self.entries.len() {
            self.entries.resize(key + 1, None);
        }
        self.entries[key] = Some(Entry { older: self.newest, newer: None, used: now });
        match self.newest.replace(key) {
            Some(second) => self.linked(second).newer = Some(key),
            None => self.oldest = Some(key),
        }
    }

    /// Forgets `key`, if it is known.
    pub(super) fn remove(&mut self, key: usize) {
        let Some(entry) = self.entries.get_mut(key).and_then(Option::take) else { return };
        match entry.older {
            Some(older) => self.linked(older).newer = entry.newer,
            None => self.oldest = entry.newer,
        }
        match entry.newer {
            Some(newer) => self.linked(newer).older = entry.older,
            None => self.newest = entry.older,
        }
    }

    /// The entry idle longest, and when it was used last.
    pub(super) fn oldest(&self) -> Option<(Instant, usize)> {
        let key = self.oldest?;
        self.entries[key].map(|entry| (entry.used, key))
    }

    /// When the first entry expires.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.oldest().map(|(used, _)| used + self.timeout)
    }

    /// An entry that has expired. It stays known until it is removed.
    pub(super) fn expired(&self, now: Instant) -> Option<usize> {
        self.oldest().filter(|&(used, _)| used + self.timeout <= now).map(|(_, key)| key)
    }

    fn linked(&mut self, key: usize) -> &mut Entry {
        self.entries[key].as_mut().expect("links lead to entries only")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn entries_expire_in_order_of_use() {
        let mut recency = Recency::new(Duration::from_secs(10));
        assert_eq!(recency.deadline(), None);
        for key in [3, 0, 7] {
            recency.touch(key, at(key as u64));
        }
        recency.touch(3, at(8));
        assert_eq!(recency.oldest(), Some((at(0), 0)));
        assert_eq!(recency.deadline(), Some(at(10)));
        assert_eq!(recency.expired(at(9)), None);
        assert_eq!(recency.expired(at(10)), Some(0));
        recency.remove(0);
        recency.remove(0);
        assert_eq!(recency.expired(at(10)), None);
        assert_eq!(recency.expired(at(17)), Some(7));
        recency.remove(3);
        assert_eq!(recency.oldest(), Some((at(7), 7)));
        recency.remove(7);
        assert_eq!(recency.oldest(), None);
        recency.remove(99);
    }

    #[test]
    fn it_agrees_with_a_sorted_list() {
        let mut recency = Recency::new(Duration::from_secs(1));
        let mut model: Vec<usize> = Vec::new();
        let mut state = 1_u64;
        for step in 0..20_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let key = (state >> 40) as usize % 50;
            model.retain(|&k| k != key);
            if state >> 63 == 0 {
                model.push(key);
                recency.touch(key, at(step));
            } else {
                recency.remove(key);
            }
            assert_eq!(recency.oldest().map(|(_, key)| key), model.first().copied());
        }
    }
}
