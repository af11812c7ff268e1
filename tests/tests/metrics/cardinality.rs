//! The official parser reads what is shown, all of it is documented, and there is no more of it
//! after many callers have asked for many things.
