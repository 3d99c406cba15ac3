//! The program at one end of a connection: it writes, reads and closes as planned, and checks each byte.

use crate::dice::Content;
use crate::host::{Host, Status};
use crate::plan::{Close, End};
use std::time::Duration;
use tubesock::engine::SocketOption;
use tubesock::error::Error;
use tubesock::time::Instant;

pub(crate) struct Program {
    number: usize,
    pub(crate) plan: End,
    /// What this end writes, and what the other does.
    writes: Content,
    reads: Content,
    /// What the other end is going to write in all.
    expects: u64,
    /// When this end began; None before.
    pub(crate) started: Option<Instant>,
    pub(crate) written: u64,
    pub(crate) read: u64,
    write_at: Instant,
    read_at: Instant,
    stalled: bool,
    options_set: usize,
    status: Status,
    connected: bool,
    /// It said that it will not write any more.
    pub(crate) shut: bool,
    pub(crate) eof: bool,
    /// It gave the connection back, and how.
    pub(crate) left: Option<Left>,
    pub(crate) left_at: Instant,
    /// When something last happened to it, or was planned not to happen.
    pub(crate) progress: Instant,
}

/// How a program left its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// When it was over.
    Ended(Option<Error>),
    /// All was written and read, and the FIN is behind it.
    Released,
    /// Before it had all, or before it was connected.
    Early,
    Aborted,
    /// The other end was gone, without a word.
    Abandoned,
}

impl Program {
    pub(crate) fn new(number: usize, plan: End, [writes, reads]: [Content; 2], expects: u64) -> Program {
        Program {
            number,
            plan,
            writes,
            reads,
            expects,
            started: None,
            written: 0,
            read: 0,
            write_at: Instant::ZERO,
            read_at: Instant::ZERO,
            stalled: false,
            options_set: 0,
            status: Status::Waiting,
            connected: false,
            shut: false,
            eof: false,
            left: None,
            left_at: Instant::ZERO,
            progress: Instant::ZERO,
        }
    }

    /// Whether what it did may have reset the connection, or left the other end in the dark.
    pub(crate) fn is_rude(&self) -> bool {
        matches!(self.left, Some(Left::Early | Left::Aborted | Left::Ended(Some(_))))
            || matches!(self.status, Status::Ended(Some(_)))
    }

