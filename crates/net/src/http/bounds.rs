//! How many connections there may be.

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// All together.
    pub most: usize,
    /// From one address. None where a proxy makes them all.
    pub per_address: Option<usize>,
    /// More than [`most`](Self::most), while all others are being answered. Each is for one request,
    /// which a service refuses if it is not for such a time; see
    /// [`Connection::is_spare`](super::Connection::is_spare).
    pub spare: usize,
}

impl Bounds {
    /// `most` from any address, and none more.
    pub const fn of(most: usize) -> Self {
        Self {
            most,
            per_address: None,
            spare: 0,
        }
    }
}
