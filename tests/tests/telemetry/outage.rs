//! A collector that is away, refuses, is slow or hangs: nobody waits for it.