    /// When it wants to do something though nothing happens.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.left.is_some() {
            return None;
        }
        let impatient = match (self.plan.close, self.started) {
            (Close::Impatient(after), Some(started)) => Some(started + after),
            _ => None,
        };
        let writes = (self.written < self.plan.bytes && !self.shut).then_some(self.write_at);
        [impatient, writes, Some(self.read_at)].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Does what it can do now; whether that was anything.
    pub(crate) fn run(&mut self, host: &mut dyn Host, now: Instant) -> Result<bool, String> {
        if self.left.is_some() {
            return Ok(false);
        }
        let status = host.status(self.number);
        let mut moved = core::mem::replace(&mut self.status, status) != status;
        self.connected |= status == Status::Connected;
        if status == Status::Connected {
            moved |= self.set_options(host, now);
        }
        if matches!(status, Status::Ended(_)) && host.forgets_unread() {
            (self.stalled, self.read_at) = (true, now);
            self.plan.read.pause = Duration::ZERO;
        }
        if matches!(status, Status::Connected | Status::Ended(_)) {
            moved |= self.read(host, now)?;
            moved |= status == Status::Connected && self.write(host, now);
        }
        moved |= self.close(host, status, now)?;
        if moved {
            self.progress = now;
        }
        Ok(moved)
    }

    /// Those whose time has come. What is set at the start the host has set.
    fn set_options(&mut self, host: &mut dyn Host, now: Instant) -> bool {
        let before = self.options_set;
        while let Some((at, option)) = self.plan.options.get(self.options_set).copied()
            && at <= self.written + self.read
        {
            self.options_set += 1;
            if at > 0 {
                host.set_option(self.number, option, now);
            }
        }
        self.options_set != before
    }

    fn read(&mut self, host: &mut dyn Host, now: Instant) -> Result<bool, String> {
        let mut moved = false;
        while self.read_at <= now {
            let most = self.may_read(now);
            let before = self.read;
            let mut wrong = None;
            let Program { read, reads, .. } = self;
            host.read_with(self.number, &mut |bytes| {
                let bytes = &bytes[..bytes.len().min((before + most - *read) as usize)];
                if !reads.matches(*read, bytes) {
                    wrong.get_or_insert(*read);
                }
                *read += bytes.len() as u64;
                bytes.len()
            });
            if let Some(position) = wrong {
                return Err(format!("wrong bytes after {position}"));
            }
            if self.read == before {
                break;
            }
            moved = true;
            self.read_at = now + self.plan.read.pause;
        }
        let eof = host.at_eof(self.number);
        Ok(core::mem::replace(&mut self.eof, eof) != eof || moved)
    }

    /// How much it reads at once, now.
    fn may_read(&mut self, now: Instant) -> u64 {
        match self.plan.stall {
            Some((position, duration)) if !self.stalled => {
                if self.read >= position {
                    self.stalled = true;
                    self.read_at = now + duration;
                    return 0;
                }
                self.plan.read.chunk.min(position - self.read)
            }
            _ => self.plan.read.chunk,
        }
    }

    fn write(&mut self, host: &mut dyn Host, now: Instant) -> bool {
        let mut moved = false;
        while self.write_at <= now && self.written < self.plan.bytes && !self.shut {
            let most = self.plan.write.chunk.min(self.plan.bytes - self.written);
            let before = self.written;
            if self.writes_urgent(host) {
                moved = true;
                continue;
            }
            let Program { written, writes, .. } = self;
            host.write_with(self.number, &mut |room| {
                let length = room.len().min((before + most - *written) as usize);
                writes.fill(*written, &mut room[..length]);
                *written += length as u64;
                length
            });
            if self.written == before {
                break;
            }
            moved = true;
            self.write_at = now + self.plan.write.pause;
        }
        moved
    }

    /// One byte in so many writes is urgent.
    fn writes_urgent(&mut self, host: &mut dyn Host) -> bool {
        let mut byte = [0];
        self.writes.fill(self.written, &mut byte);
        let urgent = self.plan.urgent && byte[0] < 8 && host.write_urgent(self.number, byte[0]);
        self.written += u64::from(urgent);
        urgent
    }

    /// Closes as planned, as far as it is time; false when nothing was done.
    fn close(&mut self, host: &mut dyn Host, status: Status, now: Instant) -> Result<bool, String> {
        let connected = status == Status::Connected;
        let written = self.written == self.plan.bytes;
        let impatient = |after| self.started.is_some_and(|started| now >= started + after);
        match (self.plan.close, status) {
            (Close::Impatient(after), Status::Connecting | Status::Connected) if impatient(after) => {
                return Ok(self.release(host, Left::Early, now));
            }
            (Close::Abort(at), Status::Connected) if self.written + self.read >= at => {
                host.abort(self.number, now);
                return Ok(self.leave(Left::Aborted, now));
            }
            (Close::Early, Status::Connected) if written => {
                let all = self.read == self.expects;
                return Ok(self.release(host, if all { Left::Released } else { Left::Early }, now));
            }
            (Close::AfterReading, Status::Connected) if written && self.read == self.expects => {
                return Ok(self.release(host, Left::Released, now));
            }
            _ => {}
        }
        let shuts = match self.plan.close {
            Close::AfterEof | Close::Abort(_) => written && self.eof,
            _ => written,
        };
        if connected && shuts && !self.shut {
            self.shut = true;
            host.shutdown(self.number, now);
            return Ok(true);
        }
        if let Status::Ended(end) = status
            && self.has_read_all(host)
        {
            host.release(self.number, now);
            return Ok(self.leave(Left::Ended(end), now));
        }
        Ok(false)
    }

    /// Nothing is left to be read.
    fn has_read_all(&self, host: &mut dyn Host) -> bool {
        let mut offered = false;
        host.read_with(self.number, &mut |bytes| {
            offered |= !bytes.is_empty();
            0
        });
        !offered
    }

    fn release(&mut self, host: &mut dyn Host, how: Left, now: Instant) -> bool {
        self.shut = true;
        host.release(self.number, now);
        self.leave(how, now)
    }

    fn leave(&mut self, how: Left, now: Instant) -> bool {
        self.left = Some(how);
        self.left_at = now;
        true
    }

    pub(crate) fn begin(&mut self, now: Instant) {
        self.started = Some(now);
        self.progress = now;
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.status == Status::Connected
    }

    /// Whether it has keep-alive on now.
    pub(crate) fn watches(&self) -> bool {
        let set = self.plan.options.iter().take(self.options_set).rev();
        let mut found = set.filter_map(|(_, option)| match option {
            SocketOption::KeepAlive(probes) => Some(probes.is_some()),
            _ => None,
        });
        found.next().unwrap_or(false)
    }

    pub(crate) fn has_left_in_order(&self) -> bool {
        matches!(self.left, Some(Left::Released | Left::Ended(None)))
    }

    /// It was never more than expected.
    pub(crate) fn is_waiting(&self) -> bool {
        self.status == Status::Waiting
    }

    pub(crate) fn was_connected(&self) -> bool {
        self.connected
    }

    pub(crate) fn started_at(&self) -> Instant {
        self.started.unwrap_or(Instant::ZERO)
    }

    /// All that the other end meant to write has been read.
    pub(crate) fn has_all(&self) -> bool {
        self.read == self.expects
    }

    /// Until when it pauses.
    pub(crate) fn waits_until(&self) -> Instant {
        let writes = self.written < self.plan.bytes && !self.shut;
        let writes_at = if writes { self.write_at } else { Instant::ZERO };
        if self.left.is_some() { Instant::ZERO } else { self.read_at.max(writes_at) }
    }

    /// When it last did something, or could have.
    pub(crate) fn last_moved(&self) -> Instant {
        self.progress.max(self.read_at).max(self.write_at)
    }

    pub(crate) fn describe(&self) -> String {
        let End { bytes, close, .. } = self.plan;
        format!(
            "{:?} (wrote {} of {bytes}, read {} of {}{}{}, {close:?}, left {:?})",
            self.status,
            self.written,
            self.read,
            self.expects,
            if self.shut { ", shut" } else { "" },
            if self.eof { ", at the end of file" } else { "" },
            self.left,
        )
    }

    /// Resets a connection whose other end is gone.
    pub(crate) fn abandon(&mut self, host: &mut dyn Host, now: Instant) {
        host.abort(self.number, now);
        self.leave(Left::Abandoned, now);
    }

    /// For how long it let the other end wait at the most, all in all.
    pub(crate) fn slowness(&self) -> Duration {
        let pauses =
            |pace: crate::plan::Pace, bytes: u64| pace.pause * (bytes / pace.chunk.max(1) + 1) as u32;
        let stall = self.plan.stall.map_or(Duration::ZERO, |(_, duration)| duration);
        stall + pauses(self.plan.read, self.expects) + pauses(self.plan.write, self.plan.bytes)
    }
}
