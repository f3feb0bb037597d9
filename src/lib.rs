//! Wetware.
