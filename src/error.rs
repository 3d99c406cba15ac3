//! The one error type, and its errno.
#![forbid(unsafe_code)]

use core::fmt;
use serde::{Deserialize, Serialize};

/// Why a call failed, in POSIX's words. `errno` gives the number a program sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Error {
    /// EACCES
    PermissionDenied,
    /// EADDRINUSE
    AddressInUse,
    /// EADDRNOTAVAIL
    AddressNotAvailable,
    /// EAFNOSUPPORT
    AddressFamilyNotSupported,
    /// EALREADY: a connect is under way
    AlreadyInProgress,
    /// EBADF
    BadDescriptor,
    /// ECONNABORTED
    ConnectionAborted,
    /// ECONNREFUSED
    ConnectionRefused,
    /// ECONNRESET
    ConnectionReset,
    /// EDESTADDRREQ
    DestinationRequired,
    /// EFAULT
    BadAddress,
    /// EHOSTUNREACH
    HostUnreachable,
    /// EINPROGRESS
    InProgress,
    /// EINVAL
    InvalidArgument,
    /// EISCONN
    AlreadyConnected,
    /// EMSGSIZE
    MessageTooLong,
    /// ENETUNREACH
    NetworkUnreachable,
    /// ENOBUFS
    NoBuffers,
    /// ENOMEM
    OutOfMemory,
    /// ENOPROTOOPT
    NoSuchOption,
    /// ENOTCONN
    NotConnected,
    /// EOPNOTSUPP
    NotSupported,
    /// EPIPE
    BrokenPipe,
    /// EPROTONOSUPPORT
    ProtocolNotSupported,
    /// EPROTOTYPE
    WrongProtocolType,
    /// ESOCKTNOSUPPORT
    SocketTypeNotSupported,
    /// ETIMEDOUT
    TimedOut,
    /// EAGAIN
    WouldBlock,
    /// EIO: the stack broke an invariant of its own, or a panic was caught
    Broken,
    /// What the kernel answered to a call that we made, as its errno.
    Kernel(i32),
}

/// A result with our error.
pub type Result<T, E = Error> = core::result::Result<T, E>;

impl Error {
    /// The errno of Linux for this error.
    pub const fn errno(self) -> i32 {
        match self {
            Error::PermissionDenied => libc::EACCES,
            Error::AddressInUse => libc::EADDRINUSE,
            Error::AddressNotAvailable => libc::EADDRNOTAVAIL,
            Error::AddressFamilyNotSupported => libc::EAFNOSUPPORT,
            Error::AlreadyInProgress => libc::EALREADY,
            Error::BadDescriptor => libc::EBADF,
            Error::ConnectionAborted => libc::ECONNABORTED,
            Error::ConnectionRefused => libc::ECONNREFUSED,
            Error::ConnectionReset => libc::ECONNRESET,
            Error::DestinationRequired => libc::EDESTADDRREQ,
            Error::BadAddress => libc::EFAULT,
            Error::HostUnreachable => libc::EHOSTUNREACH,
            Error::InProgress => libc::EINPROGRESS,
            Error::InvalidArgument => libc::EINVAL,
            Error::AlreadyConnected => libc::EISCONN,
            Error::MessageTooLong => libc::EMSGSIZE,
            Error::NetworkUnreachable => libc::ENETUNREACH,
            Error::NoBuffers => libc::ENOBUFS,
            Error::OutOfMemory => libc::ENOMEM,
            Error::NoSuchOption => libc::ENOPROTOOPT,
            Error::NotConnected => libc::ENOTCONN,
            Error::NotSupported => libc::EOPNOTSUPP,
            Error::BrokenPipe => libc::EPIPE,
            Error::ProtocolNotSupported => libc::EPROTONOSUPPORT,
            Error::WrongProtocolType => libc::EPROTOTYPE,
            Error::SocketTypeNotSupported => libc::ESOCKTNOSUPPORT,
            Error::TimedOut => libc::ETIMEDOUT,
            Error::WouldBlock => libc::EAGAIN,
            Error::Broken => libc::EIO,
            Error::Kernel(errno) => errno,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::io::Error::from_raw_os_error(self.errno()).fmt(f)
    }
}

impl std::error::Error for Error {}

impl From<rustix::io::Errno> for Error {
    /// What the network's own errors are called here gets that name, so that they compare equal.
    fn from(errno: rustix::io::Errno) -> Self {
        match errno.raw_os_error() {
            libc::EAGAIN => Error::WouldBlock,
            libc::ECONNREFUSED => Error::ConnectionRefused,
            libc::ECONNRESET => Error::ConnectionReset,
            libc::EPIPE => Error::BrokenPipe,
            other => Error::Kernel(other),
        }
    }
}
