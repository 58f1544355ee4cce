//! What variables hand over.

use super::*;
