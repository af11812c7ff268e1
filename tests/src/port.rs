//! Free ports, for programs that cannot choose one by themselves.

use std::net::TcpListener;

use anyhow::Result;

/// So many ports of `127.0.0.1` that are free now. Another program may take one before they are
/// used, so whoever uses them tries again.
pub(crate) fn free<const COUNT: usize>() -> Result<[u16; COUNT]> {
    // All are held until all are known, so no two are the same.
    let mut held = Vec::with_capacity(COUNT);
    let mut ports = [0; COUNT];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
