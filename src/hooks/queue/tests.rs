//! See the properties below.
