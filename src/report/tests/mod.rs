//! Snapshots of the output: every event in every mode, on screens of several sizes.

mod catalog;
mod frames;
mod journal;
mod lines;
mod longest;
mod samples;
mod schema;
mod screen;
mod stream;
