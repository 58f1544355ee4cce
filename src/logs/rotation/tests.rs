//! Single steps of the rotation.
